package srs

import (
	"strings"
	"testing"
	"time"

	"postel/internal/mail"
)

func addr(s string) mail.Address {
	a, err := mail.ParseAddress(s)
	if err != nil {
		panic(err)
	}
	return a
}

var then = time.Date(2020, 1, 1, 0, 1, 0, 0, time.UTC)

func rewriter(secrets ...string) *Rewriter {
	var list [][]byte
	for _, s := range secrets {
		list = append(list, []byte(s))
	}
	return New(Options{Secrets: list, Hash: 4})
}

// What PostSRSd makes and takes, from its own tests.
func TestPostSRSd(t *testing.T) {
	t.Parallel()
	w := rewriter("tops3cr3t")
	const theirs = "SRS0=vmyz=2W=otherdomain.com=test@example.com"
	got, ok := w.Forward(addr("test@otherdomain.com"), "example.com", then)
	if !ok || got.String() != theirs {
		t.Error(got)
	}
	back, err := w.Reverse(addr(theirs), then)
	if err != nil || back.String() != "test@otherdomain.com" {
		t.Error(back, err)
	}
}

// TestTwoForwards: each forwarder knows its own addresses alone, and the way back leads through both.
func TestTwoForwards(t *testing.T) {
	t.Parallel()
	b, c, d := rewriter("of b"), rewriter("of c"), rewriter("of d")
	from := addr("Alice.O'x@a.example")
	one, _ := b.Forward(from, "b.example", then)
	two, ok := c.Forward(one, "c.example", then)
	if !ok || !strings.HasPrefix(two.Local, "SRS1=") || !strings.Contains(two.Local, "=b.example==") {
		t.Fatal(two)
	}
	three, ok := d.Forward(two, "d.example", then) // as long as it was
	if !ok || !strings.HasPrefix(three.Local, "SRS1=") || len(three.Local) != len(two.Local) {
		t.Fatal(three)
	}
	if _, err := b.Reverse(two, then); !mail.Is(err, mail.Denied) {
		t.Errorf("of another: %v", err)
	}
	for _, x := range []struct {
		w  *Rewriter
		at mail.Address
	}{{c, two}, {d, three}} {
		back, err := x.w.Reverse(x.at, then)
		if err != nil || back != one {
			t.Fatal(back, err)
		}
		if back, err = b.Reverse(back, then); err != nil || back != from {
			t.Fatal(back, err)
		}
	}
}

// TestForged: what was changed, is of another secret, too old, or from the future leads nowhere; what lost its case, or was
// made with an old secret, does.
func TestForged(t *testing.T) {
	t.Parallel()
	w := New(Options{Secrets: [][]byte{[]byte("new"), []byte("old")}})
	old := New(Options{Secrets: [][]byte{[]byte("old")}})
	made, _ := w.Forward(addr("alice@a.example"), "b.example", then)
	before, _ := old.Forward(addr("alice@a.example"), "b.example", then)
	for name, c := range map[string]struct {
		a    string
		days int
		kind mail.Kind // Internal: none
	}{
		"as made":          {a: made.Local},
		"lower case":       {a: strings.ToLower(made.Local)},
		"upper case":       {a: strings.ToUpper(made.Local)},
		"other sign":       {a: "SRS0+" + made.Local[5:]},
		"other alphabet":   {a: strings.NewReplacer("-", "+", "_", "/").Replace(made.Local)},
		"old secret":       {a: before.Local},
		"last day":         {a: made.Local, days: 21},
		"expired":          {a: made.Local, days: 22, kind: mail.Denied},
		"from the future":  {a: made.Local, days: -1, kind: mail.Denied},
		"a year":           {a: made.Local, days: 366, kind: mail.Denied},
		"another user":     {a: strings.Replace(made.Local, "alice", "alicf", 1), kind: mail.Denied},
		"another host":     {a: strings.Replace(made.Local, "a.example", "b.example", 1), kind: mail.Denied},
		"short hash":       {a: "SRS0=" + made.Local[5:9] + made.Local[11:], kind: mail.Denied},
		"no hash":          {a: "SRS0==2W=a.example=alice", kind: mail.NotFound},
		"no user":          {a: "SRS0=abcdef=2W=a.example", kind: mail.NotFound},
		"no address":       {a: "SRS0=x", kind: mail.NotFound},
		"somebody":         {a: "srs0user", kind: mail.NotFound},
		"SRS1 of nobody":   {a: "SRS1=abcdef=a.example==x=2W=c.example=bob", kind: mail.Denied},
		"SRS0 said SRS1":   {a: "SRS1" + made.Local[4:], kind: mail.Denied},
		"somebody's SRS10": {a: "SRS10=a=b=c=d", kind: mail.NotFound},
	} {
		back, err := w.Reverse(mail.Address{Local: c.a, Domain: "b.example"}, then.AddDate(0, 0, c.days))
		switch {
		case c.kind == mail.Internal && (err != nil || !strings.EqualFold(back.String(), "alice@a.example")):
			t.Errorf("%s: %v %v", name, back, err)
		case c.kind != mail.Internal && !mail.Is(err, c.kind):
			t.Errorf("%s: %v %v", name, back, err)
		}
	}
	if _, err := old.Reverse(made, then); !mail.Is(err, mail.Denied) {
		t.Error("the old program takes what the new secret made")
	}
}

