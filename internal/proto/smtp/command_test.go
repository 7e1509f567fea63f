package smtp

import (
	"bufio"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"postel/internal/mail"
)

var all = Extensions{
	Size: true, EightBit: true, Binary: true, UTF8: true, DSN: true, Auth: true,
	DeliverBy: true, FutureRelease: true, Priority: true, RequireTLS: true,
}

func TestParseMail(t *testing.T) {
	t.Parallel()
	base := Extensions{Size: true, EightBit: true}
	for _, c := range []struct {
		in   string
		x    Extensions
		from string
		want string // the line that MailLine makes of it, or the reply
	}{
		{"FROM:<a@b.org>", base, "<a@b.org>", "MAIL FROM:<a@b.org>"},
		{"from: <a@b.org> SIZE=10 BODY=8bitmime", base, "<a@b.org>", "MAIL FROM:<a@b.org> SIZE=10 BODY=8BITMIME"},
		{"FROM :<a@b.org>", base, "<a@b.org>", "MAIL FROM:<a@b.org>"},
		{"FROM:<>", base, "<>", "MAIL FROM:<>"},
		{"FROM:< a@b.org >", base, "<a@b.org>", "MAIL FROM:<a@b.org>"},
		{`FROM:<"a> \" b"@b.org> SIZE=1`, base, `<"a> \" b"@b.org>`, `MAIL FROM:<"a> \" b"@b.org> SIZE=1`},
		{"FROM:<@x.org,@y.org:a@b.org>", base, "<@x.org,@y.org:a@b.org>", "MAIL FROM:<a@b.org>"},
		{"FROM:<@[IPv6:::1]:a@b.org>", base, "<@[IPv6:::1]:a@b.org>", "MAIL FROM:<a@b.org>"},
		{"FROM:<a@b.org> SIZE=99999999999999999999", base, "<a@b.org>", "MAIL FROM:<a@b.org> SIZE=9223372036854775807"},
		{"FROM:<é@b.org> SMTPUTF8", all, "<é@b.org>", "MAIL FROM:<é@b.org> SMTPUTF8"},
		{"FROM:<a@b.org> RET=hdrs ENVID=a+2Bb AUTH=<>", all, "<a@b.org>", "MAIL FROM:<a@b.org> RET=HDRS ENVID=a+2Bb"},
		{"FROM:<a@b.org> ENVID=" + strings.Repeat("x", 100), all, "<a@b.org>", "MAIL FROM:<a@b.org> ENVID=" + strings.Repeat("x", 100)},
		{"FROM:<a@b\u00fccher.org>  \t SMTPUTF8\tSIZE=1", all, "<a@xn--bcher-kva.org>", "MAIL FROM:<a@xn--bcher-kva.org> SIZE=1 SMTPUTF8"},
		{"FROM:a@b.org SIZE=3", Extensions{Bare: true, Size: true}, "<a@b.org>", "MAIL FROM:<a@b.org> SIZE=3"},

		{"FROM:a@b.org", base, "", "501 5.1.7 sender: address must stand in <>"},
		{"<a@b.org>", base, "", "501 5.5.4 MAIL FROM:<address>"},
		{"", base, "", "501 5.5.4 MAIL FROM:<address>"},
		{"FROM:", base, "", "501 5.1.7 sender: address must stand in <>"},
		{"FROM:<a@b.org", base, "", "501 5.1.7 sender: > is missing"},
		{"FROM:<a@b.org>SIZE=1", base, "", "501 5.1.7 sender: something stands behind the >"},
		{"FROM:<postmaster>", base, "", "501 5.1.7 sender: address is not local-part@domain"},
		{"FROM:<@x.org:>", base, "", "501 5.1.7 sender: address is not local-part@domain"},
		{"FROM:<@x.org>", base, "", "501 5.1.7 sender: source route without an address"},
		{"FROM:<a@b.org> SIZE=-1", base, "", "501 5.5.4 bad value of parameter SIZE"},
		{"FROM:<a@b.org> SIZE", base, "", "501 5.5.4 bad value of parameter SIZE"},
		{"FROM:<a@b.org> SIZE=1 SIZE=2", base, "", "501 5.5.4 parameter SIZE given twice"},
		{"FROM:<a@b.org> BODY=BINARYMIME", base, "", "501 5.5.4 bad value of parameter BODY"},
		{"FROM:<a@b.org> SMTPUTF8", base, "", "555 5.5.4 parameter SMTPUTF8 not supported"},
		{"FROM:<a@b.org> RET=FULL", base, "", "555 5.5.4 parameter RET not supported"},
		{"FROM:<a@b.org> =x", base, "", "501 5.5.4 parameter is not keyword=value"},
		{"FROM:<é@b.org>", base, "", "553 5.6.7 address is not ASCII"},
		{"FROM:<é@b.org>", all, "", "553 5.6.7 address is not ASCII"},
		{"FROM:<a@bücher.org>", all, "", "553 5.6.7 address is not ASCII"},
		{"FROM:<\"SMTPUTF8 é\"@b.org>", all, "", "553 5.6.7 address is not ASCII"},
		{"FROM:<\"\xff\"@b.org> SMTPUTF8", all, "", "501 5.1.7 sender: address is not local-part@domain"},
		{"FROM:<a@b.org> SMTPUTF8=1", all, "", "501 5.5.4 bad value of parameter SMTPUTF8"},
		{"FROM:<a@b.org> SIZE=100000000000000000000", all, "", "501 5.5.4 bad value of parameter SIZE"},
		{"FROM:<a@b.org> RET=BODY", all, "", "501 5.5.4 bad value of parameter RET"},
		{"FROM:<a@b.org> RET", all, "", "501 5.5.4 bad value of parameter RET"},
		{"FROM:<a@b.org> ENVID=a+0D+0AX-Header:x", all, "", "501 5.5.4 bad value of parameter ENVID"},
		{"FROM:<a@b.org> ENVID=a+4", all, "", "501 5.5.4 bad value of parameter ENVID"},
		{"FROM:<a@b.org> ENVID=é SMTPUTF8", all, "", "501 5.5.4 bad value of parameter ENVID"},
		{"FROM:<a@b.org> ENVID=" + strings.Repeat("x", 101), all, "", "501 5.5.4 bad value of parameter ENVID"},
		{"FROM:<a@b.org> BY=1;R", base, "", "555 5.5.4 parameter BY not supported"},
		{"FROM:<a@b.org> HOLDFOR=1", base, "", "555 5.5.4 parameter HOLDFOR not supported"},
		{"FROM:<a@b.org> MT-PRIORITY=1", base, "", "555 5.5.4 parameter MT-PRIORITY not supported"},
		{"FROM:<a@b.org> REQUIRETLS", base, "", "555 5.5.4 parameter REQUIRETLS not supported"},
		{"FROM:<a@b.org> AUTH=<>", base, "", "555 5.5.4 parameter AUTH not supported"},
		{"FROM:<a@b.org> REQUIRETLS=yes", all, "", "501 5.5.4 bad value of parameter REQUIRETLS"},
		{"FROM:<a@b.org> AUTH=a+0Ab", all, "", "501 5.5.4 bad value of parameter AUTH"},
		{"FROM:<a@b.org> FOO=BAR", all, "", "555 5.5.4 parameter FOO not supported"},
	} {
		m, err := ParseMail(c.in, c.x)
		got := ""
		if err != nil {
			got = ReplyOf(err, false).String()
		} else {
			got = MailLine(m.Envelope, all)
			if m.From.String() != c.from {
				t.Errorf("%s: path %s, want %s", c.in, m.From, c.from)
			}
		}
		if got != c.want {
			t.Errorf("%s:\n got %s\nwant %s", c.in, got, c.want)
		}
	}
}

