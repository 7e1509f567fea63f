package dsn

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"postel/internal/mail"
	"postel/internal/message"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func at(hour int) time.Time { return time.Date(2025, 1, 6, hour, 0, 0, 0, time.UTC) }

func report() *Report {
	return &Report{
		From: mail.Address{Local: "MAILER-DAEMON", Domain: "mx.example.net"}, To: mail.Address{Local: "alice", Domain: "example.org"},
		Date: at(12), MessageID: "<1@mx.example.net>", Boundary: "=_b",
		ReportingMTA: "mx.example.net", EnvelopeID: "QQ314159", ReceivedFrom: "mail.example.org", Arrival: at(10),
		Recipients: []Recipient{
			{
				Original: "rfc822;bob@example.com", Final: mail.Address{Local: "robert", Domain: "example.com"}, Action: Failed,
				Status: mail.Enhanced{5, 1, 1}, RemoteMTA: "mx.example.com",
				Diagnostic:  "550 5.1.1 <robert@example.com>: there is no such mailbox here, and never was, see https://example.com/help",
				LastAttempt: at(11),
			},
			{
				Final: mail.Address{Local: "carol", Domain: "example.edu"}, Action: Delayed, Status: mail.Enhanced{4, 4, 1},
				Reason: "No host of this domain answers.", LastAttempt: at(11), WillRetry: at(20),
			},
		},
	}
}

const mailText = "From: alice@example.org\r\nSubject: hello\r\n\r\nHello!\r\n"

// parts writes a report and gives the bodies of its parts, with the proof that it is well formed.
func parts(t *testing.T, r *Report, original io.Reader) (root *message.Part, bodies []string, done Written) {
	t.Helper()
	var b bytes.Buffer
	done, err := r.WriteTo(&b, original)
	if err != nil || done.Size != int64(b.Len()) {
		t.Fatalf("%+v of %d, %v", done, b.Len(), err)
	}
	p := message.NewParser(message.Limits{})
	_, _ = p.Write(b.Bytes())
	root, _ = p.Close()
	h, _ := message.ParseHeader(b.String())
	if err := h.Check(); err != nil {
		t.Error(err)
	}
	if !root.Is("multipart/report") || root.Truncated {
		t.Fatalf("root %+v", root)
	}
	for line := range strings.Lines(b.String()) {
		if len(line) > 1000 || !strings.HasSuffix(line, "\r\n") || strings.Count(line, "\r") != 1 {
			t.Errorf("line %q", line)
		}
	}
	if done.Body == mail.Body7Bit && !isASCII(b.String()) || !done.UTF8 && !h.ASCII() {
		t.Errorf("%+v is not what it says", done)
	}
	for _, c := range root.Children {
		body, err := io.ReadAll(message.DecodeReader(c.Encoding, strings.NewReader(b.String()[c.BodyStart:c.End])))
		if err != nil {
			t.Error(err)
		}
		bodies = append(bodies, string(body))
	}
	return root, bodies, done
}

