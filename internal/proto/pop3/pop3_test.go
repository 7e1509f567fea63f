package pop3

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"postel/internal/mail"
)

func TestLines(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", MaxLine)
	huge := strings.Repeat("y", 3*ReadBuffer)
	for _, c := range []struct{ in, want string }{
		{"NOOP\r\nSTAT\r\n", "NOOP|STAT|EOF"},
		{"NOOP\nSTAT\r\n", "NOOP|STAT|EOF"},
		{"\r\n", "|EOF"},
		{"USER a b\tc\r\n", "USER a b\tc|EOF"},
		{"a\x00b\r\n", "!invalid|EOF"},
		{"a\rb\r\nNOOP\r\n", "!invalid|NOOP|EOF"},
		{long + "\r\nNOOP\r\n", "!invalid|NOOP|EOF"},
		{long[:MaxLine-2] + "\r\n", long[:MaxLine-2] + "|EOF"},
		{"AUTH " + long + "\r\n", "AUTH " + long + "|EOF"},
		{"AUTH " + strings.Repeat("z", MaxAuthLine) + "\r\n", "!invalid|EOF"},
		{huge + "\r\nNOOP\r\n", "!invalid|NOOP|EOF"},
		{strings.Repeat("z", 2*MaxJunk) + "\r\n", "!too large"},
		{"NOOP", "!internal"},
		{huge, "!internal"},
		{"ü\r\n", "ü|EOF"},
	} {
		l := Lines{bufio.NewReaderSize(strings.NewReader(c.in), ReadBuffer)}
		var got []string
		for {
			line, err := l.Next()
			if err == io.EOF && len(line) == 0 && !strings.HasSuffix(c.want, "internal") {
				got = append(got, "EOF")
				break
			}
			if err != nil {
				got = append(got, "!"+mail.KindOf(err).String())
				if !mail.Is(err, mail.Invalid) {
					break
				}
				continue
			}
			got = append(got, string(line))
		}
		if s := strings.Join(got, "|"); s != c.want {
			t.Errorf("%.30q: %.60q, want %.60q", c.in, s, c.want)
		}
	}
}

func TestArguments(t *testing.T) {
	t.Parallel()
	digest := strings.Repeat("aB", 16)
	for _, c := range []struct{ in, want string }{
		{"retr 1", "RETR 1"},
		{"RETR  12 ", "RETR 12"},
		{"RETR", "!"},
		{"RETR 0", "!"},
		{"RETR -1", "!"},
		{"RETR 1 2", "!"},
		{"RETR 1234567890", "!"},
		{"RETR 999999999", "RETR 999999999"},
		{"LIST", "LIST 0"},
		{"LIST ", "LIST 0"},
		{"LIST 3", "LIST 3"},
		{"LIST x", "!"},
		{"TOP 1 0", "TOP {1 0}"},
		{"TOP 1", "!"},
		{"TOP 0 1", "!"},
		{"TOP 1 -1", "!"},
		{"TOP 1 2 3", "!"},
		{"STAT", "STAT {}"},
		{"STAT  ", "STAT {}"},
		{"STAT 1", "!"},
		{"USER alice", "USER alice"},
		{"USER a b", "USER a b"},
		{"USER ", "!"},
		{"PASS  a b ", "PASS  a b "},
		{"PASS", "PASS "},
		{"APOP alice " + digest, "APOP {alice " + strings.ToLower(digest) + "}"},
		{"APOP alice x", "!"},
		{"APOP " + digest, "!"},
		{"APOP alice " + strings.Repeat("xy", 16), "!"},
		{"AUTH plain", "AUTH {PLAIN }"},
		{"AUTH PLAIN =", "AUTH {PLAIN =}"},
		{"AUTH", "!"},
		{"AUTH a b c", "!"},
	} {
		if got := parse(c.in); got != c.want {
			t.Errorf("%q: %q, want %q", c.in, got, c.want)
		}
	}
}

