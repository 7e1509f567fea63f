package cli

import (
	"strings"
	"testing"
)

// TestReadReports: reports on TLS are read as they come, from files and standard input; what is none is told, beside
// those that are.
func TestReadReports(t *testing.T) {
	t.Parallel()
	const dir = "../../internal/tlspolicy/tlsrpt/testdata/"
	for _, says := range []string{
		"Company-X, 2016-04-01 00:00 to 2016-04-01 23:59 UTC",
		"company-y.example, a policy of MTA-STS: 5326 sessions well, 303 failed",
		"200× starttls-not-supported at mx2.mail.company-y.example 203.0.113.56 from 2001:db8:abcd:0013::1",
	} {
		if out := run(t, 0, "tlsrpt", "read", dir+"report.eml").out; !strings.Contains(out, says) {
			t.Errorf("without %q: %s", says, out)
		}
	}
	r := run(t, 1, "tlsrpt", "read", "--json", dir+"rfc8460.json", "cli_test.go", dir+"onetext.json", "/nonexistent")
	if n := strings.Count(r.out, `"successes":5326,"failures":303,"report":{"organization-name":"Company-X"`); n != 2 {
		t.Errorf("%d reports: %s", n, r.out)
	}
	if !strings.Contains(r.err, "cli_test.go: no report on TLS is in it") || !strings.Contains(r.err, "/nonexistent: ") {
		t.Error(r.err)
	}
	r = command{input: `{"report-id":"\u001b[2J","policies":[]}`, args: []string{"tlsrpt", "read"}}.want(t, 0)
	if strings.Contains(r.out, "\x1b") {
		t.Errorf("commands the terminal: %q", r.out)
	}
}
