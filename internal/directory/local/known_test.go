package local

import (
	"sync"
	"testing"

	"postel/internal/directory"
	"postel/internal/kv"
	"postel/internal/mail"
)

// TestChangesAreSeenAtOnce asks before and after each kind of change, so that the answer before is remembered.
func TestChangesAreSeenAtOnce(t *testing.T) {
	t.Parallel()
	ctx, d := t.Context(), sample(t, Options{})
	alice := idOf(t, d, "alice@postel.test")
	account := func(id mail.AccountID) directory.Account { a, _ := d.Account(ctx, id); return a }
	domain := func(n mail.Domain) directory.Domain { o, _ := d.Domain(ctx, n); return o }
	target := func(a string) directory.Target { o, _ := d.Lookup(ctx, addr(a)); return o }
	for _, c := range []struct {
		name   string
		change func() error
		seen   func() bool
	}{
		{"quota", func() error { return d.SetQuota(ctx, alice, 77) }, func() bool { return account(alice).Quota == 77 }},
		{"disabled", func() error { return d.SetDisabled(ctx, alice, true) }, func() bool { return account(alice).Disabled }},
		{
			"limits of a domain", func() error { return d.SetDomainLimits(ctx, "postel.test", 5, 6) },
			func() bool { return domain("postel.test").MaxMessages == 6 },
		},
		{
			"catchall", func() error { return d.SetCatchAll(ctx, "caught.test", addr("carol@caught.test")) },
			func() bool {
				to := target("anybody@caught.test").Alias
				return len(to) == 1 && to[0] == addr("carol@caught.test")
			},
		},
		{
			"an alias before the catchall", func() error { return d.AddAlias(ctx, addr("anybody@caught.test"), addr("bob@postel.test")) },
			func() bool { return target("anybody@caught.test").Alias[0] == addr("bob@postel.test") },
		},
		{
			"an account before the catchall",
			func() error { add(t, d, NewAccount{Address: addr("new@caught.test"), Password: "x"}); return nil },
			func() bool { return target("new@caught.test").Account != 0 },
		},
		{
			"no account", func() error {
				return d.Update(ctx, kv.Txn{Lock: Locks(alice)}, func(tx kv.Tx) error { return d.RemoveAccount(tx, alice) })
			},
			func() bool { return target("alice@postel.test").Account == 0 && account(alice).ID == 0 },
		},
		{
			"no domain", func() error { return d.RemoveDomain(ctx, "relay.test") },
			func() bool { return !target("any@relay.test").Relay && domain("relay.test").Name == "" },
		},
	} {
		if c.seen() {
			t.Errorf("%s: seen before", c.name)
		}
		if err := c.change(); err != nil || !c.seen() {
			t.Errorf("%s: not seen, or %v", c.name, err)
		}
	}
}

// TestNothingOldIsRemembered: what is read while a change is under way is not kept beyond it.
func TestNothingOldIsRemembered(t *testing.T) {
	t.Parallel()
	ctx, d := t.Context(), sample(t, Options{})
	bob := idOf(t, d, "bob@postel.test")
	stop := make(chan struct{})
	var readers sync.WaitGroup
	for range 4 {
		readers.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
					_, _ = d.Account(ctx, bob)
				}
			}
		})
	}
	for n := int64(1); n <= 300; n++ {
		if err := d.SetQuota(ctx, bob, n); err != nil {
			t.Fatal(err)
		}
		if a, err := d.Account(ctx, bob); err != nil || a.Quota != n {
			t.Fatalf("quota %d after it was set to %d, %v", a.Quota, n, err)
		}
	}
	close(stop)
	readers.Wait()
}

// TestKnownIsBounded: strangers choose what is asked for.
func TestKnownIsBounded(t *testing.T) {
	t.Parallel()
	known := table[int, int]{m: map[int]int{}}
	for i := range 3 * maxKnown {
		if v, err := known.get(i, func() (int, error) { return -i, nil }); v != -i || err != nil {
			t.Fatal(v, err)
		}
	}
	if len(known.m) > maxKnown {
		t.Errorf("%d entries", len(known.m))
	}
}
