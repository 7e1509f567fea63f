package local

import (
	"context"
	"crypto"
	"errors"
	"fmt"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/xdg-go/scram"

	"postel/internal/directory"
	"postel/internal/kv"
	"postel/internal/kv/kvtest"
	"postel/internal/kv/pebble"
	"postel/internal/mail"
	"postel/internal/proto/sasl"
)

// cheap makes hashing cost nothing in tests.
func cheap() HashCost { return HashCost{MemoryKiB: 8, Passes: 1, Lanes: 1} }

func memory(t testing.TB) kv.Store {
	t.Helper()
	s, err := pebble.OpenMemory()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	if _, bench := t.(*testing.B); bench {
		return s
	}
	return kvtest.Strict(s, kvtest.Options{Report: t.Error, Declared: true})
}

func open(t testing.TB, o Options) *Directory {
	t.Helper()
	if o.KV == nil {
		o.KV, o.Alone = memory(t), true
	}
	if o.Hash == (HashCost{}) {
		o.Hash = cheap()
	}
	d, err := New(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// sample is a directory with two local domains, one relayed, and a few accounts with the password "postel".
func sample(t testing.TB, o Options) *Directory {
	t.Helper()
	d := open(t, o)
	for _, n := range []directory.Domain{
		{Name: "postel.test", Kind: directory.Local},
		{Name: "caught.test", Kind: directory.Local, CatchAll: addr("alice@postel.test")},
		{Name: "relay.test", Kind: directory.Relay},
	} {
		if err := d.AddDomain(t.Context(), n); err != nil {
			t.Fatal(err)
		}
	}
	for _, a := range []string{"alice@postel.test", "bob@postel.test", "carol@caught.test"} {
		add(t, d, NewAccount{Address: addr(a), Password: "postel"})
	}
	alias(t, d, "sales@postel.test", "alice@postel.test", "bob@postel.test", "Out@elsewhere.test")
	alias(t, d, "al@postel.test", "Alice@postel.test")
	alias(t, d, "al2@postel.test", "al@postel.test")
	alias(t, d, "plus+tag@postel.test", "bob@postel.test")
	return d
}

func addr(s string) mail.Address {
	a, err := mail.ParseAddress(s)
	if err != nil {
		panic(err)
	}
	return a
}

func add(t testing.TB, d *Directory, n NewAccount) mail.AccountID {
	t.Helper()
	id, err := tryAdd(t.Context(), d, n)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func tryAdd(ctx context.Context, d *Directory, n NewAccount) (mail.AccountID, error) {
	p, err := d.PrepareAccount(ctx, n)
	if err != nil {
		return 0, err
	}
	return p.ID(), d.Update(ctx, kv.Txn{Lock: p.Locks()}, func(tx kv.Tx) error { return d.AddAccount(tx, p) })
}

func alias(t testing.TB, d *Directory, a string, to ...string) {
	t.Helper()
	var list []mail.Address
	for _, s := range to {
		list = append(list, addr(s))
	}
	if err := d.AddAlias(t.Context(), addr(a), list...); err != nil {
		t.Fatal(err)
	}
}

func idOf(t testing.TB, d *Directory, a string) mail.AccountID {
	t.Helper()
	acc, err := d.AccountOf(t.Context(), addr(a))
	if err != nil {
		t.Fatal(err)
	}
	return acc.ID
}

func TestLookup(t *testing.T) {
	t.Parallel()
	d := sample(t, Options{})
	names := map[mail.AccountID]string{}
	for a, err := range d.Accounts(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		names[a.ID] = a.Address.Local
	}
	for _, c := range []struct{ in, want string }{
		{"alice@postel.test", "alice"},
		{"ALICE@postel.test", "alice"},
		{"alice+x@postel.test", "alice/x"},
		{"alice+X+y@postel.test", "alice/x+y"},
		{"alice+@postel.test", "alice"},
		{"+x@postel.test", "not found"},
		{"plus+tag@postel.test", "[bob@postel.test]"},
		{"plus@postel.test", "not found"},
		{"sales@postel.test", "[alice@postel.test bob@postel.test Out@elsewhere.test]"},
		{"al+d@postel.test", "[Alice@postel.test]/d"},
		{"nobody@postel.test", "not found"},
		{"anyone@caught.test", "[alice@postel.test]"},
		{"carol@caught.test", "carol"},
		{"x@relay.test", "relay"},
		{"x@elsewhere.test", "not found"},
		{"postmaster@postel.test", "carol"},
		{"Postmaster@caught.test", "[alice@postel.test]"},
		{"postmaster+x@postel.test", "carol"},
		{`"a b"@postel.test`, "not found"},
		{"x@[127.0.0.1]", "not found"},
	} {
		if got := show(d, t.Context(), addr(c.in), names); got != c.want {
			t.Errorf("%s: %s, want %s", c.in, got, c.want)
		}
	}
	if got := show(d, t.Context(), mail.Address{Local: "PostMaster"}, names); got != "carol" {
		t.Errorf("bare postmaster: %s", got)
	}
	for _, odd := range []mail.Address{
		{},
		{Local: "x"},
		{Domain: "postel.test"},
		{Local: strings.Repeat("x", 5000), Domain: "postel.test"},
		{Local: "x", Domain: mail.Domain(strings.Repeat("x", 5000))},
	} {
		if got := show(d, t.Context(), odd, names); got != "not found" {
			t.Errorf("%.20v: %s", odd, got)
		}
	}
}

func show(d *Directory, ctx context.Context, a mail.Address, names map[mail.AccountID]string) string {
	got, err := d.Lookup(ctx, a)
	if err != nil {
		return mail.KindOf(err).String()
	}
	s := names[got.Account]
	if got.Relay {
		s = "relay"
	}
	if got.Alias != nil {
		s = fmt.Sprint(got.Alias)
	}
	if got.Detail != "" {
		s += "/" + got.Detail
	}
	return s
}

func TestPostmaster(t *testing.T) {
	t.Parallel()
	d := open(t, Options{Postmaster: addr("boss@postel.test")})
	if _, err := d.Lookup(t.Context(), mail.Address{Local: "postmaster"}); err != nil {
		t.Errorf("configured, with no domain: %v", err)
	}
	if err := d.AddDomain(t.Context(), directory.Domain{Name: "postel.test", Kind: directory.Local}); err != nil {
		t.Fatal(err)
	}
	want := func(a mail.Address, id mail.AccountID, as string) {
		t.Helper()
		got, err := d.Lookup(t.Context(), a)
		if err != nil || got.Account != id || as != "" && (len(got.Alias) != 1 || got.Alias[0].String() != as) {
			t.Errorf("%v: %+v %v", a, got, err)
		}
	}
	configure := func(p mail.Address) {
		d.o.Postmaster = p
		d.changed()
	}
	configure(addr("boss@elsewhere.test"))
	want(addr("postmaster@postel.test"), 0, "boss@elsewhere.test")
	configure(addr("boss@postel.test")) // who does not exist
	if _, err := d.Lookup(t.Context(), addr("postmaster@postel.test")); !mail.Is(err, mail.NotFound) {
		t.Errorf("with nobody at all: %v", err)
	}
	first := add(t, d, NewAccount{Address: addr("a@postel.test")})
	configure(addr("a@postel.test"))
	want(addr("postmaster@postel.test"), 0, "a@postel.test")
	configure(mail.Address{})
	want(mail.Address{Local: "postmaster"}, first, "")
	catcher := add(t, d, NewAccount{Address: addr("catch@postel.test"), Catcher: true})
	want(addr("postmaster@postel.test"), catcher, "")
	alias(t, d, "postmaster@postel.test", "a@postel.test")
	want(addr("postmaster@postel.test"), 0, "a@postel.test")
	want(mail.Address{Local: "Postmaster"}, 0, "a@postel.test")
}

func TestMaySendAs(t *testing.T) {
	t.Parallel()
	d := sample(t, Options{})
	alice := idOf(t, d, "alice@postel.test")
	for _, c := range []struct {
		as   string
		want bool
	}{
		{"alice@postel.test", true},
		{"Alice@postel.test", true},
		{"alice+x@postel.test", true},
		{"al@postel.test", true},
		{"al2@postel.test", true},
		{"al2+x@postel.test", true},
		{"sales@postel.test", false},
		{"bob@postel.test", false},
		{"any@caught.test", false},
		{"postmaster@postel.test", false},
		{"x@relay.test", false},
		{"x@elsewhere.test", false},
	} {
		if got, err := d.MaySendAs(t.Context(), alice, addr(c.as)); got != c.want || err != nil {
			t.Errorf("%s: %v %v", c.as, got, err)
		}
	}
	for _, as := range []string{"Sales@postel.test", "x@elsewhere.test"} {
		if err := d.AllowSendAs(t.Context(), alice, addr(as), true); err != nil {
			t.Fatal(err)
		}
		if got, err := d.MaySendAs(t.Context(), alice, addr(as)); !got || err != nil {
			t.Errorf("%s, allowed: %v %v", as, got, err)
		}
		if got, _ := d.MaySendAs(t.Context(), idOf(t, d, "bob@postel.test"), addr(as)); got {
			t.Errorf("%s: another is allowed too", as)
		}
	}
	if err := d.AllowSendAs(t.Context(), alice, addr("sales@postel.test"), false); err != nil {
		t.Fatal(err)
	}
	if got, err := d.MaySendAs(t.Context(), alice, addr("sales@postel.test")); got || err != nil {
		t.Errorf("taken back: %v %v", got, err)
	}
	if err := d.AllowSendAs(t.Context(), alice, addr("sales@postel.test"), false); !mail.Is(err, mail.NotFound) {
		t.Error(err)
	}
	if got, err := d.MaySendAs(t.Context(), 0, addr("nobody@postel.test")); got || err != nil {
		t.Errorf("nobody as nobody: %v %v", got, err)
	}
}

func TestResolve(t *testing.T) {
	t.Parallel()
	d := sample(t, Options{})
	alias(t, d, "loop1@postel.test", "loop2@postel.test")
	alias(t, d, "loop2@postel.test", "loop1@postel.test")
	alias(t, d, "loop3@postel.test", "loop1@postel.test", "bob@postel.test")
	alias(t, d, "gone@postel.test", "nobody@postel.test")
	alias(t, d, "all@postel.test", "sales@postel.test", "al@postel.test", "gone@postel.test", "r@relay.test", "out@elsewhere.test")
	for i := range 12 {
		alias(t, d, fmt.Sprintf("deep%d@postel.test", i), fmt.Sprintf("deep%d@postel.test", i+1))
	}
	var many []string
	for i := range 999 {
		many = append(many, fmt.Sprintf("u%d@elsewhere.test", i))
	}
	alias(t, d, "many@postel.test", many...)
	alias(t, d, "more@postel.test", "many@postel.test", "bob@postel.test")
	for _, c := range []struct{ in, want string }{
		{"alice@postel.test", "alice@postel.test"},
		{"all@postel.test", "alice@postel.test bob@postel.test r@relay.test out@elsewhere.test"},
		{"loop1@postel.test", "loop"},
		{"loop3@postel.test", "bob@postel.test"},
		{"gone@postel.test", "not found"},
		{"deep0@postel.test", "loop"},
		{"deep11@postel.test", "not found"},
		{"more@postel.test", "too many"},
		{"x@elsewhere.test", "x@elsewhere.test"},
		{"nobody@postel.test", "not found"},
		{"x@caught.test", "alice@postel.test"},
	} {
		got, err := d.Resolve(t.Context(), addr(c.in))
		s := strings.Trim(fmt.Sprint(got), "[]")
		if err != nil {
			s = mail.KindOf(err).String()
		}
		if s != c.want {
			t.Errorf("%s: %s, want %s", c.in, s, c.want)
		}
	}
	if got, err := d.Resolve(t.Context(), addr("many@postel.test")); err != nil || len(got) != 999 {
		t.Errorf("%d %v", len(got), err)
	}
}

func TestDomains(t *testing.T) {
	t.Parallel()
	ctx, d := t.Context(), sample(t, Options{})
	check := func(want mail.Kind, err error) {
		t.Helper()
		if !mail.Is(err, want) {
			t.Errorf("%v, want %v", err, want)
		}
	}
	check(mail.Exists, d.AddDomain(ctx, directory.Domain{Name: "postel.test", Kind: directory.Local}))
	check(mail.Invalid, d.AddDomain(ctx, directory.Domain{Name: "[127.0.0.1]", Kind: directory.Local}))
	check(mail.Invalid, d.AddDomain(ctx, directory.Domain{Name: "Upper.test", Kind: directory.Local}))
	check(mail.Invalid, d.AddDomain(ctx, directory.Domain{Name: "x.test"}))
	check(mail.Invalid, d.AddDomain(ctx, directory.Domain{Name: "x.test", Kind: directory.Relay, CatchAll: addr("a@b.test")}))
	check(mail.Busy, d.RemoveDomain(ctx, "postel.test"))
	check(mail.NotFound, d.RemoveDomain(ctx, "none.test"))
	check(mail.NotFound, d.SetCatchAll(ctx, "none.test", mail.Address{}))
	for _, err := range []error{
		d.RemoveDomain(ctx, "relay.test"),
		d.EnsureDomain(ctx, directory.Domain{Name: "caught.test", Kind: directory.Local}),
		d.EnsureDomain(ctx, directory.Domain{Name: "new.test", Kind: directory.Relay}),
		d.SetCatchAll(ctx, "postel.test", addr("Bob@postel.test")),
	} {
		if err != nil {
			t.Error(err)
		}
	}
	list, err := d.Domains(ctx)
	var got []string
	for _, n := range list {
		got = append(got, fmt.Sprintf("%s %s %s", n.Name, n.Kind, n.CatchAll))
	}
	want := "caught.test local alice@postel.test|new.test relay |postel.test local bob@postel.test"
	if s := strings.Join(got, "|"); s != want || err != nil {
		t.Errorf("%s %v", s, err)
	}
}

func TestAccountsAndAliases(t *testing.T) {
	t.Parallel()
	ctx, d := t.Context(), sample(t, Options{})
	for _, c := range []struct {
		addr string
		want mail.Kind
	}{
		{"alice@postel.test", mail.Exists},
		{"ALICE@postel.test", mail.Exists},
		{"sales@postel.test", mail.Exists},
		{"x@relay.test", mail.Denied},
		{"x@none.test", mail.NotFound},
	} {
		if _, err := tryAdd(ctx, d, NewAccount{Address: addr(c.addr)}); !mail.Is(err, c.want) {
			t.Errorf("%s: %v", c.addr, err)
		}
	}
	for _, c := range []struct {
		a, to string
		want  mail.Kind
	}{
		{"alice@postel.test", "bob@postel.test", mail.Exists},
		{"x@relay.test", "bob@postel.test", mail.Denied},
		{"x@none.test", "bob@postel.test", mail.NotFound},
		{"x@postel.test", "X@postel.test", mail.Invalid},
	} {
		if err := d.AddAlias(ctx, addr(c.a), addr(c.to)); !mail.Is(err, c.want) {
			t.Errorf("%s: %v", c.a, err)
		}
	}
	if err := d.RemoveAlias(ctx, addr("sales@postel.test"), addr("bob@postel.test")); err != nil {
		t.Error(err)
	}
	if err := d.RemoveAlias(ctx, addr("sales@postel.test"), addr("bob@postel.test")); !mail.Is(err, mail.NotFound) {
		t.Error(err)
	}
	if err := d.RemoveAlias(ctx, addr("alice@postel.test")); !mail.Is(err, mail.NotFound) {
		t.Errorf("an account was removed as an alias: %v", err)
	}
	if err := d.RemoveAlias(ctx, addr("al2@postel.test")); err != nil {
		t.Error(err)
	}
	var got []string
	for a, err := range d.Aliases(ctx) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, a.Address.String()+fmt.Sprint(a.To))
	}
	want := "al@postel.test[Alice@postel.test] plus+tag@postel.test[bob@postel.test] " +
		"sales@postel.test[alice@postel.test Out@elsewhere.test]"
	if s := strings.Join(got, " "); s != want {
		t.Error(s)
	}
}

func TestIdsAreNeverUsedAgain(t *testing.T) {
	t.Parallel()
	ctx, d := t.Context(), sample(t, Options{})
	bob := idOf(t, d, "bob@postel.test")
	err := d.Update(ctx, kv.Txn{Lock: Locks(bob)}, func(tx kv.Tx) error { return d.RemoveAccount(tx, bob) })
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.Account(ctx, bob); !mail.Is(err, mail.NotFound) {
		t.Error(err)
	}
	if _, err := d.Password(ctx, "", "bob@postel.test", "postel"); !mail.Is(err, mail.AuthFailed) {
		t.Error(err)
	}
	again := open(t, Options{KV: d.o.KV})
	if id := add(t, again, NewAccount{Address: addr("bob@postel.test")}); id <= bob {
		t.Errorf("id %d after %d", id, bob)
	}
	if _, err := again.Password(ctx, "", "bob@postel.test", "postel"); !mail.Is(err, mail.AuthFailed) {
		t.Errorf("the old password lives on: %v", err)
	}
}

func TestListsArePaged(t *testing.T) {
	t.Parallel()
	d := sample(t, Options{})
	var want []string
	for i := range 2*page + 10 {
		a := fmt.Sprintf("u%04d@postel.test", i)
		want = append(want, a)
		if i%2 == 0 {
			add(t, d, NewAccount{Address: addr(a)})
		} else {
			alias(t, d, a, "bob@postel.test")
		}
	}
	var got []string
	for a, err := range d.Accounts(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, a.Address.String())
	}
	for a, err := range d.Aliases(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, a.Address.String())
	}
	got = slices.DeleteFunc(got, func(s string) bool { return !strings.HasPrefix(s, "u") })
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Errorf("%d, want %d", len(got), len(want))
	}
}

