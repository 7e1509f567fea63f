package relay

import (
	"crypto/tls"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"

	"postel/internal/dns/dnstest"
	"postel/internal/tlspolicy/tlsrpt"
	"postel/test/harness"
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
		"strict.test": "waiting|strict.test, a policy of MTA-STS: 0 sessions well, 1 failed|mx: mx.strict.test|1× certificate-not-trusted at mx.strict.test 127.0.0.2 from 127.0.0.1: certificate signed by unknown authority",
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

// office takes reports by HTTPS.
type office struct {
	port    int
	mu      sync.Mutex
	reports []*tlsrpt.Report
	status  int
}

func startOffice(t *testing.T, cfg *tls.Config) *office {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.40:0")
	if err != nil {
		t.Fatal(err)
	}
	o := &office{port: ln.Addr().(*net.TCPAddr).Port, status: http.StatusOK}
	s := &httptest.Server{Listener: ln, TLS: cfg, Config: &http.Server{ErrorLog: log.New(io.Discard, "", 0), Handler: o}} //nolint:gosec // of a test
	s.StartTLS()
	t.Cleanup(s.Close)
	return o
}

// ServeHTTP reads what is posted.
func (o *office) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	o.mu.Lock()
	defer o.mu.Unlock()
	rep, err := tlsrpt.Read(r.Body)
	if err != nil || r.Method != http.MethodPost || r.URL.Path != "/v1/tlsrpt" || r.Header.Get("Content-Type") != "application/tlsrpt+gzip" {
		rep = &tlsrpt.Report{ID: fmt.Sprint(r.Method, r.URL, r.Header, err)}
	}
	if w.WriteHeader(o.status); o.status == http.StatusOK {
		o.reports = append(o.reports, rep)
	}
}

func (o *office) set(status int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.status = status
}

func (o *office) got(t *testing.T, n int) []*tlsrpt.Report {
	t.Helper()
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.reports) != n {
		t.Fatalf("%d reports, want %d: %+v", len(o.reports), n, o.reports)
	}
	return o.reports
}

// TestReportsAreSent: who asks for reports gets them by HTTPS, once, with all that failed (RFC 8460 §4.4, §5.4); who
// does not ask, or cannot prove who it is, gets none. What was sent is known after kill -9.
func TestReportsAreSent(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	o, forged := startOffice(t, a.host("reports.strict.test")), startOffice(t, a.host("somebody.test"))
	zone := "reports.strict.test A 127.0.0.40\nreports.forged.test A 127.0.0.40\nmta-sts.strict.test A 127.0.0.20\n_mta-sts.strict.test TXT \"v=STSv1; id=1\"\n"
	for _, d := range []string{"strict.test", "forged.test", "silent.test", "post.test"} {
		zone += d + " MX 10 mx." + d + "\nmx." + d + " A 127.0.0.2\n"
	}
	zone += fmt.Sprintf("_smtp._tls.strict.test TXT \"v=TLSRPTv1; rua=https://reports.strict.test:%d/v1/tlsrpt\"\n", o.port)
	zone += fmt.Sprintf("_smtp._tls.forged.test TXT \"v=TLSRPTv1; rua=https://reports.forged.test:%d/v1/tlsrpt\"\n", forged.port)
	zone += "_smtp._tls.post.test TXT \"v=TLSRPTv1; rua=mailto:tls@post.test\"\n"
	w := &world{dns: dnstest.Start(t, zone), port: harness.FreePort(t)}
	w.https = policyHost(t, a, map[string]string{"mta-sts.strict.test": "version: STSv1\nmode: enforce\nmx: mx.strict.test\nmax_age: 86400\n"})
	data := "--data=" + harness.Dir(t) + "/data"
	w.startTLS(t, a, data)
	s := single{w.sink(t, "127.0.0.2")}
	s.offer(newAuthority(t).host("mx.strict.test"))
	w.submit(t, alice, "unverified", "x@strict.test")
	w.waits(t, "451 4.7.5")
	s.offer(a.host("mx.strict.test"))
	w.submit(t, alice, "verified", "x@strict.test")
	for i, d := range []string{"forged.test", "silent.test", "post.test"} {
		w.submit(t, alice, fmt.Sprint("plain", i), "x@"+d)
	}
	taken(t, s.Sink, 4)
	w.queued(t, 0, 0)

	send := func(code int, args ...string) string {
		t.Helper()
		out, got := w.Postel(append([]string{"tlsrpt", "send", "--day", "today"}, args...)...)
		if got != code {
			t.Errorf("exit %d, want %d: %s", got, code, out)
		}
		return out
	}
	o.set(http.StatusServiceUnavailable)
	if out := send(1, "--domain", "strict.test"); !strings.Contains(out, "reports.strict.test answered 503") {
		t.Error(out)
	}
	o.set(http.StatusOK)
	out := send(1)
	for _, says := range []string{
		"strict.test                          1 well       1 failed  sent", "waiting: the certificate of the host is for another name", "unwanted: _smtp._tls.silent.test has no TXT record",
		"unwanted: it is wanted by mail alone", "1 report could not be sent",
	} {
		if !strings.Contains(out, says) {
			t.Errorf("without %q: %s", says, out)
		}
	}
	forged.got(t, 0)
	r := o.got(t, 1)[0]
	p := r.Policies[0]
	if len(r.Policies) != 1 || p.Policy.Type != tlsrpt.STS || p.Policy.Domain != "strict.test" || p.Summary != (tlsrpt.Summary{Successes: 1, Failures: 1}) {
		t.Errorf("%+v", r)
	}
	if f := p.Failures[0]; f != (tlsrpt.Failure{Result: tlsrpt.NotTrusted, SendingIP: "127.0.0.1", MX: "mx.strict.test", ReceivingIP: "127.0.0.2", Sessions: 1, Reason: "certificate signed by unknown authority"}) {
		t.Errorf("%+v", f)
	}
	if r.Organization != "postel.test" || r.Contact != "postmaster@postel.test" || !strings.HasSuffix(r.ID, ".strict.test@postel.test") || r.Range.Start.Hour() != 0 {
		t.Errorf("%+v", r)
	}

	w.Kill()
	if out, code := w.Postel("tlsrpt", "list", "--day", "today", "--domain", "strict.test"); code != 0 || !strings.Contains(out, "what was counted before was sent") {
		t.Errorf("without a server: exit %d: %s", code, out)
	}
	send(3)
	w.startTLS(t, a, data)
	send(0, "--domain", "strict.test")
	o.got(t, 1)
	w.submit(t, alice, "later", "x@strict.test")
	taken(t, s.Sink, 5)
	send(0, "--domain", "strict.test")
	if r := o.got(t, 2)[1]; r.Total() != (tlsrpt.Summary{Successes: 1}) || len(r.Policies[0].Failures) != 0 {
		t.Errorf("%+v", r)
	}
}