func TestNotForwarded(t *testing.T) {
	t.Parallel()
	w := rewriter("x")
	for _, a := range []mail.Address{{}, {Local: "postmaster"}, {Local: strings.Repeat("x", 64), Domain: mail.Domain(strings.Repeat("d.", 100) + "example")}} {
		if got, ok := w.Forward(a, "b.example", then); ok || got != a {
			t.Error(got)
		}
	}
}

// FuzzReverse: no text but what was made with the secret leads anywhere, and what leads there can be written to.
func FuzzReverse(f *testing.F) {
	w := rewriter("secret")
	for _, s := range []string{"SRS0=vmyz=2W=otherdomain.com=test", "SRS1=x=y==z", "SRS0+a=b=c=d=e", "srs1-====", "SRS0=\x00=AA=[1.2.3.4]=\" "} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, local string) {
		back, err := w.Reverse(mail.Address{Local: local, Domain: "b.example"}, then)
		if err != nil {
			if !mail.Is(err, mail.NotFound) && !mail.Is(err, mail.Denied) {
				t.Error(err)
			}
			return
		}
		if again, err := mail.ParseAddress(back.String()); err != nil || again != back {
			t.Errorf("%q leads to %q: %v", local, back, err)
		}
	})
}

// FuzzRoundTrip: every sender gets its mail back.
func FuzzRoundTrip(f *testing.F) {
	w := rewriter("secret")
	f.Add("alice@a.example")
	f.Add(`"a b=c"@a.example`)
	f.Add("SRS0=abcd=2W=a.example=alice@c.example")
	f.Add("SRS1=abcd=a.example==abcd=2W=a.example=alice@c.example")
	f.Add("srs1-a=b=c@[192.0.2.1]")
	f.Add("müller@a.example")
	f.Fuzz(func(t *testing.T, s string) {
		from, err := mail.ParseAddress(s)
		if err != nil {
			return
		}
		to, ok := w.Forward(from, "b.example", then)
		if !ok {
			return
		}
		if !Is(to) || len(to.String()) > 254 {
			t.Errorf("%q is forwarded from %q", from, to)
		}
		read, err := mail.ParseAddress(to.String())
		if err != nil {
			t.Fatalf("%q: %v", to, err)
		}
		back, err := w.Reverse(read, then)
		if err != nil {
			t.Fatalf("%q: %v", to, err)
		}
		if tag, _, srs := tagged(from.Local); srs && tag == '1' && strings.HasPrefix(back.Local, "SRS0") {
			return // leads to the first forwarder, past the second
		}
		if back != from {
			t.Errorf("%q came back as %q", from, back)
		}
	})
}
