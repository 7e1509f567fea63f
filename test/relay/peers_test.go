package relay

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"postel/internal/dns/dnstest"
	"postel/test/harness"
)

// certify gives Postfix a certificate, and more settings.
func (p *postfix) certify(c tls.Certificate, settings ...string) {
	p.t.Helper()
	key, err := x509.MarshalPKCS8PrivateKey(c.PrivateKey)
	if err != nil {
		p.t.Fatal(err)
	}
	p.write("key.pem", string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key})))
	p.write("cert.pem", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Certificate[0]})))
	p.set(append(settings, fmt.Sprintf("smtpd_tls_cert_file = %s/cert.pem", p.dir), fmt.Sprintf("smtpd_tls_key_file = %s/key.pem", p.dir))...)
}

// TestPostfixCertificates: a certificate that does not verify is good enough where TLS is opportunistic, and where a policy
// of MTA-STS is enforced mail waits until there is one that does (RFC 7435, RFC 8461 §5).
func TestPostfixCertificates(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	w := openTLS(t, `
strict.test MX 10 mx.strict.test
mx.strict.test A 127.0.0.5
loose.test MX 10 mx.loose.test
mx.loose.test A 127.0.0.5
`, a, map[string]string{"mta-sts.strict.test": "version: STSv1\nmode: enforce\nmx: mx.strict.test\nmax_age: 86400\n"})
	p := startPostfix(t, "127.0.0.5", w.port, "")
	p.certify(newAuthority(t).host("mx.strict.test").Certificates[0],
		"virtual_mailbox_domains = strict.test, loose.test", "max_use = 1") // a process a session reads its certificate anew

	w.submit(t, alice, "loose", "x@loose.test")
	if got := p.maildir(1)[0]; !strings.Contains(got, "(using TLSv1.3") {
		t.Errorf("in clear: %s", got)
	}
	w.submit(t, alice, "strict", "x@strict.test")
	item := w.queued(t, 1, 1)[0]
	if got := first(item)["last"].(string); !strings.HasPrefix(got, "451 4.7.5 TLS handshake failed: certificate signed by unknown authority") {
		t.Error(got)
	}
	p.maildir(1)

	p.certify(a.host("mx.strict.test").Certificates[0])
	harness.Eventually(t, func() error { // it may be at it
		if len(w.objects(t, "queue", "list")) > 0 {
			w.Postel("queue", "retry", item["id"].(string)) // unless it is gone just now
			return fmt.Errorf("it waits: %v", w.objects(t, "queue", "list"))
		}
		return nil
	})
	for _, got := range p.maildir(2) {
		if !strings.Contains(got, "(using TLSv1.3") {
			t.Errorf("in clear: %s", got)
		}
	}
}

// smtpSink starts Postfix's test server at an address; it keeps each message as a file in the directory.
func (w *world) smtpSink(t *testing.T, ip string, flags ...string) (dir string) {
	t.Helper()
	harness.Need(t, "smtp-sink")
	dir = harness.Dir(t)
	if err := os.Chmod(dir, 0o777); err != nil { //nolint:gosec // it runs as nobody
		t.Fatal(err)
	}
	addr := net.JoinHostPort(ip, fmt.Sprint(w.port))
	if os.Getuid() == 0 {
		flags = append(flags, "-u", "nobody")
	}
	cmd := exec.Command("smtp-sink", append(flags, "-d", dir+"/%s.", addr, "50")...)
	cmd.Dir = dir
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	harness.Eventually(t, func() error {
		c, err := net.Dial("tcp", addr)
		if err == nil {
			err = c.Close()
		}
		return err
	})
	return dir
}

// dumped waits for n messages that smtp-sink took.
func dumped(t *testing.T, dir string, n int) (all []string) {
	t.Helper()
	harness.Eventually(t, func() error {
		files, _ := filepath.Glob(dir + "/*")
		all = nil
		for _, f := range files {
			b, err := os.ReadFile(f)
			if err != nil {
				return err
			}
			if len(b) > 0 {
				all = append(all, string(b))
			}
		}
		if len(all) != n {
			return fmt.Errorf("smtp-sink has %d messages, want %d", len(all), n)
		}
		return nil
	})
	return all
}

// TestToSMTPSink: a bare server of Postfix's: many messages over few sessions; one that knows HELO alone; one that is not
// willing for now; and one that goes away behind the final dot, of which the log tells what may arrive twice.
func TestToSMTPSink(t *testing.T) {
	t.Parallel()
	w := open(t)
	many := w.smtpSink(t, "127.0.0.2")
	c := w.Submission(alice, password)
	for i := range 40 {
		if r := c.Send(alice, fmt.Sprintf("x%d@sink.test", i), strings.ReplaceAll(letter(fmt.Sprint("many", i)), "\r\n.", "\r\n..")); !strings.HasPrefix(r, "250 ") {
			t.Fatal(r)
		}
	}
	dumped(t, many, 40)
	w.queued(t, 0, 0)
	sessions := 0
	for _, s := range w.objects(t, "glass", "list") {
		if s["outbound"] == true {
			sessions++
		}
	}
	if sessions == 0 || sessions > 20 {
		t.Errorf("%d sessions for 40 messages", sessions)
	}

	old := w.smtpSink(t, "127.0.0.3", "-e", "-8", "-p")
	w.submit(t, alice, "old", "x@old.test")
	want := strings.NewReplacer("8bit", "quoted-printable", "Grüße,  ", "Gr=C3=BC=C3=9Fe, =20", "\r\n", "\n").Replace(letter("old"))
	if got := dumped(t, old, 1)[0]; !strings.Contains(got, "X-Helo-Args: postel.test\n") || !strings.Contains(strings.ReplaceAll(got, "\r\n", "\n"), want) {
		t.Errorf("%s has no\n%s", got, want)
	}
}