func TestPassword(t *testing.T) {
	t.Parallel()
	ctx, d := t.Context(), sample(t, Options{})
	alice := idOf(t, d, "alice@postel.test")
	add(t, d, NewAccount{Address: addr("catch@postel.test"), Catcher: true})
	add(t, d, NewAccount{Address: addr("none@postel.test")})
	for _, c := range []struct {
		authzid, login, password string
		want                     string
	}{
		{"", "alice@postel.test", "postel", "alice@postel.test"},
		{"", "ALICE@Postel.Test", "postel", "alice@postel.test"},
		{"", "al@postel.test", "postel", "alice@postel.test"},
		{"", "al2@postel.test", "postel", "alice@postel.test"},
		{"alice@postel.test", "al@postel.test", "postel", "alice@postel.test"},
		{"bob@postel.test", "alice@postel.test", "postel", ""},
		{"nobody", "alice@postel.test", "postel", ""},
		{"", "alice+x@postel.test", "postel", ""},
		{"", "sales@postel.test", "postel", ""},
		{"", "alice", "postel", ""},
		{"", "x@caught.test", "postel", ""},
		{"", "postmaster@postel.test", "postel", ""},
		{"", "", "postel", ""},
		{"", "alice@postel.test", "Postel", ""},
		{"", "alice@postel.test", "", ""},
		{"", "none@postel.test", "", ""},
		{"", "alice@postel.test", "postel\x00", ""},
		{"", "alice@postel.test", strings.Repeat("p", 5000), ""},
		{"", "\xff@postel.test", "postel", ""},
		{"", "catch@postel.test", "whatever", "catch@postel.test"},
		{"", "catch@postel.test", "", ""},
		{"", "x@relay.test", "postel", ""},
	} {
		for range 2 { // the second time from memory
			id, err := d.Password(ctx, c.authzid, c.login, c.password)
			if c.want == "" && !mail.Is(err, mail.AuthFailed) || c.want != "" && (err != nil || id.Login != c.want) {
				t.Errorf("%q %q %.20q: %+v %v", c.authzid, c.login, c.password, id, err)
			}
			if id.Anyone != strings.HasPrefix(c.want, "catch") {
				t.Errorf("%q: %+v", c.login, id)
			}
		}
	}
	if err := d.SetDisabled(ctx, alice, true); err != nil {
		t.Fatal(err)
	}
	if _, err := d.Password(ctx, "", "alice@postel.test", "postel"); !mail.Is(err, mail.AuthFailed) {
		t.Errorf("disabled: %v", err)
	}
}

