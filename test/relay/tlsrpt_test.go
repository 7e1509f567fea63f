package relay

import (
	"fmt"
	"strings"
	"testing"
)

// TestTLSIsCounted: what TLS came to with each domain is counted under what that one publishes, and `postel tlsrpt`
// tells it (RFC 8460 §4).
func TestTLSIsCounted(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	self := newAuthority(t).host("mx.strict.test")
	w := openTLS(t, `
strict.test MX 10 mx.strict.test
mx.strict.test A 127.0.0.2
safe.test MX 10 mx.safe.test
mx.safe.test A 127.0.0.2
_25._tcp.mx.safe.test TLSA `+tlsa(t, self)+`
broken.test MX 10 mx.broken.test
mx.broken.test A 127.0.0.2
mta-sts.broken.test A 127.0.0.30
_mta-sts.broken.test TXT "v=STSv1; id=1"
`, a, map[string]string{"mta-sts.strict.test": "version: STSv1\nmode: enforce\nmx: mx.strict.test\nmax_age: 86400\n"})
	w.dns.Authentic("safe.test")
	s := single{w.sink(t, "127.0.0.2")}
	s.offer(self)
	w.submit(t, alice, "forged", "x@strict.test")
	w.waits(t, "451 4.7.5")
	w.submit(t, alice, "fits", "x@safe.test")
	w.submit(t, alice, "unfetched", "x@broken.test")
	taken(t, s.Sink, 2)
	w.queued(t, 0, 0)

	got := map[string]string{}
	for _, r := range w.objects(t, "tlsrpt", "list", "--day", "today") {
		got[r["domain"].(string)] = fmt.Sprint(r["successes"], " ", r["failures"])
	}
	if want := map[string]string{"strict.test": "0 1", "safe.test": "1 0", "mx.safe.test": "1 0", "broken.test": "1 1"}; fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("%v", got)
	}
	for domain, says := range map[string]string{
		"strict.test": "strict.test, a policy of MTA-STS: 0 sessions well, 1 failed|mx: mx.strict.test|1× certificate-not-trusted at mx.strict.test 127.0.0.2 from 127.0.0.1: certificate signed by unknown authority",
		"safe.test":   "mx.safe.test, TLSA records: 1 sessions well, 0 failed|3 1 1 ",
		"broken.test": "a policy of MTA-STS: 0 sessions well, 1 failed|1× sts-policy-fetch-error at mx.broken.test|broken.test, no policy: 1 sessions well",
	} {
		out := w.ok(t, "tlsrpt", "show", domain)
		for say := range strings.SplitSeq(says, "|") {
			if !strings.Contains(out, say) {
				t.Errorf("without %q: %s", say, out)
			}
		}
	}
	if out, code := w.Postel("tlsrpt", "show", "other.test"); code != 1 || !strings.Contains(out, "no session with other.test on") {
		t.Errorf("exit %d: %s", code, out)
	}
}
