package smtp

import (
	"fmt"
	"testing"

	"postel/internal/mail"
)

// FuzzOnDemand: what the parsers of ETRN and ATRN take reads back as the same, in one line; what they refuse has a coded
// reply.
func FuzzOnDemand(f *testing.F) {
	for _, s := range []string{"", "example.org", "@example.org", "#all", "a.test,b.test", "a..b", "@", "#\x00", "b\u00fccher.test", "[::1]", "x,"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		n, err := ParseETRN(s)
		if again, err2 := ParseETRN(n.String()); err == nil && (err2 != nil || again != n) {
			t.Errorf("%q: %q, %v", s, n, err2)
		}
		coded(t, err)
		list, err := ParseATRN(s)
		coded(t, err)
		if err != nil {
			return
		}
		line := ""
		for i, d := range list {
			if line += string(d); i < len(list)-1 {
				line += ","
			}
		}
		if again, err := ParseATRN(line); err != nil || fmt.Sprint(again) != fmt.Sprint(list) || len(list) > maxTurned {
			t.Errorf("%q: %v, %v, %v", s, list, again, err)
		}
	})
}

func coded(t *testing.T, err error) {
	t.Helper()
	if r := ReplyOf(err, false); err != nil && (r.Code < 500 || r.Code > 501 || !mail.Is(err, mail.Invalid)) {
		t.Errorf("%v: %v", err, r)
	}
}