// TestBareLogin: a local part alone logs in while there is one local domain.
func TestBareLogin(t *testing.T) {
	t.Parallel()
	d := open(t, Options{})
	for _, n := range []directory.Domain{{Name: "a.test", Kind: directory.Relay}, {Name: "b.test", Kind: directory.Local}} {
		if err := d.AddDomain(t.Context(), n); err != nil {
			t.Fatal(err)
		}
	}
	add(t, d, NewAccount{Address: addr("alice@b.test"), Password: "ﬁsch"})
	if id, err := d.Password(t.Context(), "", "Alice", "fisch"); err != nil || id.Login != "alice@b.test" {
		t.Error(id, err)
	}
	if err := d.AddDomain(t.Context(), directory.Domain{Name: "c.test", Kind: directory.Local}); err != nil {
		t.Fatal(err)
	}
	if _, err := d.Password(t.Context(), "", "alice", "fisch"); !mail.Is(err, mail.AuthFailed) {
		t.Error(err)
	}
}

func TestChangedPassword(t *testing.T) {
	t.Parallel()
	ctx, d := t.Context(), sample(t, Options{Recoverable: true})
	other := open(t, Options{KV: d.o.KV}) // another process on the same rows
	alice := idOf(t, d, "alice@postel.test")
	for _, p := range []*Directory{d, other} {
		if _, err := p.Password(ctx, "", "alice@postel.test", "postel"); err != nil {
			t.Fatal(err)
		}
	}
	if err := d.SetPassword(ctx, alice, "sesame"); err != nil {
		t.Fatal(err)
	}
	for _, p := range []*Directory{d, other} {
		if _, err := p.Password(ctx, "", "alice@postel.test", "postel"); !mail.Is(err, mail.AuthFailed) {
			t.Errorf("the old password: %v", err)
		}
		if _, err := p.Password(ctx, "", "alice@postel.test", "sesame"); err != nil {
			t.Errorf("the new password: %v", err)
		}
		if s, id, err := p.Shared(ctx, sasl.ForPOP3, "alice@postel.test"); s != "sesame" || id.Account != alice || err != nil {
			t.Errorf("shared: %q %v %v", s, id, err)
		}
	}
	if err := other.SetPassword(ctx, alice, "third"); err != nil { // keeps no recoverable secrets
		t.Fatal(err)
	}
	if s, id, err := d.Shared(ctx, sasl.ForPOP3, "alice@postel.test"); len(s) != 32 || id.Account != 0 || err != nil {
		t.Errorf("a stale secret: %q %v %v", s, id, err)
	}
	for _, bad := range []string{"", "a\x00b", "\xff", strings.Repeat("x", sasl.MaxPassword+1)} {
		if err := d.SetPassword(ctx, alice, bad); !mail.Is(err, mail.Invalid) && !mail.Is(err, mail.TooLarge) {
			t.Errorf("%.20q: %v", bad, err)
		}
	}
	if err := d.SetPassword(ctx, 4711, "x"); !mail.Is(err, mail.NotFound) {
		t.Error(err)
	}
}