func TestParseRcpt(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		in   string
		x    Extensions
		want string
	}{
		{"TO:<a@b.org>", Extensions{}, "RCPT TO:<a@b.org>"},
		{"to: <PostMaster>", Extensions{}, "RCPT TO:<PostMaster>"},
		{"TO:<@x.org:a@b.org>", Extensions{}, "RCPT TO:<a@b.org>"},
		{"TO:<a%c.org@b.org>", Extensions{}, "RCPT TO:<a%c.org@b.org>"},
		{"TO:<a@[127.0.0.1]>", Extensions{}, "RCPT TO:<a@[127.0.0.1]>"},
		{"TO:<a@b.org> NOTIFY=success,FAILURE ORCPT=rfc822;a+2Bx@b.org", all, "RCPT TO:<a@b.org> NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;a+2Bx@b.org"},
		{"TO:<a@b.org> NOTIFY=NEVER", all, "RCPT TO:<a@b.org> NOTIFY=NEVER"},
		{"TO:<a@b.org> NOTIFY=NEVER,DELAY", all, "501 5.5.4 bad value of parameter NOTIFY"},
		{"TO:<a@b.org> NOTIFY=", all, "501 5.5.4 parameter is not keyword=value"},
		{"TO:<a@b.org> NOTIFY=SUCCESS,,DELAY", all, "501 5.5.4 bad value of parameter NOTIFY"},
		{"TO:<a@b.org> NOTIFY=DELAY NOTIFY=DELAY", all, "501 5.5.4 parameter NOTIFY given twice"},
		{"TO:<a@b.org> ORCPT=rfc822;a+0D+0ABcc:x@b.org", all, "501 5.5.4 bad value of parameter ORCPT"},
		{"TO:<a@b.org> ORCPT=rfc822;", all, "501 5.5.4 bad value of parameter ORCPT"},
		{"TO:<a@b.org> ORCPT=rfc822;" + strings.Repeat("x", 494), all, "501 5.5.4 bad value of parameter ORCPT"},
		{"TO:<a@b.org> ORCPT=UTF-8;\\x{E9}t\\x{E9}+2B@b.org", all, "501 5.5.4 bad value of parameter ORCPT"},
		{"TO:<a@b.org> ORCPT=UTF-8;\\x{E9}\\x{2B}\\x{1F600}@b.org", all, "RCPT TO:<a@b.org> ORCPT=utf-8;é\\x{2B}😀@b.org"},
		{"TO:<a@b.org> ORCPT=utf-8;a\\x{0D}\\x{0A}b", all, "501 5.5.4 bad value of parameter ORCPT"},
		{"TO:<a@b.org> ORCPT=utf-8;a\\x{85}b", all, "501 5.5.4 bad value of parameter ORCPT"},
		{"TO:<a@b.org> ORCPT=utf-8;a\\x{D800}b", all, "501 5.5.4 bad value of parameter ORCPT"},
		{"TO:<a@b.org> ORCPT=utf-8;é@b.org", all, "501 5.5.4 bad value of parameter ORCPT"},
		{"TO:<a@b.org> BY=1;R", all, "555 5.5.4 parameter BY not supported"},
		{"TO:<é@b.org>", all, "553 5.6.7 address is not ASCII"},
		{"TO:<a@b.org> ORCPT=rfc822", all, "501 5.5.4 bad value of parameter ORCPT"},
		{"TO:<a@b.org> NOTIFY=NEVER", Extensions{}, "555 5.5.4 parameter NOTIFY not supported"},
		{"TO:<>", Extensions{}, "501 5.1.3 address is empty"},
		{"TO:<a>", Extensions{}, "501 5.1.3 address is not local-part@domain"},
		{"TO <a@b.org>", Extensions{}, "501 5.5.4 RCPT TO:<address>"},
	} {
		r, err := ParseRcpt(c.in, c.x, false)
		got := RcptLine(r.Recipient, all)
		if err != nil {
			got = ReplyOf(err, false).String()
		}
		if got != c.want {
			t.Errorf("%s:\n got %s\nwant %s", c.in, got, c.want)
		}
	}
}