// parse shows a command with its parsed arguments, "!" for an error.
func parse(line string) string {
	show := func(v any, err error) string {
		if err != nil {
			return "!"
		}
		return fmt.Sprint(v)
	}
	c := ParseCommand([]byte(line))
	var s string
	switch c.Verb {
	case "RETR":
		s = show(Number(c.Args))
	case "LIST":
		s = show(Optional(c.Args))
	case "TOP":
		s = show(ParseTop(c.Args))
	case "USER":
		s = show(Name(c.Args))
	case "PASS":
		s = show(Password(c.Args))
	case "APOP":
		s = show(ParseDigest(c.Args))
	case "AUTH":
		s = show(ParseAuth(c.Args))
	default:
		s = show(None(c.Args))
	}
	if s == "!" {
		return s
	}
	return c.Verb + " " + s
}

// FuzzCommand: a parsed command holds nothing but what was sent, within its limits.
func FuzzCommand(f *testing.F) {
	for _, s := range []string{"RETR 1", "TOP 1 2", "USER a b", "APOP alice c4c9334bac560ecc979e58001b3e22fb", "AUTH PLAIN =", "  "} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, line string) {
		c := ParseCommand([]byte(line))
		if c.Verb != "" && !strings.EqualFold(line[:min(len(c.Verb), len(line))], c.Verb) && strings.ToUpper(line) == line {
			t.Fatalf("%q: verb %q", line, c.Verb)
		}
		if n, err := Number(c.Args); err == nil && (n < 1 || n > 999_999_999) {
			t.Fatalf("%q: %d", line, n)
		}
		if n, err := Optional(c.Args); err == nil && (n < 0 || n > 999_999_999) {
			t.Fatalf("%q: %d", line, n)
		}
		if top, err := ParseTop(c.Args); err == nil && (top.Message < 1 || top.Lines < 0) {
			t.Fatalf("%q: %v", line, top)
		}
		if d, err := ParseDigest(c.Args); err == nil && (len(d.Hex) != 32 || d.Name == "") {
			t.Fatalf("%q: %v", line, d)
		}
		if a, err := ParseAuth(c.Args); err == nil && (a.Mechanism == "" || strings.ContainsAny(a.Initial, " ")) {
			t.Fatalf("%q: %v", line, a)
		}
	})
}

func TestReplies(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ got, want string }{
		{string(AppendOK(nil, "")), "+OK\r\n"},
		{string(AppendOK(nil, "a\r\nb")), "+OK a??b\r\n"},
		{string(AppendErr(nil, InUse, "busy")), "-ERR [IN-USE] busy\r\n"},
		{string(AppendErr(nil, "", "")), "-ERR\r\n"},
		{string(AppendContinue(nil, "")), "+ \r\n"},
	} {
		if c.got != c.want {
			t.Errorf("%q, want %q", c.got, c.want)
		}
	}
	if n := len(AppendErr(nil, SysTemp, strings.Repeat("x", 9999))); n != MaxReply {
		t.Errorf("%d octets", n)
	}
	for _, c := range []struct {
		err        error
		code, text string
	}{
		{mail.E("x", mail.AuthFailed, "no"), "AUTH", "no"},
		{mail.E("x", mail.Internal, "/path"), "SYS/TEMP", "cannot do that now, try again later"},
		{io.EOF, "SYS/TEMP", "cannot do that now, try again later"},
		{mail.E("x", mail.NotFound, "gone"), "", "gone"},
	} {
		if CodeOf(c.err) != Code(c.code) || TextOf(c.err) != c.text {
			t.Errorf("%v: %s %s", c.err, CodeOf(c.err), TextOf(c.err))
		}
	}
}

// TestDigest is the example of RFC 1939 §7.
func TestDigest(t *testing.T) {
	t.Parallel()
	d, err := ParseDigest("mrose c4c9334bac560ecc979e58001b3e22fb")
	if err != nil || !d.Proves("<1896.697170952@dbc.mtview.ca.us>", "tanstaaf") || d.Proves("<1896.697170952@dbc.mtview.ca.us>", "x") {
		t.Error(d, err)
	}
}