func TestSCRAM(t *testing.T) {
	t.Parallel()
	ctx, d := t.Context(), sample(t, Options{})
	add(t, d, NewAccount{Address: addr("catch@postel.test"), Catcher: true})
	for _, c := range []struct {
		login, pass string
		ok          bool
	}{
		{"alice@postel.test", "postel", true},
		{"al@postel.test", "postel", true},
		{"alice@postel.test", "x", false},
		{"nobody@postel.test", "postel", false},
		{"catch@postel.test", "x", false},
	} {
		for mech, client := range map[string]scram.HashGeneratorFcn{sasl.ScramSHA256: scram.SHA256, sasl.ScramSHA1: scram.SHA1} {
			if got := scramLogin(t, d, mech, client, c.login, c.pass); got != c.ok {
				t.Errorf("%s %s %s: %v", mech, c.login, c.pass, got)
			}
		}
	}
	a, _, _ := d.SCRAM(ctx, crypto.SHA256, "nobody@postel.test")
	b, _, _ := open(t, Options{KV: d.o.KV}).SCRAM(ctx, crypto.SHA256, "Nobody@postel.test")
	c, _, _ := d.SCRAM(ctx, crypto.SHA256, "somebody@postel.test")
	real, _, _ := d.SCRAM(ctx, crypto.SHA256, "alice@postel.test")
	if string(a.Salt) != string(b.Salt) || string(a.Salt) == string(c.Salt) || len(a.Salt) != len(real.Salt) ||
		a.Iterations != real.Iterations {
		t.Error("fake challenges are not like true ones")
	}
	old, _, _ := d.SCRAM(ctx, crypto.SHA1, "nobody@postel.test")
	if again, _, _ := d.SCRAM(ctx, crypto.SHA1, "NOBODY@postel.test"); string(old.Salt) == string(a.Salt) || string(old.Salt) != string(again.Salt) {
		t.Error("fake challenges of SHA-1")
	}
	for _, login := range []string{"@POSTEL.test", "@postel.test.", "@postel\uff0etest"} {
		known, _, _ := d.SCRAM(ctx, crypto.SHA256, "ALICE"+login)
		fake, _, _ := d.SCRAM(ctx, crypto.SHA256, "\uff2eobody"+login)
		if string(known.Salt) != string(real.Salt) || string(fake.Salt) != string(a.Salt) {
			t.Errorf("%s: an unknown login is told from a known one by how it is written", login)
		}
	}
}

