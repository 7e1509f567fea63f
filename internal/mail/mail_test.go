package mail

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestParseAddress(t *testing.T) {
	for _, c := range []struct{ in, local, domain string }{
		{"alice@example.org", "alice", "example.org"},
		{"Alice@EXAMPLE.org", "Alice", "example.org"},
		{`"a b"@example.org`, "a b", "example.org"},
		{`"a\"b"@example.org`, `a"b`, "example.org"},
		{"x@[192.0.2.1]", "x", "[192.0.2.1]"},
		{"x@[IPv6:2001:DB8::1]", "x", "[ipv6:2001:db8::1]"},
		{"x@bücher.example", "x", "xn--bcher-kva.example"},
		{"用户@example.org", "用户", "example.org"},
	} {
		a, err := ParseAddress(c.in)
		if err != nil || a.Local != c.local || string(a.Domain) != c.domain {
			t.Errorf("%s: %+v, %v", c.in, a, err)
		}
		if again, err := ParseAddress(a.String()); err != nil || again != a {
			t.Errorf("%s does not round-trip: %q, %v", c.in, a.String(), err)
		}
	}
	for _, bad := range []string{
		"", "@", "alice", "alice@", "@example.org", "a..b@x.org", ".a@x.org", "a@-x.org",
		"a b@x.org", "\"\xff\"@x.org", `"a@x.org`, "a@[300.1.1.1]", "a@x..org", "a@x.org ", strings.Repeat("a", 65) + "@x.org",
		"a@" + strings.Repeat("a", 64) + ".org", "a\r@x.org", "\"a\n\"@x.org", "@a.org:b@c.org",
	} {
		if a, err := ParseAddress(bad); err == nil || !Is(err, Invalid) {
			t.Errorf("%q: %+v, %v", bad, a, err)
		}
	}
}

func TestLiteral(t *testing.T) {
	for d, want := range map[Domain]bool{
		"[192.0.2.1]": true, "[ipv6:2001:db8::1]": true, "192.0.2.1]": false, "[192.0.2.1": false, "192.0.2.1": false,
		"[2001:db8::1]": false, "[ipv6:192.0.2.1]": false, "[fe80::1%eth0]": false, "[]": false, "": false,
	} {
		if ip, ok := d.Literal(); ok != want || ok != ip.IsValid() {
			t.Errorf("%s: %v, %t", d, ip, ok)
		}
	}
}

func TestSub(t *testing.T) {
	a, d := Address{"alice+lists+x", "e.org"}.Sub()
	if a.Local != "alice" || d != "lists+x" {
		t.Errorf("%v %q", a, d)
	}
	if a, d := (Address{"+x", "e.org"}).Sub(); a.Local != "+x" || d != "" {
		t.Errorf("%v %q", a, d)
	}
}

func TestIDs(t *testing.T) {
	var g IDs
	now := time.UnixMilli(1_790_000_000_123)
	var ids []ID
	for range 5000 {
		ids = append(ids, g.New(now))
	}
	if !slices.IsSortedFunc(ids, func(a, b ID) int { return strings.Compare(a.String(), b.String()) }) {
		t.Error("ids do not rise")
	}
	if !ids[0].Time().Equal(now) {
		t.Errorf("time %v, want %v", ids[0].Time(), now)
	}
	if p, ok := ParseID("m-" + strings.ToUpper(ids[1].String())); !ok || p != ids[1] {
		t.Error("an id does not parse back")
	}
	if _, ok := ParseID("m-0123456789abcdez"); ok {
		t.Error("z is not in the alphabet")
	}
}

func TestWrapKeepsKind(t *testing.T) {
	err := Wrap("outer", E("inner", OverQuota, "mailbox full"))
	if !Is(err, OverQuota) || Is(nil, Internal) || KindOf(errors.New("x")) != Internal {
		t.Errorf("%v", err)
	}
}

func FuzzParseAddress(f *testing.F) {
	for _, s := range []string{"a@b.c", `"\\ "@x`, "x@[IPv6:::1]", "ü@ü.de"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		a, err := ParseAddress(s)
		if err != nil {
			return
		}
		if b, err := ParseAddress(a.String()); err != nil || b != a {
			t.Fatalf("%q became %+v, %q became %+v (%v)", s, a, a.String(), b, err)
		}
	})
}

// TestSharedIDs: processes that share rows never make the same id, whatever their clocks and numbers of ids, and ids rise when
// a process comes to share.
func TestSharedIDs(t *testing.T) {
	t.Parallel()
	now := time.UnixMilli(1_790_000_000_123)
	all := map[ID]bool{}
	var last [3]ID
	gens := []*IDs{{}, {}, {}} // the first has the rows for itself: a command beside the servers
	for round := range 3 {
		gens[1].Share(round)
		gens[2].Share(Slots - 1 - round)
		for i, g := range gens {
			for range 20_000 {
				id := g.New(now)
				if all[id] || id.String() <= last[i].String() {
					t.Fatal(i, id, "after", last[i])
				}
				all[id], last[i] = true, id
			}
		}
	}
	late := gens[1].New(now.Add(time.Hour))
	if d := late.Time().Sub(now.Add(time.Hour)); d != 0 {
		t.Error("made", d, "off")
	}
}

// A sender that a forwarder made may be longer than 64 octets, as it holds another (RFC 5321 §4.5.3.1); nothing else may.
func TestForwardersAddress(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", 80)
	for in, want := range map[string]bool{
		"SRS0=abcdef=AA=a.example=" + long + "@b.example":                    true,
		"srs1+abcdef=a.example==abcdef=AA=c.example=" + long + "@b.example":  true,
		"SRS0=abcdef=AA=a.example=" + strings.Repeat(long, 3) + "@b.example": false,
		"SRS0" + long + "@b.example":                                         false,
		long + "@b.example":                                                  false,
	} {
		if a, err := ParseAddress(in); (err == nil) != want || want && a.String() != in {
			t.Errorf("%s: %v %v", in, a, err)
		}
	}
}
