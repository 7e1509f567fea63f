package message

import (
	netmail "net/mail"
	"slices"
	"strings"
	"testing"

	"postel/internal/mail"
)

func TestParseAddressList(t *testing.T) {
	t.Parallel()
	box := func(name, local, host string) Address { return Address{Name: name, Local: local, Host: host} }
	for _, c := range []struct {
		in   string
		want []Address
	}{
		{"", nil},
		{" , ,", nil},
		{"a@b", []Address{box("", "a", "b")}},
		{"A B <a@b>, c@d (C)", []Address{box("A B", "a", "b"), box("C", "c", "d")}},
		{`"A \"x\" B" C <a@b>`, []Address{box(`A "x" B C`, "a", "b")}},
		{`"a b"@c.d`, []Address{box("", "a b", "c.d")}},
		{"a . b @ c . d", []Address{box("", "a.b", "c.d")}},
		{"<@x,@y:a@b>", []Address{box("", "a", "b")}},
		{"John Q. Public <j@p>", []Address{box("John Q. Public", "j", "p")}},
		{"=?utf-8?q?=C3=A4?= =?utf-8?q?b?= <a@b>", []Address{box("=?utf-8?q?=C3=A4?= =?utf-8?q?b?=", "a", "b")}},
		{"G:a@b,c@d;,e@f", []Address{{Kind: GroupStart, Name: "G"}, box("", "a", "b"), box("", "c", "d"), {Kind: GroupEnd}, box("", "e", "f")}},
		{"undisclosed-recipients:;", []Address{{Kind: GroupStart, Name: "undisclosed-recipients"}, {Kind: GroupEnd}}},
		{"G:a@b", []Address{{Kind: GroupStart, Name: "G"}, box("", "a", "b"), {Kind: GroupEnd}}},
		{"a@[192.0.2.1], b@[IPv6:::1]", []Address{box("", "a", "[192.0.2.1]"), box("", "b", "[IPv6:::1]")}},
		{"alice", []Address{box("", "alice", "")}},
		{"a@b <c@d>", []Address{box("a@b", "c", "d")}},
		{"a@b; c@d", []Address{box("", "a", "b"), box("", "c", "d")}},
		{"(a (nested) comment) a@b (c) (d)", []Address{box("d", "a", "b")}},
		{"Ünï <ü@ö>", []Address{box("Ünï", "ü", "ö")}},
		{"<>", nil},
		{"A <>", []Address{box("A", "", "")}},
		{"A <a@b, c@d", []Address{box("A", "a", "b"), box("", "c", "d")}},
		{"a@b c@d", []Address{box("", "a@b c", "d")}},
	} {
		if got := ParseAddressList(c.in); !slices.Equal(got, c.want) {
			t.Errorf("%q: %q, want %q", c.in, got, c.want)
		}
	}
}

func TestFormatAddressList(t *testing.T) {
	t.Parallel()
	list := []Address{{Kind: GroupStart, Name: "A, B"}, {Name: "x", Local: "x y", Host: "z"}, {Local: "q", Host: "r"}, {Kind: GroupEnd}, {Name: "é", Local: "e", Host: "f"}}
	want := `"A, B": x <"x y"@z>, q@r;, =?utf-8?b?w6k=?= <e@f>`
	if got := FormatAddressList(list); got != want {
		t.Errorf("%s, want %s", got, want)
	}
	if a, err := list[1].Mail(); err == nil || a != (mail.Address{}) {
		if a.Local != "x y" {
			t.Errorf("%+v %v", a, err)
		}
	}
}

func FuzzAddressList(f *testing.F) {
	for _, m := range mails(f) {
		h, _ := ParseHeader(m.text)
		f.Add(h.Get("From"))
		f.Add(h.Get("To"))
		f.Add(h.Get("Cc"))
	}
	f.Add(`"a\"b" <@x,@y:"c d"@[1.2.3.4]>(x), G: y@z;, ;`)
	f.Fuzz(func(t *testing.T, in string) {
		in = unfold(":" + in)
		list := ParseAddressList(in)
		if len(list) > len(in)+1 {
			t.Fatalf("%d addresses from %d octets", len(list), len(in))
		}
		open := false
		for _, a := range list {
			if a.Kind == GroupStart == open && a.Kind != Mailbox {
				t.Fatalf("groups are not paired: %q", list)
			}
			open = a.Kind == GroupStart || open && a.Kind != GroupEnd
		}
		strict, err := CheckAddressList(in)
		if err != nil {
			return
		}
		if open || !slices.Equal(strict, list) {
			t.Fatalf("strict %q, lenient %q", strict, list)
		}
		for i := range strict { // what the format cannot carry, or carries in another way
			a := &strict[i]
			if !isASCII(a.Name) || strings.Contains(a.Name, "=?") || hasControls(a.Name+a.Local+a.Host) ||
				len(a.Name) != len(strings.TrimSpace(a.Name)) || strings.HasPrefix(a.Host, "[") {
				return
			}
		}
		text := FormatAddressList(strict)
		again, err := CheckAddressList(text)
		if err != nil || !slices.Equal(again, strict) {
			t.Fatalf("%q becomes %q (%v), written %q", strict, again, err, text)
		}
		compareNetMail(t, text, strict)
	})
}

// compareNetMail compares with the standard library, which knows no obsolete forms, on a list that we have formatted.
func compareNetMail(t *testing.T, text string, list []Address) {
	t.Helper()
	var want []Address
	for _, a := range list {
		if a.Kind == Mailbox {
			want = append(want, a)
		}
	}
	std, err := netmail.ParseAddressList(text)
	if err != nil || len(want) == 0 {
		return // it refuses some forms that are allowed
	}
	if len(std) != len(want) {
		t.Fatalf("%q: %d addresses, net/mail has %d", text, len(want), len(std))
	}
	for i, a := range want {
		// net/mail gives the local part as it was, quotes and all, where it needs none
		at := strings.LastIndexByte(std[i].Address, '@')
		if std[i].Name != a.Name || std[i].Address[at+1:] != a.Host || std[i].Address[:at] != a.Local {
			t.Fatalf("%q: %+v, net/mail has %+v", text, a, std[i])
		}
	}
}