// TestSCRAMWithoutDomain: with one local domain, a login without it answers like the one with it.
func TestSCRAMWithoutDomain(t *testing.T) {
	t.Parallel()
	d := open(t, Options{})
	if err := d.AddDomain(t.Context(), directory.Domain{Name: "one.test", Kind: directory.Local}); err != nil {
		t.Fatal(err)
	}
	a, _, _ := d.SCRAM(t.Context(), crypto.SHA256, "nobody")
	b, _, _ := d.SCRAM(t.Context(), crypto.SHA256, "nobody@one.test")
	if string(a.Salt) != string(b.Salt) {
		t.Error("an unknown login is told from a known one")
	}
}

func scramLogin(t *testing.T, d *Directory, mech string, hash scram.HashGeneratorFcn, login, pass string) bool {
	t.Helper()
	cl, err := hash.NewClient(login, pass, "")
	if err != nil {
		t.Fatal(err)
	}
	conv := cl.NewConversation()
	x, err := (&sasl.Server{Auth: d}).Start(t.Context(), sasl.Link{Secure: true}, mech)
	if err != nil {
		t.Fatal(err)
	}
	var challenge []byte
	for range 4 {
		var r string
		if !conv.Done() {
			if r, err = conv.Step(string(challenge)); err != nil {
				t.Fatal(err)
			}
		}
		c, done, id, err := x.Next(t.Context(), []byte(r))
		if err != nil {
			return false
		}
		if done {
			return conv.Valid() && id.Login == "alice@postel.test"
		}
		challenge = c
	}
	return false
}