func TestGolden(t *testing.T) {
	t.Parallel()
	r := report()
	r.Return = ReturnFull
	var b bytes.Buffer
	if _, err := r.WriteTo(&b, strings.NewReader(mailText)); err != nil {
		t.Fatal(err)
	}
	const name = "testdata/report.eml"
	if *update {
		if err := os.WriteFile(name, b.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(name)
	if err != nil || !bytes.Equal(want, b.Bytes()) {
		t.Errorf("%v; got\n%s", err, b.Bytes())
	}
}

func TestRoundTrip(t *testing.T) {
	t.Parallel()
	r := report()
	root, bodies, _ := parts(t, r, strings.NewReader(mailText))
	if !root.Children[1].Is("message/delivery-status") || !root.Children[2].Is("text/rfc822-headers") {
		t.Fatalf("%+v", root.Children)
	}
	s, err := Parse(strings.NewReader(bodies[1]))
	if err != nil || len(s.Recipients) != 2 {
		t.Fatalf("%+v %v", s, err)
	}
	if s.EnvelopeID != r.EnvelopeID || s.ReportingMTA != "mx.example.net" || s.ReceivedFrom != r.ReceivedFrom || !s.Arrival.Equal(r.Arrival) {
		t.Errorf("%+v", s)
	}
	for i, want := range r.Recipients {
		got := s.Recipients[i]
		if got.Final != want.Final.String() || got.Action != want.Action || got.Status != want.Status ||
			got.RemoteMTA != want.RemoteMTA || got.Diagnostic != want.Diagnostic ||
			!got.LastAttempt.Equal(want.LastAttempt) || !got.WillRetry.Equal(want.WillRetry) {
			t.Errorf("%+v, want %+v", got, want)
		}
	}
	if s.Recipients[0].Original != "bob@example.com" || s.Recipients[1].Original != "" {
		t.Errorf("%+v", s.Recipients)
	}
}

func TestReturned(t *testing.T) {
	t.Parallel()
	head := "From: a@b.example\r\nSubject: x\r\n"
	for _, c := range []struct {
		name, in  string
		ret       Return
		limit     int64
		typ, want string
	}{
		{"headers", mailText, ReturnHeaders, 0, "text/rfc822-headers", "From: alice@example.org\r\nSubject: hello\r\n"},
		{"full", mailText, ReturnFull, 0, "message/rfc822", mailText},
		{"too large", head + "\r\n" + strings.Repeat("x\r\n", 100), ReturnFull, 100, "text/rfc822-headers", head},
		{"header too large", head + "To: " + strings.Repeat("a@b,\r\n ", 100) + "\r\n", ReturnFull, 100, "text/rfc822-headers", head},
		{"no line end", "Subject: x\r\n\r\nabc", ReturnFull, 0, "message/rfc822", "Subject: x\r\n\r\nabc\r\n"},
		{"8 bit", "Subject: x\r\n\r\n\xe4\r\n", ReturnFull, 0, "message/rfc822", "Subject: x\r\n\r\n\xe4\r\n"},
		{"binary", "Subject: x\r\n\r\na\x00\nb\r\n", ReturnFull, 0, "application/octet-stream", "Subject: x\r\n\r\na\x00\nb\r\n"},
		{"UTF-8 header", "Subject: \u00e4\r\n\r\nx\r\n", ReturnFull, 0, "message/global", "Subject: \u00e4\r\n\r\nx\r\n"},
		{"UTF-8 header alone", "Subject: \u00e4\r\n\r\nx\r\n", ReturnHeaders, 0, "message/global-headers", "Subject: \u00e4\r\n"},
		{"empty", "", ReturnFull, 0, "message/rfc822", ""},
	} {
		for _, utf8 := range []bool{false, true} {
			r := report()
			r.Return, r.Limit, r.UTF8 = c.ret, c.limit, utf8
			root, bodies, done := parts(t, r, iotest.OneByteReader(strings.NewReader(c.in)))
			last := root.Children[2]
			got := bodies[2]
			if c.typ == "application/octet-stream" && last.Encoding != "base64" {
				t.Errorf("%s: %s", c.name, last.Encoding)
			}
			if strings.HasPrefix(c.typ, "message/global") && last.Encoding == "base64" {
				last.Type, last.Subtype = "message", strings.TrimPrefix(c.typ, "message/") // the parser does not look into it
			}
			if !last.Is(c.typ) || strings.TrimSuffix(got, "\r\n") != strings.TrimSuffix(c.want, "\r\n") {
				t.Errorf("%s: %s/%s %q", c.name, last.Type, last.Subtype, got)
			}
			if done.UTF8 && !utf8 {
				t.Errorf("%s: needs UTF8 that was not allowed", c.name)
			}
		}
	}
}

// A report about mail that could not be converted can be: nobody is told of a report that comes to nothing
// (RFC 5321 §6.1), so it asks no more of the next server than any other mail.
func TestReportsConvert(t *testing.T) {
	t.Parallel()
	const head = "Subject: x\r\nMIME-Version: 1.0\r\n"
	deep := head
	for i := range 99 {
		deep += fmt.Sprintf("Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n", i, i)
	}
	for name, original := range map[string]string{
		"signed":          head + "Content-Type: multipart/signed; boundary=b\r\n\r\n--b\r\n\r\n\xc3\xbc\r\n--b--\r\n",
		"header of part":  head + "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: text/plain; name=\xc3\xbc\r\n\r\nx\r\n--b--\r\n",
		"header below":    head + "Content-Type: message/rfc822\r\n\r\nSubject: \xc3\xbc\r\n\r\nx\r\n",
		"unknown coding":  head + "Content-Transfer-Encoding: x-own\r\n\r\n\xc3\xbc\r\n",
		"partial":         head + "Content-Type: message/partial; id=a; number=1\r\n\r\nA: b\r\n\r\n\xc3\xbc\r\n",
		"as deep as goes": deep + "\r\n\xc3\xbc\r\n",
		"header":          "Subject: \xc3\xbc\r\n\r\nx\r\n",
		"plain":           head + "\r\n\xc3\xbc\r\n",
	} {
		r := report()
		r.Return = ReturnFull
		var b bytes.Buffer
		if _, err := r.WriteTo(&b, strings.NewReader(original)); err != nil {
			t.Fatal(name, err)
		}
		open := func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(b.Bytes())), nil }
		if _, err := message.Recode(open, message.SevenBit); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		root, bodies, _ := parts(t, r, strings.NewReader(original))
		if last := len(bodies) - 1; bodies[last] != original || root.Children[last].Is("message/rfc822") != (name == "plain") {
			t.Errorf("%s: %s/%s %q", name, root.Children[last].Type, root.Children[last].Subtype, bodies[last])
		}
		if name == "as deep as goes" {
			continue // its parts would not be told apart any more
		}
		r.Stays = true // nobody on the way can mind then, and programs show the original
		if root, _, _ := parts(t, r, strings.NewReader(original)); root.Children[2].Is("message/rfc822") == (name == "header") {
			t.Errorf("%s that stays: %s/%s", name, root.Children[2].Type, root.Children[2].Subtype)
		}
	}
}

