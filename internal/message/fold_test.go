package message

import (
	"strings"
	"testing"
)

// TestFoldLong folds lines beyond 998 octets (RFC 5322 §2.1.1) and changes nothing else.
func TestFoldLong(t *testing.T) {
	t.Parallel()
	refs := "References:" + strings.Repeat(" <0123456789@example.org>", 200) + "\r\n"
	short := "Subject: x\r\n y\r\n"
	h, _ := ParseHeader(short + refs + "\r\n")
	want := h.Get("References")
	if name := h.FoldLong(); name != "" {
		t.Fatalf("%s has no blank", name)
	}
	if h.Get("References") != want || !strings.HasPrefix(h.String(), short) || hasLongLine(h.String()) {
		t.Errorf("%q", h.String())
	}
	if n := strings.Count(h.String(), "\r\n"); n != 3+6 {
		t.Errorf("%d lines", n)
	}
	for _, bad := range []string{
		"X-A: " + strings.Repeat("x", 1000) + "\r\n", "X-A: y\r\n " + strings.Repeat("x", 999) + "\r\n",
		"X-A: y\r\n" + strings.Repeat(" ", 999) + "x\r\n",
	} {
		h, _ := ParseHeader(bad + "\r\n")
		if name := h.FoldLong(); name != "X-A" || h.String() != bad+"\r\n" {
			t.Errorf("%.20q: %q", bad, name)
		}
	}
}
