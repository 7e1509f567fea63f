package imapd

import (
	"strings"
	"testing"
	"time"
)

// TestManyParts: what a stranger sends to make a reader's commands dear. Opening the body anew for each part would
// take minutes.
func TestManyParts(t *testing.T) {
	t.Parallel()
	w := start(t, setup{clearAuth: true, noGlass: true})
	many := "Subject: many\nContent-Type: multipart/mixed; boundary=b\n\n" + strings.Repeat("--b\n\nz\n", 9990) + "--b--\n"
	inner := "Subject: deep\nContent-Type: multipart/digest; boundary=c\n\n" + strings.Repeat("--c\n\nFrom: a@example.org\n\ny\n", 2000) + "--c--\n"
	w.deliver("INBOX", many, 0)
	w.deliver("INBOX", many, 0)
	w.deliver("INBOX", inner, 0)
	c := w.login()
	c.do("SELECT INBOX")
	began := time.Now()
	for search, want := range map[string]string{
		"TEXT nothing":                    "* SEARCH",
		"OR BODY nothing SUBJECT nothing": "* SEARCH",
		"BODY z":                          "* SEARCH 1 2",
		"BODY a@example.org":              "* SEARCH 3",
		"BODY y TEXT deep":                "* SEARCH 3",
	} {
		if got := c.do("SEARCH %s", search)[0]; got != want {
			t.Errorf("%s: %s", search, got)
		}
	}
	if got := strings.Count(strings.Join(c.do("FETCH 1:3 BODYSTRUCTURE"), ""), `"text" "plain"`); got != 2*9990+2000 {
		t.Errorf("%d parts", got)
	}
	if took := time.Since(began); took > time.Minute {
		t.Error(took)
	}
}