// Relative times stay what they were, for the server's clock to add them.
func TestParseMailTimes(t *testing.T) {
	t.Parallel()
	hour := time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)
	for in, want := range map[string]Mail{
		"BY=120;R":                            {By: By{Set: true, Seconds: 120, Return: true}},
		"BY=+999999999;rt":                    {By: By{Set: true, Seconds: 999999999, Return: true, Trace: true}},
		"BY=-999999999;n":                     {By: By{Set: true, Seconds: -999999999}},
		"BY=0;NT":                             {By: By{Set: true, Trace: true}},
		"HOLDFOR=999999999":                   {HoldFor: 999999999 * time.Second},
		"HOLDUNTIL=2030-01-02t03:04:05z":      {Envelope: mail.Envelope{Parameters: mail.Parameters{Hold: hour}}},
		"HOLDUNTIL=2030-01-02T05:04:05+02:00": {Envelope: mail.Envelope{Parameters: mail.Parameters{Hold: hour}}},
		"MT-PRIORITY=-9":                      {Envelope: mail.Envelope{Parameters: mail.Parameters{Priority: -9}}},
		"MT-PRIORITY=0":                       {},
		"REQUIRETLS":                          {Envelope: mail.Envelope{Parameters: mail.Parameters{RequireTLS: true}}},
	} {
		got, err := ParseMail("FROM:<> "+in, all)
		if d := cmp.Diff(want, got, cmp.AllowUnexported(Path{})); err != nil || d != "" {
			t.Errorf("%s: %v\n%s", in, err, d)
		}
	}
	for _, bad := range []string{
		"BY=0;R", "BY=-1;R", "BY=1", "BY=1;", "BY=1;X", "BY=1;TR", "BY=1000000000;N", "BY=;N", "BY=+-1;N", "BY=++1;N", "BY", "BY=1;NTT",
		"HOLDFOR=0", "HOLDFOR=1000000000", "HOLDFOR=-1", "HOLDFOR", "HOLDUNTIL=tomorrow", "HOLDUNTIL=2030-02-30T00:00:00Z",
		"HOLDFOR=1 HOLDUNTIL=2030-01-02T03:04:05Z", "HOLDUNTIL=2030-01-02T03:04:05Z HOLDFOR=1",
		"MT-PRIORITY=10", "MT-PRIORITY=-10", "MT-PRIORITY=+1", "MT-PRIORITY=01", "MT-PRIORITY=-0", "MT-PRIORITY",
	} {
		if _, err := ParseMail("FROM:<> "+bad, all); err == nil || ReplyOf(err, false).Code != 501 {
			t.Errorf("%s: %v", bad, err)
		}
	}
	now := time.Unix(1000, 0)
	if got := (By{Set: true, Seconds: -5, Trace: true}).At(now); got != (mail.DeliverBy{Deadline: time.Unix(995, 0), Trace: true}) {
		t.Error(got)
	}
	if got := (By{}).At(now); got != (mail.DeliverBy{}) {
		t.Error(got)
	}
}

