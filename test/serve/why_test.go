package serve

import (
	"encoding/json"
	"regexp"
	"strings"
	"testing"

	"postel/test/harness"
)

// TestWhy: the id in a refusal leads to what was refused, what it means, and what mends it; so does an address.
func TestWhy(t *testing.T) {
	t.Parallel()
	s := open(t, "")
	c := harness.SMTP(t, s.Addr("smtp"))
	c.Put("MAIL FROM:<x@far.test>\r\nRCPT TO:<nobody@example.test>\r\nRCPT TO:<" + ann + ">\r\nDATA\r\n")
	c.Reply()
	refused := c.Reply()
	c.Reply()
	c.Reply()
	rejected := c.Say("no field\x00\r\n.")
	id := regexp.MustCompile(`s-[0-9a-v]{16}`).FindString(refused)
	if id == "" || !strings.HasPrefix(rejected, "550 5.5.2") || !strings.Contains(rejected, id) {
		t.Fatal(refused, rejected)
	}
	out := want(t, 0, s.Config, "", "why", id)
	for _, line := range []string{
		"said     RCPT TO:<nobody@example.test>\n    reply    550 5.1.1 no such user here",
		"means    no such mailbox at this domain (RFC 3463 §3.2)", "mend     look for a slip",
		"said     the content of the message\n    reply    550 5.5.2 ",
	} {
		if !strings.Contains(out, line) {
			t.Errorf("%s is not in\n%s", line, out)
		}
	}
	out = want(t, 0, s.Config, "", "why", "nobody@example.test", "--json")
	var r struct{ Session, Recipient, Why string }
	if err := json.Unmarshal([]byte(out), &r); err != nil || r.Session != id || r.Recipient != "nobody@example.test" || r.Why == "" {
		t.Errorf("%v: %s", err, out)
	}
	want(t, 1, s.Config, "", "why", "s-0000000000000000")
	ok := regexp.MustCompile(`m-[0-9a-v]{16}`).FindString(harness.SMTP(t, s.Addr("smtp")).Send("x@far.test", ann, letter("fine")))
	if out := want(t, 0, s.Config, "", "why", ok); !strings.Contains(out, "nothing was refused") {
		t.Errorf("of mail that went well: %s", out)
	}
}