// TestReportsThatCome: reports of others lie in the mailbox like other mail, and are told from there: one that came twice
// once, one that is broken as such, and nothing else.
func TestReportsThatCome(t *testing.T) {
	t.Parallel()
	w := &world{Server: harness.Dev(t)}
	if out, code := w.Postel("tlsrpt", "received"); code != 1 || !strings.Contains(out, "no mailbox of ours is behind tls-reports@postel.test") {
		t.Errorf("exit %d: %s", code, out)
	}
	w.ok(t, "alias", "add", "tls-reports@postel.test", alice)
	file, err := os.ReadFile("../../internal/tlspolicy/tlsrpt/testdata/report.eml")
	if err != nil {
		t.Fatal(err)
	}
	report := strings.ReplaceAll(string(file), "\n", "\r\n")
	broken := "Content-Type: application/tlsrpt+json\r\nSubject: broken\r\n\r\n{\r\n"
	c := harness.SMTP(t, w.Addr("smtp"))
	for _, text := range []string{report, letter("no report"), broken, report} {
		if r := c.Send("tlsrpt@mail.sender.example.com", "tls-reports@postel.test", text); !strings.HasPrefix(r, "250 ") {
			t.Fatal(r)
		}
	}
	all := w.objects(t, "tlsrpt", "received")
	if len(all) != 2 {
		t.Fatalf("%v", all)
	}
	whole, bad := all[0], all[1]
	if got := fmt.Sprintf("%v %v %v %v %v %v", whole["domains"], whole["successes"], whole["failures"], whole["account"], whole["mailbox"], whole["reporter"]); got != "[company-y.example] 5326 303 alice@postel.test INBOX Company-X" {
		t.Errorf("%v", whole)
	}
	if bad["fault"] != "not the JSON of a report on TLS" {
		t.Errorf("%v", bad)
	}
	if out := w.ok(t, "tlsrpt", "received", whole["message"].(string)); !strings.Contains(out, "200× starttls-not-supported at mx2.mail.company-y.example") {
		t.Error(out)
	}
	if out := w.ok(t, "tlsrpt", "received", "--address", "bob@postel.test"); !strings.Contains(out, "no report came") {
		t.Error(out)
	}
	if out, code := w.Postel("tlsrpt", "received", "m-none"); code != 1 {
		t.Errorf("exit %d: %s", code, out)
	}
	if out, code := w.Postel("tlsrpt", "received", "--address", "nobody@postel.test"); code != 1 {
		t.Errorf("exit %d: %s", code, out)
	}
}