func TestParseWho(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"alice": "alice@", "alice@b.org": "alice@b.org", "<alice@B.org>": "alice@b.org", `"a b"`: `a b@`, "é@bücher.org SMTPUTF8": "é@xn--bcher-kva.org utf8",
		"alice smtputf8": "alice@ utf8", "SMTPUTF8": "SMTPUTF8@",

		"é@b.org": "553 5.6.7 address is not ASCII", "a@bücher.org": "553 5.6.7 address is not ASCII",
		"John Smith": "501 5.1.3 neither an address nor a local part", "": "501 5.1.3 neither an address nor a local part",
		"<>": "501 5.1.3 neither an address nor a local part", "a b@c.org": "501 5.1.3 neither an address nor a local part",
		"x SMTPUTF9": "501 5.1.3 neither an address nor a local part",
	} {
		who, utf8, err := ParseWho(in, all)
		got := who.Local + "@" + string(who.Domain)
		if utf8 {
			got += " utf8"
		}
		if err != nil {
			got = ReplyOf(err, false).String()
		}
		if got != want {
			t.Errorf("%q: %s, want %s", in, got, want)
		}
	}
}

func TestParseCommand(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]Command{
		"mail FROM:<a@b>  ": {"MAIL", "FROM:<a@b>"}, "quit": {"QUIT", ""}, " \t": {}, "": {}, "HELO \t x y": {"HELO", "x y"},
	} {
		if got := ParseCommand([]byte(in)); got != want {
			t.Errorf("%q: %q", in, got)
		}
	}
	if h, err := ParseHello("[127.0.0.1] and more"); h != "[127.0.0.1]" || err != nil {
		t.Error(h, err)
	}
	for _, bad := range []string{"", "a\x01b", strings.Repeat("x", 256)} {
		if _, err := ParseHello(bad); !mail.Is(err, mail.Invalid) {
			t.Errorf("%q: %v", bad, err)
		}
	}
	if a, err := ParseAuth("plain ="); err != nil || a != (Auth{"PLAIN", "="}) || a.String() != "PLAIN =" {
		t.Error(a, err)
	}
	for _, bad := range []string{"", "PLAIN a b", strings.Repeat("X", 21)} {
		if _, err := ParseAuth(bad); !mail.Is(err, mail.Invalid) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

// lineEvents reads all lines; refused ones show their reply.
func lineEvents(r io.Reader) (out []string, err error) {
	l := Lines{R: bufio.NewReaderSize(r, ReadBuffer)}
	for {
		line, err := l.Next()
		switch {
		case err == nil:
			out = append(out, string(line))
		case mail.Is(err, mail.Invalid):
			out = append(out, ReplyOf(err, false).String())
		default:
			return out, err
		}
	}
}

// pieces gives each string by a read of its own.
type pieces []string

func (p *pieces) Read(b []byte) (int, error) {
	if len(*p) == 0 {
		return 0, io.EOF
	}
	n := copy(b, (*p)[0])
	if (*p)[0] = (*p)[0][n:]; (*p)[0] == "" {
		*p = (*p)[1:]
	}
	return n, nil
}

func TestLines(t *testing.T) {
	t.Parallel()
	const bareLF = "500 5.5.2 a line ends with CRLF, not with LF alone"
	const bareCR = "500 5.5.2 bare CR in a command"
	const long = "500 5.5.2 line longer than 2048 octets"
	x := func(n int) string { return strings.Repeat("x", n) }
	for _, c := range []struct {
		in   pieces
		want []string
	}{
		{pieces{"a\r\nb\r\n"}, []string{"a", "b"}},
		{pieces{"a\nb\r\nc\r\n"}, []string{bareLF, "c"}},
		{pieces{"a\n", "b\r\nc\r\n"}, []string{bareLF, "c"}},
		{pieces{"a\n", "b\n", "c\n"}, []string{bareLF, bareLF, bareLF}},
		{pieces{"a\nb\n", "c\r\n", "d\r\n"}, []string{bareLF, "d"}},
		{pieces{"a\n", "\r\n", "d\r\n"}, []string{bareLF, "d"}},
		{pieces{"a\rb\r\nc\r\n"}, []string{bareCR, "c"}},
		{pieces{"a\r\r\nc\r\n"}, []string{bareCR, "c"}},
		{pieces{"a\r", "\nc\r\n"}, []string{"a", "c"}},
		{pieces{"a\n", "b\rc\r\nd\r\n"}, []string{bareLF, "d"}},
		{pieces{"a\x00b\r\nc\r\n"}, []string{"500 5.5.2 NUL in a command", "c"}},
		{pieces{x(2046) + "\r\nc\r\n"}, []string{x(2046), "c"}},
		{pieces{x(2047) + "\r\nc\r\n"}, []string{long, "c"}},
		{pieces{"AUTH " + x(12281) + "\r\n"}, []string{"AUTH " + x(12281)}},
		{pieces{"AUTH " + x(12282) + "\r\nc\r\n"}, []string{"500 5.5.6 authentication exchange line is longer than 12288 octets", "c"}}, // RFC 4954 §6
		{pieces{x(ReadBuffer-1) + "\r\nc\r\n"}, []string{long, "c"}},
		{pieces{x(100_000) + "\n" + x(100_000) + "\r\nc\r\n"}, []string{long, "c"}},
	} {
		name := strings.Join(c.in, "|")
		got, err := lineEvents(&c.in)
		if d := cmp.Diff(c.want, got); d != "" || !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("%.40q: %v\n%s", name, err, d)
		}
	}
	if _, err := lineEvents(endlessLines{}); !mail.Is(err, mail.TooLarge) {
		t.Error(err)
	}
}