func TestDots(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ in, want string }{
		{"", ".\r\n"},
		{"a\r\n", "a\r\n.\r\n"},
		{"a", "a\r\n.\r\n"},
		{".\r\n", "..\r\n.\r\n"},
		{"a\r\n.b\r\n", "a\r\n..b\r\n.\r\n"},
		{"a.b\r\n..\r\n", "a.b\r\n...\r\n.\r\n"},
		{"a\n.\r\nb\r\n", "a\n..\r\nb\r\n.\r\n"},
		{"a\n", "a\n\r\n.\r\n"},
		{"a\r", "a\r\r\n.\r\n"},
		{".", "..\r\n.\r\n"},
		{"\n", "\n\r\n.\r\n"},
		{"\r\n", "\r\n.\r\n"},
	} {
		for _, step := range []int{1, 2, 3, 1000} {
			if got := dotted(t, c.in, step); got != c.want {
				t.Errorf("%q in steps of %d: %q, want %q", c.in, step, got, c.want)
			}
		}
	}
}

func dotted(t *testing.T, in string, step int) string {
	t.Helper()
	var out bytes.Buffer
	d := &DotWriter{W: &out}
	for s := in; s != ""; {
		n := min(step, len(s))
		if m, err := d.Write([]byte(s[:n])); m != n || err != nil {
			t.Fatal(m, err)
		}
		s = s[n:]
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

// undot reads a multi-line response as a client does that ends lines at end, and gives what follows it.
func undot(in, end string) (content, rest string, ok bool) {
	for in != "" {
		line, after, found := strings.Cut(in, end)
		if !found {
			break
		}
		in = after
		if strings.TrimSuffix(line, "\r") == "." {
			return content, in, true
		}
		content += strings.TrimPrefix(line, ".") + end
	}
	return "", "", false
}

// FuzzDots: clients that end lines at LF and clients that end them at CRLF both find the end where it is; the former
// get the very content, the latter too unless lines end in LF alone.
func FuzzDots(f *testing.F) {
	f.Add("a\r\n.b\r\n", 3)
	f.Add("...\n.\n.\r\n", 1)
	f.Fuzz(func(t *testing.T, in string, step int) {
		wire := dotted(t, in, max(step, 1)) + "+OK next\r\n"
		want := in
		if want != "" && !strings.HasSuffix(want, "\r\n") {
			want += "\r\n"
		}
		for _, end := range []string{"\n", "\r\n"} {
			got, rest, ok := undot(wire, end)
			same := got == want || end == "\r\n" && strings.Contains("\n"+strings.ReplaceAll(in, "\r\n", ""), "\n.")
			if !ok || rest != "+OK next\r\n" || !same {
				t.Fatalf("%q, lines end in %q: %q, then %q", in, end, got, rest)
			}
		}
	})
}

func TestCopyLines(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		in    string
		lines int
		want  string
	}{
		{"a\r\nb\r\nc", 0, ""},
		{"a\r\nb\r\nc", 1, "a\r\n"},
		{"a\r\nb\r\nc", 2, "a\r\nb\r\n"},
		{"a\r\nb\r\nc", 3, "a\r\nb\r\nc"},
		{"a\r\nb\r\nc", 99, "a\r\nb\r\nc"},
		{"\r\n\r\n", 1, "\r\n"},
		{"", 5, ""},
	} {
		for _, r := range []io.Reader{strings.NewReader(c.in), iotest.OneByteReader(strings.NewReader(c.in)), iotest.DataErrReader(strings.NewReader(c.in))} {
			var out bytes.Buffer
			n, err := CopyLines(&out, r, c.lines)
			if out.String() != c.want || err != nil || n != int64(out.Len()) {
				t.Errorf("%q %d: %q %v", c.in, c.lines, out.String(), err)
			}
		}
	}
	if _, err := CopyLines(io.Discard, iotest.ErrReader(io.ErrClosedPipe), 1); err != io.ErrClosedPipe {
		t.Error(err)
	}
}

func BenchmarkDots(b *testing.B) {
	line := strings.Repeat("text with dots. ", 4) + "\r\n"
	for name, s := range map[string]string{"base64": strings.Repeat(strings.Repeat("QUJD", 19)+"\r\n", 400), "text": strings.Repeat(line, 400)} {
		b.Run(name, func(b *testing.B) {
			p := []byte(s)
			b.SetBytes(int64(len(p)))
			d := &DotWriter{W: io.Discard}
			for b.Loop() {
				if _, err := d.Write(p); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