// TestHashingIsBounded: no more computations at once than allowed, and whoever waits can give up.
func TestHashingIsBounded(t *testing.T) {
	t.Parallel()
	d := sample(t, Options{Parallel: 1})
	d.hashing <- struct{}{}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if _, err := d.Password(ctx, "", "alice@postel.test", "postel"); !mail.Is(err, mail.Canceled) {
		t.Error(err)
	}
	<-d.hashing
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			if _, err := d.Password(t.Context(), "", "alice@postel.test", "postel"); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
}

func TestRemembered(t *testing.T) {
	t.Parallel()
	var r remembered
	r.init()
	now := time.Now()
	a := r.mac(1, []byte("hash"), "pw")
	r.add(a, now)
	if !r.has(a, now.Add(rememberFor-1)) || r.has(r.mac(2, []byte("hash"), "pw"), now) || r.has(r.mac(1, []byte("hashp"), "w"), now) {
		t.Error("what is remembered")
	}
	if r.has(a, now.Add(rememberFor+1)) || len(r.m) != 0 {
		t.Error("remembered too long")
	}
	for i := range rememberMax + 100 {
		r.add(r.mac(mail.AccountID(i), nil, ""), now)
	}
	if len(r.m) > rememberMax {
		t.Errorf("%d", len(r.m))
	}
}