// FuzzLines holds Lines against the definition: what stands between CRLFs, refused when it holds CR, LF or NUL.
func FuzzLines(f *testing.F) {
	for _, s := range []string{"a\r\nb\r\n", "a\nb\r\n", "\r\r\n\n\r\n", "AUTH x\r\n", "\n\r\n\r\n", "a\x00\r\n"} {
		f.Add(s, uint16(0))
		f.Add(s, uint16(3000))
	}
	f.Fuzz(func(t *testing.T, s string, pad uint16) {
		s = strings.Replace(s, "a", strings.Repeat("a", int(pad)), 1)
		var want []string
		for rest := s; ; {
			line, after, ok := strings.Cut(rest, "\r\n")
			if !ok {
				break
			}
			rest = after
			if !strings.ContainsAny(line, "\r\n\x00") && len(line)+2 <= MaxCommand {
				want = append(want, line)
			} else if !hasVerb([]byte(line), "AUTH") || strings.ContainsAny(line, "\r\n\x00") || len(line)+2 > MaxAuthLine {
				want = append(want, "refused")
			} else {
				want = append(want, line)
			}
		}
		got, _ := lineEvents(strings.NewReader(s))
		for i, g := range got {
			if strings.HasPrefix(g, "500 5.5.2 ") && i < len(want) && want[i] == "refused" {
				got[i] = "refused"
			}
		}
		if n := len(want); len(got) == n+1 && strings.Contains(got[n], "LF alone") {
			got = got[:n] // the last line's bare LF had its answer before the line's end
		}
		if d := cmp.Diff(want, got); d != "" && len(want)+len(got) > 0 {
			t.Fatalf("%.200q:\n%s", s, d)
		}
	})
}

