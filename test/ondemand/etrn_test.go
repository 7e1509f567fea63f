package ondemand

import (
	"fmt"
	"strings"
	"testing"

	"postel/test/harness"
)

// TestBackupMX: mail for a domain of kind relay is taken from strangers in both modes, waits while the better MX is
// down, is not sent to ourselves, and goes as soon as ETRN says so (RFC 1985 §5, RFC 5321 §5.1).
func TestBackupMX(t *testing.T) {
	t.Parallel()
	for _, mode := range []string{"catch", "relay"} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			w := open(t, "--deliver", mode, "--relay-domain", "customer.test", "--relay-domain", "sub.customer.test")
			deliver(t, w.Server, "x@customer.test", "1")
			deliver(t, w.Server, "y@sub.customer.test", "2")
			if last := queued(t, w.Server, 2)[0].Recipients[0].Last; !strings.Contains(last, "mx.customer.test (127.0.0.2:") {
				t.Errorf("tried %s", last)
			}
			c := harness.SMTP(t, w.Addr("smtp"))
			if r := c.Say("EHLO c.test"); !strings.Contains(r, "ETRN") {
				t.Error(r)
			}
			c.Want("459 4.7.1 ", "ETRN postel.test")
			c.Want("459 4.7.1 ", "ETRN elsewhere.test")
			c.Want("459 4.7.1 ", "ETRN #slow")
			c.Want("500 ", "ETRN")
			c.Want("501 ", "ETRN @")
			sink := harness.StartSink(t, fmt.Sprintf("127.0.0.2:%d", w.port))
			c.Want("253 2.0.0 OK, 1 pending messages for node customer.test started", "ETRN customer.test")
			if got := taken(t, sink, 1)[0]; strings.Join(got.To, "") != "<x@customer.test>" || !strings.HasSuffix(got.Text, "the end of 1\r\n") {
				t.Errorf("%+v", got)
			}
			c.Want("253 2.0.0 OK, 1 pending messages for node @customer.test started", "ETRN @customer.test")
			taken(t, sink, 2)
			harness.Eventually(t, func() error {
				if r := c.Say("ETRN #all"); !strings.HasPrefix(r, "251 ") {
					return fmt.Errorf("%s", r)
				}
				return nil
			})
			for _, other := range []string{"submission", "lmtp"} {
				o := harness.Dial(t, w.Addr(other))
				o.Reply()
				if r := o.Say("%s c.test", map[string]string{"submission": "EHLO", "lmtp": "LHLO"}[other]); strings.Contains(r, "ETRN") {
					t.Errorf("%s: %s", other, r)
				}
				o.Want("502 ", "ETRN customer.test")
			}
		})
	}
}

// TestFetchmailETRN: fetchmail sets the queue going.
func TestFetchmailETRN(t *testing.T) {
	t.Parallel()
	w := open(t, "--relay-domain", "customer.test")
	deliver(t, w.Server, "x@customer.test", "1")
	queued(t, w.Server, 1)
	sink := harness.StartSink(t, fmt.Sprintf("127.0.0.2:%d", w.port))
	rc := fmt.Sprintf("poll 127.0.0.1 service %d proto etrn\n user nobody sslproto '' fetchdomains customer.test\n", w.port)
	if out, code := fetchmail(t, rc); code != 0 {
		t.Errorf("exit %d\n%s", code, out)
	}
	taken(t, sink, 1)
	harness.Eventually(t, func() error {
		out, code := fetchmail(t, rc)
		if code != 0 || !strings.Contains(out, "No messages waiting for customer.test") {
			return fmt.Errorf("exit %d\n%s", code, out)
		}
		return nil
	})
	if out, code := fetchmail(t, strings.Replace(rc, "customer.test", "elsewhere.test", 1)); code != 3 || !strings.Contains(out, "not allowed") {
		t.Errorf("exit %d\n%s", code, out)
	}
}
