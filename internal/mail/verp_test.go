package mail

import (
	"strings"
	"testing"
)

func TestVERP(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ from, to, want string }{
		{"news@a.example", "bob@b.example", "news+bob=b.example@a.example"},
		{"news@a.example", "bob+tag=x@b.example", "news+bob+tag=x=b.example@a.example"},
		{"news+1@a.example", "bob@b.example", ""},
		{"news@a.example", strings.Repeat("x", 60) + "@b.example", ""},
		{"news@a.example", `"b b"@b.example`, `"news+b b=b.example"@a.example`},
	} {
		from, err := ParseAddress(c.from)
		if err != nil {
			t.Fatal(err)
		}
		to, err := ParseAddress(c.to)
		if err != nil {
			t.Fatal(err)
		}
		got, ok := VERP(from, to)
		if ok != (c.want != "") || ok && got.String() != c.want || !ok && got != from {
			t.Errorf("%s to %s: %s", c.from, c.to, got)
		}
		if back, named := NamedByVERP(got); ok && (!named || back != to) || !ok && named {
			t.Errorf("%s names %s", got, back)
		}
	}
	for _, s := range []string{"news", "news+bob", "news+=b.example", "news+bob=", "news+bob=no domain", "bob=b.example"} {
		if to, ok := NamedByVERP(Address{Local: s, Domain: "a.example"}); ok {
			t.Errorf("%s names %s", s, to)
		}
	}
}

// FuzzVERP: whatever names a recipient names one that can be written to, and is what would be made for it.
func FuzzVERP(f *testing.F) {
	f.Add("news+bob=b.example")
	f.Add("news+b+c==d=[192.0.2.1]")
	f.Add("n+\" =x.y")
	f.Fuzz(func(t *testing.T, local string) {
		to, ok := NamedByVERP(Address{Local: local, Domain: "a.example"})
		if !ok {
			return
		}
		if back, err := ParseAddress(to.String()); err != nil || back != to {
			t.Fatalf("%q names %q: %v", local, to, err)
		}
		owner, _, _ := strings.Cut(local, "+")
		if a, ok := VERP(Address{Local: owner, Domain: "a.example"}, to); ok && !strings.EqualFold(a.Local, local) && !strings.HasSuffix(local, ".") {
			if d, err := ParseDomain(local[strings.LastIndexByte(local, '=')+1:]); err == nil && d == to.Domain {
				return // a domain written in another way
			}
			t.Fatalf("%q names %q, for whom it would be %q", local, to, a.Local)
		}
	})
}
