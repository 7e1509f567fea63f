package relay

import (
	"bufio"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net/mail"
	"net/textproto"
	"strings"
	"testing"

	"postel/internal/dns/dnstest"
	"postel/test/harness"
)

// startDNS starts the zone without a server.
func startDNS(t *testing.T) *dnstest.Server {
	t.Helper()
	return dnstest.Start(t, zone)
}

// report is a delivery status notification (RFC 3464), read by Go's own parsers.
type report struct {
	header    mail.Header
	message   textproto.MIMEHeader
	rcpts     []textproto.MIMEHeader
	original  string
	original7 string // its content type
}

// parse reads a report as it lies in an INBOX.
func parse(t *testing.T, text string) report {
	t.Helper()
	m, err := mail.ReadMessage(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	kind, params, err := mime.ParseMediaType(m.Header.Get("Content-Type"))
	if err != nil || kind != "multipart/report" || params["report-type"] != "delivery-status" {
		t.Fatalf("%s %v %v\n%s", kind, params, err, text)
	}
	r := report{header: m.Header}
	parts := multipart.NewReader(m.Body, params["boundary"])
	for i := 0; ; i++ {
		p, err := parts.NextRawPart()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(p)
		if err != nil {
			t.Fatal(err)
		}
		kind, _, _ := mime.ParseMediaType(p.Header.Get("Content-Type"))
		switch {
		case i == 0 && kind == "text/plain":
		case i == 1 && kind == "message/delivery-status":
			r.fields(t, string(b))
		case i == 2:
			r.original, r.original7 = string(b), kind
		default:
			t.Errorf("part %d is %s", i, kind)
		}
	}
	return r
}

func (r *report) fields(t *testing.T, text string) {
	t.Helper()
	tp := textproto.NewReader(bufio.NewReader(strings.NewReader(text + "\r\n")))
	var err error
	if r.message, err = tp.ReadMIMEHeader(); err != nil {
		t.Fatal(err)
	}
	for {
		h, err := tp.ReadMIMEHeader()
		if len(h) > 0 {
			r.rcpts = append(r.rcpts, h)
		}
		if err != nil {
			return
		}
	}
}

// reports waits for n messages in alice's INBOX and reads the last as a report.
func (w *world) report(t *testing.T, n int) report {
	t.Helper()
	var all []string
	harness.Eventually(t, func() error {
		if all = w.Inbox(alice, password); len(all) != n {
			return fmt.Errorf("%d messages, want %d", len(all), n)
		}
		return nil
	})
	text := all[n-1]
	if !strings.HasPrefix(text, "Return-Path: <>\r\nDelivered-To: "+alice+"\r\n") {
		t.Errorf("%.300s", text)
	}
	defectless(t, text)
	return parse(t, text)
}

// defectless asks Python's parser whether anything is wrong with a message.
func defectless(t *testing.T, text string) {
	t.Helper()
	harness.Need(t, "python3")
	const program = `
import sys, email, email.policy
m = email.message_from_binary_file(sys.stdin.buffer, policy=email.policy.default)
for p in m.walk():
    for d in p.defects: print("defect", p.get_content_type(), d)
    for k, v in p.items():
        for d in v.defects: print("defect", k, d)
print([p.get_content_type() for p in m.iter_parts()])
`
	out, code := harness.Run(t, text, "python3", "-c", program)
	if code != 0 || strings.Contains(out, "defect") || !strings.Contains(out, "message/delivery-status") {
		t.Errorf("python: %s\n%s", out, text)
	}
}

// TestBounce: a 5xx comes back as a report that says all.
func TestBounce(t *testing.T) {
	t.Parallel()
	w := open(t)
	s := w.sink(t, "127.0.0.2")
	s.Set("RCPT <b@sink.test>", "550 5.1.1 no such user")
	s.Set("RCPT <c@sink.test>", "550 old server, old manners")
	id := w.submit(t, alice, "partly", "a@sink.test", "b@sink.test", "c@sink.test")
	r := w.report(t, 1)
	if taken := taken(t, s, 1)[0]; strings.Join(taken.To, "") != "<a@sink.test>" {
		t.Errorf("%v", taken)
	}
	if r.header.Get("From") == "" || !strings.Contains(r.header.Get("From"), "MAILER-DAEMON@postel.test") || r.header.Get("To") != "<"+alice+">" && r.header.Get("To") != alice ||
		r.header.Get("Auto-Submitted") != "auto-replied" || r.header.Get("Date") == "" || r.header.Get("Message-Id") == "" {
		t.Errorf("%v", r.header)
	}
	if r.message.Get("Reporting-MTA") != "dns; postel.test" || r.message.Get("Arrival-Date") == "" || len(r.rcpts) != 2 {
		t.Fatalf("%v %v", r.message, r.rcpts)
	}
	for i, want := range []map[string]string{
		{"Final-Recipient": "rfc822; b@sink.test", "Action": "failed", "Status": "5.1.1", "Remote-Mta": "dns; mx.sink.test", "Diagnostic-Code": "smtp; 550 5.1.1 no such user"},
		{"Final-Recipient": "rfc822; c@sink.test", "Action": "failed", "Status": "5.0.0", "Diagnostic-Code": "smtp; 550 old server, old manners"},
	} {
		for k, v := range want {
			if got := r.rcpts[i].Get(k); got != v {
				t.Errorf("%s: %q, want %q", k, got, v)
			}
		}
	}
	if r.original7 != "message/rfc822" || !strings.HasSuffix(strings.TrimSuffix(r.original, "\r\n")+"\r\n", letter("partly")) {
		t.Errorf("%s: %q", r.original7, r.original)
	}
	w.queued(t, 0, 0)
	if k := strings.Join(w.kinds(t, id), " "); !strings.Contains(k, "relayed") || strings.Count(k, "bounced") != 2 || strings.Count(k, "reported") != 1 {
		t.Errorf("%s", k)
	}
	s.Set(".", "554 5.6.0 no such content")
	w.submit(t, alice, "content", "a@sink.test")
	if r := w.report(t, 2); r.rcpts[0].Get("Status") != "5.6.0" {
		t.Errorf("%v", r.rcpts)
	}
}

// TestNowhere: domains that take no mail, that do not exist, and that lead back to us.
func TestNowhere(t *testing.T) {
	t.Parallel()
	w := open(t)
	for i, one := range [][2]string{{"null.test", "5.1.10"}, {"absent.test", "5.1.2"}, {"empty.test", "5.1.2"}, {"loop.test", "5.4.6"}, {"named.test", "5.4.6"}, {"[127.0.0.1]", "5.4.6"}} {
		w.submit(t, alice, fmt.Sprint("nowhere", i), "x@"+one[0])
		r := w.report(t, i+1)
		if len(r.rcpts) != 1 || r.rcpts[0].Get("Status") != one[1] || r.rcpts[0].Get("Final-Recipient") != "rfc822; x@"+one[0] {
			t.Errorf("%s: %v", one[0], r.rcpts)
		}
	}
	w.dns.Fail("sink.test", "MX", dnstest.Fault{Rcode: 2})
	w.submit(t, alice, "servfail", "x@sink.test")
	if it := w.queued(t, 1, 1)[0]; !strings.HasPrefix(first(it)["last"].(string), "451 4.4.3 ") {
		t.Errorf("%v", it)
	}
}

// TestDoubleBounce: a report that cannot be delivered is dropped, and that is told.
func TestDoubleBounce(t *testing.T) {
	t.Parallel()
	w := open(t)
	s := w.sink(t, "127.0.0.2")
	s.Set("RCPT", "550 5.1.1 no such user")
	id := w.submit(t, "", "double", "x@sink.test")
	harness.Eventually(t, func() error {
		ev := w.objects(t, "journey", id)
		last := ev[len(ev)-1]
		if last["kind"] != "dropped" || !strings.Contains(last["why"].(string), "null") {
			return fmt.Errorf("%v", last)
		}
		return nil
	})
	w.queued(t, 0, 0)
	if in := w.Inbox(alice, password); len(in) != 0 {
		t.Errorf("%q", in)
	}
	if !strings.Contains(w.Log(), "mail dropped") {
		t.Error("the log does not tell")
	}
}