// TestUnknownCostsTheSame compares the time of a wrong password with that of an unknown login at real cost.
func TestUnknownCostsTheSame(t *testing.T) {
	if testing.Short() {
		t.Skip("costs a second of computing")
	}
	d := sample(t, Options{Hash: HashCost{MemoryKiB: 19 << 10, Passes: 2, Lanes: 1}})
	known, not := time.Hour, time.Hour
	for round := range 40 { // the fastest of each, in turns: other work on the machine slows both
		for login, best := range map[string]*time.Duration{"alice@postel.test": &known, "nobody@postel.test": &not} {
			start := time.Now()
			_, _ = d.Password(t.Context(), "", login, "wrong")
			*best = min(*best, time.Since(start))
		}
		if ratio := float64(known) / float64(not); round >= 4 && ratio > 0.6 && ratio < 1.6 {
			return
		}
	}
	t.Errorf("%v for a known login, %v for an unknown one", known, not)
}

func TestNewerFormatIsRefused(t *testing.T) {
	t.Parallel()
	d := open(t, Options{})
	err := d.o.KV.Update(t.Context(), kv.Txn{Lock: []kv.Key{kv.LockServer()}}, func(tx kv.Tx) error {
		tx.Set(secretKey(), make([]byte, 33))
		tx.Set(secretKey(), append([]byte{format + 1}, make([]byte, 64)...))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := New(t.Context(), Options{KV: d.o.KV}); !mail.Is(err, mail.Unsupported) {
		t.Error(err)
	}
}

// FuzzRows: what is read back from a row is what a row is written from, and damage is an error, not a panic.
func FuzzRows(f *testing.F) {
	f.Add(entry{account: 7, catcher: true}.encode())
	f.Add(entry{targets: []mail.Address{addr("a@b.test"), addr(`"x y"@c.test`)}}.encode())
	f.Add([]byte{format, 0, 'l'})
	f.Fuzz(func(t *testing.T, v []byte) {
		if e, err := decodeEntry(v); err == nil {
			again, err := decodeEntry(e.encode())
			if err != nil || again.account != e.account || !slices.Equal(again.targets, e.targets) {
				t.Fatalf("%q: %+v, then %+v %v", v, e, again, err)
			}
		}
		if a, err := decodeAccount(7, v); err == nil {
			if again, err := decodeAccount(7, a.encode()); err != nil || again.Address != a.Address {
				t.Fatalf("%q: %+v %v", v, again, err)
			}
		}
		_, _ = decodeDomain("x.test", v)
		_, _ = decodeSCRAM(crypto.SHA256, v)
		_, _, _, _ = parseHash(v)
	})
}

func BenchmarkLookup(b *testing.B) {
	d := sample(b, Options{})
	a := addr("alice@postel.test")
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if _, err := d.Lookup(b.Context(), a); err != nil {
				b.Error(err)
			}
		}
	})
}