// TestSMTPSinkMisbehaves: what it refuses for now waits, and when it goes away behind the final dot, the log says that the
// message may arrive twice.
func TestSMTPSinkMisbehaves(t *testing.T) {
	t.Parallel()
	w := open(t)
	w.smtpSink(t, "127.0.0.2", "-r", "rcpt")
	w.smtpSink(t, "127.0.0.3", "-q", ".")
	w.submit(t, alice, "later", "x@sink.test")
	w.submit(t, alice, "gone", "x@old.test")
	for _, it := range w.queued(t, 2, 1) {
		want := "450 4.3.0"
		if it["destination"] == "old.test" {
			want = "451 4.4.2"
			harness.Eventually(t, func() error {
				if log := w.Log(); !strings.Contains(log, "it may arrive twice") || !strings.Contains(log, it["id"].(string)) {
					return fmt.Errorf("the log does not tell: %s", log)
				}
				return nil
			})
		}
		harness.Eventually(t, func() error {
			items := w.objects(t, "queue", "list", "--domain", it["destination"].(string))
			if got := first(items[0])["last"].(string); !strings.HasPrefix(got, want) {
				return fmt.Errorf("%s: %q, want %s", it["destination"], got, want)
			}
			return nil
		})
	}
}

// TestTwoPostels: what a user of the first asked of reports is done by the second: it delivered, it relayed to a server that
// will not tell, it gave up (RFC 3461 §5.2); the reports come home.
func TestTwoPostels(t *testing.T) {
	t.Parallel()
	const at = "127.0.0.8"
	w := &world{port: harness.FreePort(t)}
	common := []string{"--deliver", "relay", "--mx-port", fmt.Sprint(w.port), "--port", fmt.Sprintf("smtp=%d", w.port)}
	w.dns = dnstest.Start(t, "beta.test MX 10 mx.beta.test\ngamma.test MX 10 mx.beta.test\nmx.beta.test A "+at+"\n")
	w.Server = harness.Dev(t, append(common, "--dns", w.dns.Addr, "--account", alice+":"+password)...)
	beyond := dnstest.Start(t, "postel.test MX 10 mx.postel.test\nmx.postel.test A 127.0.0.1\ngamma.test MX 10 mx.gamma.test\nmx.gamma.test A 127.0.0.2\n")
	second := harness.Dev(t, append(common, "--dns", beyond.Addr, "--host", at, "--domain", "beta.test", "--relay-domain", "gamma.test", "--account", "bob@beta.test:"+password)...)
	sink := w.sink(t, "127.0.0.2")
	sink.Set("RCPT <bad@gamma.test>", "550 5.1.1 no such user")

	w.chunk(t, " RET=HDRS ENVID=env+2B1", letter("two"),
		"<bob@beta.test> NOTIFY=SUCCESS ORCPT=rfc822;bob@orig.test", "<good@gamma.test> NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;good@orig.test", "<bad@gamma.test> NOTIFY=FAILURE", "<quiet@gamma.test> NOTIFY=NEVER")
	if got := taken(t, sink, 1)[0]; len(got.To) != 2 || !strings.HasPrefix(got.From, "<"+alice+">") {
		t.Errorf("%v", got)
	}
	harness.Eventually(t, func() error {
		if got := second.Inbox("bob@beta.test", password); len(got) != 1 || strings.Count(got[0], "\r\nReceived: ") != 2 {
			return fmt.Errorf("%q", got)
		}
		return nil
	})
	told := map[string]string{}
	for _, text := range w.inbox(t, 2) {
		defectless(t, text)
		r := parse(t, text)
		if r.message.Get("Reporting-Mta") != "dns; beta.test" || r.message.Get("Original-Envelope-Id") != "env+1" || !strings.Contains(r.original, "Subject: letter two") || strings.Contains(r.original, "Grüße") {
			t.Errorf("%v\n%s", r.message, r.original)
		}
		for _, f := range r.rcpts {
			told[f.Get("Final-Recipient")] = f.Get("Action") + " " + f.Get("Original-Recipient")
		}
	}
	want := map[string]string{
		"rfc822; bob@beta.test": "delivered rfc822; bob@orig.test", "rfc822; good@gamma.test": "relayed rfc822; good@orig.test", "rfc822; bad@gamma.test": "failed ",
	}
	if fmt.Sprint(told) != fmt.Sprint(want) {
		t.Errorf("%v, want %v", told, want)
	}
}