func TestOnlyFailuresReturnAll(t *testing.T) {
	t.Parallel()
	r := report()
	r.Return = ParseReturn("full")
	r.Recipients = r.Recipients[1:]
	if root, _, _ := parts(t, r, strings.NewReader(mailText)); !root.Children[2].Is("text/rfc822-headers") {
		t.Errorf("a delay returns %s", root.Children[2].Subtype)
	}
}

func TestUTF8(t *testing.T) {
	t.Parallel()
	r := report()
	r.Recipients[0].Final = mail.Address{Local: "用户", Domain: "example.com"}
	r.Recipients[0].Original = "utf-8;用户@example.com"
	for _, utf8 := range []bool{false, true} {
		r.UTF8 = utf8
		root, bodies, done := parts(t, r, nil)
		if done.UTF8 != utf8 || len(root.Children) != 2 {
			t.Errorf("%+v", done)
		}
		s, err := Parse(strings.NewReader(bodies[1]))
		if err != nil || s.Recipients[0].Final != "用户@example.com" || s.Recipients[0].Original != "用户@example.com" {
			t.Errorf("%+v %v", s, err)
		}
		if !strings.Contains(bodies[0], "用户@example.com") {
			t.Errorf("text %q", bodies[0])
		}
	}
}

func TestHostileDiagnostic(t *testing.T) {
	t.Parallel()
	r := report()
	r.Recipients[0].Diagnostic = "550 no\r\n\r\nFinal-Recipient: rfc822; x@y\x00" + strings.Repeat("z", 5000)
	r.EnvelopeID = "a\r\nReporting-MTA: dns; evil"
	_, bodies, _ := parts(t, r, nil)
	s, err := Parse(strings.NewReader(bodies[1]))
	if err != nil || len(s.Recipients) != 2 || s.ReportingMTA != "mx.example.net" {
		t.Errorf("%+v %v", s, err)
	}
	r.Recipients[0].Diagnostic = "550 \u202eno \u009b31mred\u0085"
	r.Recipients[1].RemoteMTA, r.Recipients[1].Reason = "", "\u2066yes\u009d"
	_, bodies, _ = parts(t, r, nil)
	if !strings.Contains(bodies[0], " 550 no 31mred") || strings.ContainsAny(bodies[0], "\u202e\u2066\u0085\u009b\u009d") {
		t.Errorf("%q", bodies[0])
	}
}

