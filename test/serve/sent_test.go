package serve

import (
	"strings"
	"testing"
)

// TestSaveSent: where the operator wants it, the author has a copy among the sent mail by the same commit, with the Bcc that
// nobody else sees, and read; also of a letter to oneself.
func TestSaveSent(t *testing.T) {
	t.Parallel()
	s := open(t, "submission.save_sent = \"on\"\n")
	c := s.Submission(ann, password)
	mine := "From: " + ann + "\r\nTo: " + ben + "\r\nBcc: Ann <" + ann + ">\r\nSubject: to us\r\n\r\nhello\r\n"
	c.Want("250", "MAIL FROM:<%s>", ann)
	c.Want("250", "RCPT TO:<%s>", ann)
	c.Want("250", "RCPT TO:<%s>", ben)
	c.Want("354", "DATA")
	c.Want("250", "%s.", mine)
	for user, n := range map[string]int{ann: 1, ben: 1} {
		if m := count(t, s, user, n)[0]; strings.Contains(m, "\r\nBcc:") {
			t.Errorf("%s sees the Bcc: %s", user, m)
		}
	}
	i := s.IMAP(ann, "\""+password+"\"")
	i.Command("SELECT Sent")
	i.Put("f FETCH 1:* (FLAGS BODY.PEEK[])\r\n")
	var got strings.Builder
	for l := i.Line(); !strings.HasPrefix(l, "f "); l = i.Line() {
		got.WriteString(l + "\n")
	}
	sent := got.String()
	if strings.Count(sent, " FETCH (") != 1 || !strings.Contains(sent, "\\Seen") || !strings.Contains(sent, "Bcc: Ann <"+ann+">\nReceived: ") ||
		strings.Contains(sent, "Delivered-To") {
		t.Errorf("sent mail: %s", sent)
	}
}
