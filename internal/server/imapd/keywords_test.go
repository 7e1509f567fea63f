package imapd

import (
	"fmt"
	"strings"
	"testing"
)

// TestKeywordSlotChangesItsName has one session give a keyword's slot to another name while a second one has the old
// name on its screen: what that is told afterwards is what is true, by name, also where it changed flags silently.
func TestKeywordSlotChangesItsName(t *testing.T) {
	t.Parallel()
	w := start(t, setup{clearAuth: true})
	for range 60 {
		w.deliver("INBOX", "Subject: x\n\nx\n", 0)
	}
	a, b := w.login(), w.login()
	a.do("SELECT INBOX")
	for i := range 58 {
		a.do("STORE %d +FLAGS.SILENT (k%d)", i+1, i)
	}
	a.do("NOOP")
	full := strings.Join(b.do("SELECT INBOX"), "\n")
	if strings.Contains(full, `\*`) {
		t.Errorf("no room, and yet: %s", full)
	}
	b.send("x STORE 60 +FLAGS (other)")
	if l := b.until("x"); !strings.HasPrefix(l[len(l)-1], "x NO [LIMIT]") {
		t.Errorf("a 59th keyword: %v", l)
	}
	a.do("FETCH 1:5 FLAGS") // k0 is on its screen
	b.do("STORE 1 -FLAGS (k0)")
	if again := strings.Join(b.do("SELECT INBOX"), "\n"); !strings.Contains(again, `\*`) {
		t.Errorf("there is room again: %s", again)
	}
	b.do("STORE 60 +FLAGS (other)")
	told := strings.Join(a.do("STORE 1 +FLAGS.SILENT (OTHER)"), "\n") + "\n" + strings.Join(a.do("NOOP"), "\n")
	if !strings.Contains(told, "* FLAGS (") || strings.Contains(told, "k0 ") || !strings.Contains(told, " other ") {
		t.Errorf("the new names were not told: %s", told)
	}
	for _, want := range []string{"* 1 FETCH (FLAGS (\\Recent other))", "* 60 FETCH (FLAGS (\\Recent other))"} {
		want = strings.ReplaceAll(want, "\\Recent ", "")
		if !strings.Contains(strings.ReplaceAll(told, "\\Recent ", ""), want) {
			t.Errorf("want %s, told %s", want, told)
		}
	}
	for name, want := range map[string]string{"other": "* SEARCH 1 60", "k0": "* SEARCH", "k1": "* SEARCH 2"} {
		if got := a.do("SEARCH KEYWORD %s", name); got[0] != want {
			t.Errorf("SEARCH KEYWORD %s: %v", name, got)
		}
	}
	if got := fmt.Sprint(a.do("FETCH 2 FLAGS")); !strings.Contains(got, "k1") {
		t.Errorf("others stay as they are: %v", got)
	}
}
