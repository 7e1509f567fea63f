package crash

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
)

// report is the id of a delivery report of which only the header was seen.
const report = "dsn:"

// message is one message of the test; everything in it follows from its id, so that what comes back proves itself.
type message struct {
	id   string
	size int
}

// text gives the message of a sender with CRLF line ends; its header names the hash of its body.
func (m message) text(from string) string {
	var b strings.Builder
	r := rand.New(rand.NewPCG(uint64(m.size), 7))
	for b.Len() < m.size {
		line := make([]byte, 36)
		for i := range line {
			line[i] = byte(r.UintN(256))
		}
		b.WriteString(hex.EncodeToString(line) + "\r\n")
	}
	body := b.String()
	sum := sha256.Sum256([]byte(m.id + body))
	return fmt.Sprintf("From: %s\r\nTo: b@crash.test\r\nSubject: %s\r\nMessage-ID: <%s@crash.test>\r\nDate: Mon, 23 Nov 2026 12:00:00 +0000\r\nX-Crash: %s\r\nX-Sum: %s\r\n\r\n%s",
		from, m.id, m.id, m.id, hex.EncodeToString(sum[:]), body)
}

// check tells whether text, as read back, is whole, and gives its id. Of a report it is that of the message it is
// about, with report in front; a report is whole when it ends with its last boundary.
func check(text string) (id string, err error) {
	header, body, ok := strings.Cut(text, "\r\n\r\n")
	if !ok {
		return "", fmt.Errorf("no body in %.80q", text)
	}
	if isReport(field(header, "Subject")) {
		id = field(body, "X-Crash")
		if id == "" || !strings.HasSuffix(strings.TrimRight(body, "\r\n"), "--") {
			return report + id, fmt.Errorf("the report on %q is torn", id)
		}
		return report + id, nil
	}
	id = field(header, "X-Crash")
	if sum := sha256.Sum256([]byte(id + body)); id == "" || field(header, "X-Sum") != hex.EncodeToString(sum[:]) {
		return id, fmt.Errorf("message %q is torn", id)
	}
	return id, nil
}

func field(header, name string) string {
	_, v, _ := strings.Cut("\r\n"+header, "\r\n"+name+": ")
	v, _, _ = strings.Cut(v, "\r\n")
	return v
}

// isReport tells whether a subject is that of a delivery report: all other mail is called by its id.
func isReport(subject string) bool { return !strings.HasPrefix(subject, "c") }

// The check itself must be able to fail.
func TestCheckSeesDamage(t *testing.T) {
	t.Parallel()
	text := message{"c1", 3000}.text("a@crash.test")
	if id, err := check("Received: x\r\n" + text); err != nil || id != "c1" {
		t.Errorf("%q, %v", id, err)
	}
	for _, bad := range []string{text[:len(text)-2], strings.Replace(text, "X-Crash: c1", "X-Crash: c2", 1), text + "x", "no header"} {
		if _, err := check(bad); err == nil {
			t.Errorf("damage is not seen in %.60q", bad)
		}
	}
}