// FuzzMail checks that what is taken is written back to the same value.
func FuzzMail(f *testing.F) {
	for _, s := range []string{
		"FROM:<a@b.org> SIZE=1 BODY=8BITMIME RET=FULL ENVID=x+20y", `FROM:<"\\ >"@b.org>`, "FROM:<>",
		"FROM:<@a.b:c@d.e>", "FROM:<é@ü.de> SMTPUTF8", "FROM:<> BY=-1;NT HOLDFOR=9 MT-PRIORITY=-3 REQUIRETLS AUTH=<>",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		m, err := ParseMail(s, all)
		if err != nil {
			if c := ReplyOf(err, false).Code; c != 501 && c != 553 && c != 555 {
				t.Fatalf("%q: %v", s, err)
			}
			return
		}
		if by, ok := parseBy(m.By.String()); m.By.Set && (by != m.By || !ok) {
			t.Fatalf("%q: %v became %v", s, m.By, by)
		}
		m.Envelope.Hold, m.Envelope.Priority, m.Envelope.RequireTLS = time.Time{}, 0, false // tested above
		line := MailLine(m.Envelope, Extensions{Size: true, EightBit: true, Binary: true, UTF8: true, DSN: true})
		again, err := ParseMail(strings.TrimPrefix(line, "MAIL "), all)
		if d := cmp.Diff(m.Envelope, again.Envelope); err != nil || d != "" {
			t.Fatalf("%q became %q: %v\n%s", s, line, err, d)
		}
	})
}

// FuzzRcpt is the same for RCPT.
func FuzzRcpt(f *testing.F) {
	for _, s := range []string{"TO:<a@b.org> NOTIFY=DELAY,SUCCESS ORCPT=rfc822;a@b", "TO:<postmaster>", "TO:<é@x.org>", "TO:<a@b.c> ORCPT=utf-8;\\x{E9}\\x{5C}é@b"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		r, err := ParseRcpt(s, all, true)
		if err != nil {
			return
		}
		if strings.ContainsAny(r.Recipient.Original, "\r\n") {
			t.Fatalf("%q has a line end in %q", s, r.Recipient.Original)
		}
		for _, utf8 := range []bool{true, false} { // without SMTPUTF8 in ASCII, with it as it is
			x := Extensions{DSN: true, UTF8: utf8}
			line := RcptLine(r.Recipient, x)
			again, err := ParseRcpt(strings.TrimPrefix(line, "RCPT "), all, true)
			long := err != nil && len(line) > 500 // encoding made it longer than ORCPT may be
			if d := cmp.Diff(r.Recipient, again.Recipient); !long && (err != nil || d != "") {
				t.Fatalf("%q became %q: %v\n%s", s, line, err, d)
			}
		}
	})
}