func TestErrors(t *testing.T) {
	t.Parallel()
	if _, err := new(Report).WriteTo(io.Discard, nil); !mail.Is(err, mail.Invalid) {
		t.Error(err)
	}
	r := report()
	r.Recipients[0].Action = "lost"
	if _, err := r.WriteTo(io.Discard, nil); !mail.Is(err, mail.Invalid) {
		t.Error(err)
	}
	broken := errors.New("broken")
	if _, err := report().WriteTo(io.Discard, iotest.ErrReader(broken)); !errors.Is(err, broken) {
		t.Error(err)
	}
	if _, err := Parse(strings.NewReader("A: " + strings.Repeat("x", maxStatus))); !mail.Is(err, mail.TooLarge) {
		t.Error(err)
	}
	if _, err := Parse(strings.NewReader(strings.Repeat("Final-Recipient: a;b\n\n", maxRecipients+1))); !mail.Is(err, mail.TooMany) {
		t.Error(err)
	}
}

func TestParseForeign(t *testing.T) {
	t.Parallel()
	s, err := Parse(strings.NewReader(`Reporting-MTA: dns;mail.example.org
Arrival-Date: Mon, 6 Jan 2025 10:00:00 +0000 (UTC)

Final-Recipient: RFC822;bob@example.com (Bob)
Action: FAILED (bounced)
Status: 5.2.2 (over quota)
Diagnostic-Code: X-Unix; 69
X-Other: y
`))
	if err != nil || len(s.Recipients) != 1 || !s.Arrival.Equal(at(10)) {
		t.Fatalf("%+v %v", s, err)
	}
	if c := s.Recipients[0]; c.Action != Failed || c.Status != (mail.Enhanced{5, 2, 2}) || c.Diagnostic != "69" {
		t.Errorf("%+v", c)
	}
}

func FuzzReport(f *testing.F) {
	f.Add("550 no", "rfc822;a@b", "id", mailText, true, true)
	f.Add("\xff", "utf-8;\\x{", "", "\r\n", false, true)
	f.Fuzz(func(t *testing.T, diagnostic, orcpt, envid, original string, full, utf8 bool) {
		r := report()
		r.Recipients[0].Diagnostic, r.Recipients[0].Original, r.EnvelopeID, r.UTF8 = diagnostic, orcpt, envid, utf8
		if full {
			r.Return = ReturnFull
		}
		r.Boundary = ""
		r.Limit = 300
		_, bodies, _ := parts(t, r, strings.NewReader(original))
		s, err := Parse(strings.NewReader(bodies[1]))
		if err != nil || len(s.Recipients) != 2 || s.Recipients[0].Final != "robert@example.com" || s.Recipients[1].Status != (mail.Enhanced{4, 4, 1}) {
			t.Fatalf("%+v %v", s, err)
		}
	})
}

func FuzzParse(f *testing.F) {
	f.Add("Reporting-MTA: dns; x\n\nFinal-Recipient: utf-8; a\\x{E4}@b\nStatus: 5.1.1\n")
	f.Fuzz(func(t *testing.T, in string) {
		s, err := Parse(strings.NewReader(in))
		if err != nil && !mail.Is(err, mail.TooLarge) && !mail.Is(err, mail.TooMany) {
			t.Fatal(err)
		}
		if err == nil && len(s.Recipients) > len(in)/16 {
			t.Fatalf("%d recipients from %d octets", len(s.Recipients), len(in))
		}
	})
}