func BenchmarkPasswordRemembered(b *testing.B) {
	d := sample(b, Options{})
	for b.Loop() {
		if _, err := d.Password(b.Context(), "", "alice@postel.test", "postel"); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkPasswordHashed(b *testing.B) {
	d := sample(b, Options{Hash: HashCost{MemoryKiB: 19 << 10, Passes: 2, Lanes: 1}})
	b.ReportMetric(float64(runtime.GOMAXPROCS(0)), "cores")
	for b.Loop() {
		_, _ = d.Password(b.Context(), "", "alice@postel.test", "wrong")
	}
}

// SetAlias forgets whom it does not name, AddAlias does not.
func TestSetAliasIsExact(t *testing.T) {
	t.Parallel()
	d := open(t, Options{})
	a, ann, ben, eve := addr("sales@postel.test"), addr("ann@far.test"), addr("ben@far.test"), addr("eve@far.test")
	if err := d.EnsureDomain(t.Context(), directory.Domain{Name: "postel.test", Kind: directory.Local}); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(d.AddAlias(t.Context(), a, ann, eve), d.SetAlias(t.Context(), a, ben, ann)); err != nil {
		t.Fatal(err)
	}
	got, err := d.Resolve(t.Context(), a)
	if err != nil || !slices.Equal(got, []mail.Address{ben, ann}) {
		t.Errorf("%v, %v", got, err)
	}
}

// TestDomainLimits has limits come and go, and rows of the version before stay as they were.
func TestDomainLimits(t *testing.T) {
	t.Parallel()
	to, err := mail.ParseAddress("u@example.org")
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range []directory.Domain{
		{Name: "x.test", Kind: directory.Local},
		{Name: "x.test", Kind: directory.Local, CatchAll: to},
		{Name: "x.test", Kind: directory.Local, Quota: 1 << 40},
		{Name: "x.test", Kind: directory.Local, MaxMessages: 7, CatchAll: to},
	} {
		v := encodeDomain(d)
		if limits := d.Quota+d.MaxMessages > 0; (v[0] == 2) != limits || !limits && string(v[2:]) != d.CatchAll.String() {
			t.Errorf("%+v is %x", d, v)
		}
		if back, err := decodeDomain(d.Name, v); err != nil || !reflect.DeepEqual(back, d) {
			t.Errorf("%+v reads back as %+v, %v", d, back, err)
		}
	}
	for _, v := range []string{"", "\x02", "\x02l", "\x02l\xff\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00", "\x03l"} {
		if d, err := decodeDomain("x.test", []byte(v)); !mail.Is(err, mail.Internal) {
			t.Errorf("%x: %+v, %v", v, d, err)
		}
	}
}

// TestWhoMayAsk: who takes a domain's mail by ATRN and who may flush it by ETRN is kept and read back, and a domain
// without either keeps the row it had before.
func TestWhoMayAsk(t *testing.T) {
	t.Parallel()
	d := open(t, Options{})
	callers, err := mail.ParseCallers([]string{"192.0.2.0/24", "::1", "bob@postel.test"})
	if err != nil {
		t.Fatal(err)
	}
	want := directory.Domain{
		Name: "customer.test", Kind: directory.Relay, ETRN: callers,
		ODMR: []mail.Address{{Local: "Alice", Domain: "postel.test"}, {Local: "b c", Domain: "postel.test"}},
	}
	if err := d.EnsureDomain(t.Context(), want); err != nil {
		t.Fatal(err)
	}
	want.ODMR[0].Local = "alice"
	if got, err := d.Domain(t.Context(), want.Name); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, %v", got, err)
	}
	want.ODMR, want.ETRN = nil, mail.Callers{}
	if err := d.EnsureDomain(t.Context(), want); err != nil { // what is taken out of the file is allowed no more
		t.Fatal(err)
	}
	if got, err := d.Domain(t.Context(), want.Name); err != nil || !reflect.DeepEqual(got, want) || encodeDomain(got)[0] != format {
		t.Errorf("%+v, %v", got, err)
	}
	for _, bad := range []string{"\n", "\nodmr ", "\nodmr x", "\netrn x", "\nnone alice@postel.test", "\netrn ::1\n"} {
		row := append(kv.Key{formatAsked, 'r'}.U64(0).U64(0), bad...)
		if _, err := decodeDomain("x.test", row); !mail.Is(err, mail.Internal) && bad != "\n" {
			t.Errorf("%q: %v", bad, err)
		}
	}
	local := directory.Domain{Name: "here.test", Kind: directory.Local, ODMR: []mail.Address{{Local: "a", Domain: "b.test"}}}
	if err := d.AddDomain(t.Context(), local); !mail.Is(err, mail.Invalid) {
		t.Error("ATRN for mailboxes of ours:", err)
	}
}
