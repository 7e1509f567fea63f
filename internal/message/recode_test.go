package message

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"postel/internal/mail"
)

// recode gives a message in a form.
func recode(in string, to Form) (string, error) {
	r, err := Recode(func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(in)), nil }, to)
	if err != nil {
		return "", err
	}
	defer func() { _ = r.Close() }()
	b, err := io.ReadAll(r)
	return string(b), err
}

const mixed = "MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n"

func TestRecode(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", 1000)
	for _, c := range []struct{ name, in, seven, eight string }{
		{name: "ascii stays", in: "A: b\r\n\r\nbody\r\n", seven: "A: b\r\n\r\nbody\r\n", eight: "A: b\r\n\r\nbody\r\n"},
		{
			name:  "text",
			in:    "MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\nGr\xc3\xbc\xc3\x9fe, \r\n--x = 1\r\n",
			seven: "MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\nGr=C3=BC=C3=9Fe,=20\r\n=2D-x =3D 1\r\n",
		},
		{ // RFC 6152 §3 knows no message of octets without MIME: it becomes one, and its charset stays untold
			name:  "no MIME",
			in:    "Subject: x\r\n\r\n\xe4\r\n",
			seven: "Subject: x\r\nMIME-Version: 1.0\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n=E4\r\n",
		},
		{
			name:  "label only",
			in:    "Content-Transfer-Encoding: 8bit\r\n\r\nascii\r\n",
			seven: "MIME-Version: 1.0\r\nContent-Transfer-Encoding: 7bit\r\n\r\nascii\r\n",
		},
		{
			name: "tree",
			in: mixed + "Content-Transfer-Encoding: binary\r\n\r\npr\xc3\xa4\r\n--b\r\n\r\n\xc3\xa4\r\n--b\r\nContent-Type: image/png\r\nContent-Transfer-Encoding: binary\r\n\r\n\x00\r\x01\n\r\n" +
				"--b\r\n\r\nplain\r\n--b--\r\n\xfc\r\n",
			seven: mixed + "Content-Transfer-Encoding: 7bit\r\n\r\npr??\r\n--b\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n=C3=A4\r\n" +
				"--b\r\nContent-Type: image/png\r\nContent-Transfer-Encoding: base64\r\n\r\nAA0BCg==\r\n--b\r\n\r\nplain\r\n--b--\r\n?\r\n",
			eight: mixed + "Content-Transfer-Encoding: 8bit\r\n\r\npr\xc3\xa4\r\n--b\r\n\r\n\xc3\xa4\r\n--b\r\nContent-Type: image/png\r\nContent-Transfer-Encoding: base64\r\n\r\nAA0BCg==\r\n" +
				"--b\r\n\r\nplain\r\n--b--\r\n\xfc\r\n",
		},
		{
			name:  "nested message",
			in:    mixed + "\r\n--b\r\nContent-Type: message/rfc822\r\nContent-Transfer-Encoding: 8bit\r\n\r\nSubject: in\r\n\r\n\xe4\r\n--b--\r\n",
			seven: mixed + "\r\n--b\r\nContent-Type: message/rfc822\r\nContent-Transfer-Encoding: 7bit\r\n\r\nSubject: in\r\nMIME-Version: 1.0\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n=E4\r\n--b--\r\n",
		},
		{
			name: "long lines", in: "Content-Type: application/x\r\n\r\n" + long + "\r\n",
			seven: "Content-Type: application/x\r\nMIME-Version: 1.0\r\nContent-Transfer-Encoding: base64\r\n\r\n" + lines64(long+"\r\n"),
			eight: "Content-Type: application/x\r\nMIME-Version: 1.0\r\nContent-Transfer-Encoding: base64\r\n\r\n" + lines64(long+"\r\n"),
		},
		{
			name:  "long header",
			in:    "X: " + strings.Repeat("a", 900) + " " + strings.Repeat("b", 900) + "\r\n\r\nx\r\n",
			seven: "X: " + strings.Repeat("a", 900) + "\r\n " + strings.Repeat("b", 900) + "\r\n\r\nx\r\n",
			eight: "X: " + strings.Repeat("a", 900) + "\r\n " + strings.Repeat("b", 900) + "\r\n\r\nx\r\n",
		},
		{ // what says that it is encoded is decoded as a reader would, and encoded again
			name: "octets within base64", in: "Content-Transfer-Encoding: base64\r\n\r\nZm\xe49v\r\n",
			seven: "Content-Transfer-Encoding: base64\r\n\r\nZm9v\r\n",
		},
		{
			name: "octets within quoted-printable", in: "Content-Transfer-Encoding: quoted-printable\r\n\r\n\xe4=3D=0A\r\n",
			seven: "Content-Transfer-Encoding: quoted-printable\r\n\r\n=E4=3D=0A\r\n",
		},
		{name: "signed in ASCII", in: "Content-Type: multipart/signed; boundary=b\r\nContent-Transfer-Encoding: 8bit\r\n\r\n--b\r\n\r\nx\r\n--b--\r\n", seven: "Content-Type: multipart/signed; boundary=b\r\nContent-Transfer-Encoding: 8bit\r\n\r\n--b\r\n\r\nx\r\n--b--\r\n"},
		{name: "signed", in: "Content-Type: multipart/signed; boundary=b\r\n\r\n--b\r\n\r\n\xe4\r\n--b--\r\n", seven: "5.6.3"},
		{name: "signed binary", in: mixed + "\r\n--b\r\nContent-Type: multipart/encrypted; boundary=c\r\n\r\n--c\r\nContent-Transfer-Encoding: binary\r\n\r\nx\r\n--c--\r\n--b--\r\n", seven: "5.6.3", eight: "5.6.3"},
		{name: "partial", in: "Content-Type: message/partial; id=1\r\n\r\n\xe4\r\n", seven: "5.6.3"},
		{name: "status", in: "Content-Type: message/delivery-status\r\n\r\n\xe4\r\n", seven: "5.6.3"},
		{name: "unknown encoding", in: "Content-Transfer-Encoding: x-uuencode\r\n\r\n\xe4\r\n", seven: "5.6.3"},
		{name: "header", in: "Subject: \xc3\xa4\r\n\r\nx\r\n", seven: "5.6.9"},
		{name: "header of a part", in: mixed + "\r\n--b\r\nContent-Description: \xc3\xa4\r\n\r\nx\r\n--b--\r\n", seven: "5.6.9"},
		{name: "header of a message within", in: mixed + "\r\n--b\r\nContent-Type: message/rfc822\r\n\r\nSubject: \xc3\xa4\r\n\r\nx\r\n--b--\r\n", seven: "5.6.9"},
		{ // RFC 6532 §3.7
			name:  "message/global",
			in:    mixed + "\r\n--b\r\nContent-Type: message/global\r\n\r\nSubject: \xc3\xa4\r\n\r\nx\r\n--b--\r\n",
			seven: mixed + "\r\n--b\r\nContent-Type: message/global\r\nContent-Transfer-Encoding: base64\r\n\r\n" + strings.TrimSuffix(lines64("Subject: \xc3\xa4\r\n\r\nx"), "\r\n") + "\r\n--b--\r\n",
		},
		{name: "multipart without boundary", in: "Content-Type: multipart/mixed\r\n\r\n\xe4\r\n", seven: "5.6.3"},
		{name: "boundary of octets", in: "Content-Type: multipart/mixed; boundary*=utf-8''%C3%A4\r\n\r\n--\xc3\xa4\r\n\r\nx\r\n--\xc3\xa4--\r\n", seven: "5.6.3"},
	} {
		for to, want := range []string{c.seven, c.eight} {
			if want == "" {
				want = c.in
			}
			got, err := recode(c.in, Form(to))
			var e *mail.Error
			if errors.As(err, &e) {
				got = e.Code.String()
			} else if err != nil {
				t.Fatal(err)
			}
			if got != want {
				t.Errorf("%s as %d:\n%q, want\n%q", c.name, to, got, want)
			}
		}
	}
}

// lines64 gives base64 in lines, the last one ended.
func lines64(s string) string {
	b, _ := io.ReadAll(&base64Encoder{r: strings.NewReader(s), end: true})
	return string(b)
}

// checkRecode holds a recoded message against what it came from: the same tree, leaves that stand for the same, and
// nothing that the form does not carry.
func checkRecode(t *testing.T, in string, to Form) {
	t.Helper()
	out, err := recode(in, to)
	if mail.Is(err, mail.Unsupported) {
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	before, after := parse(t, Limits{}, in), parse(t, Limits{}, out)
	if diff := sameTree(before, after, in, out); diff != "" {
		t.Fatalf("%s\nfrom %q\nto %q", diff, in, out)
	}
	if to == SevenBit && isWide([]byte(out)) {
		t.Fatalf("octets above 127 in %q", out)
	}
	p := NewParser(Limits{})
	p.needs = map[*Part]*needs{}
	_, _ = io.WriteString(p, out)
	_, _ = p.Close()
	for part, n := range p.needs {
		if n.body&longLine != 0 || part.Encoding == "binary" && part.Size() > 0 && !inSealed(before) {
			t.Fatalf("a long line or a binary part in\n%q from\n%q", out, in)
		}
	}
	if again, err := recode(out, to); err != nil || again != out && !strings.Contains(out, "--") {
		t.Fatalf("not the same again: %v\n%q\n%q", err, out, again)
	}
}

func inSealed(root *Part) bool { return !root.Walk(func(p *Part) bool { return !p.sealed() }) }

func sameTree(a, b *Part, in, out string) string {
	if a.Type != b.Type || a.Subtype != b.Subtype || len(a.Children) != len(b.Children) {
		if a.Is("message/global") {
			return "" // it was encoded
		}
		return fmt.Sprintf("%s/%s with %d parts became %s/%s with %d", a.Type, a.Subtype, len(a.Children), b.Type, b.Subtype, len(b.Children))
	}
	for i := range a.Children {
		if diff := sameTree(a.Children[i], b.Children[i], in, out); diff != "" {
			return diff
		}
	}
	if len(a.Children) > 0 {
		return ""
	}
	x := decodeBody(a.Encoding, []byte(in[a.BodyStart:a.End]))
	y := decodeBody(b.Encoding, []byte(out[b.BodyStart:b.End]))
	if a.Type == "text" && a.Encoding != b.Encoding { // line ends of text are CRLF
		x = bytes.ReplaceAll(bytes.ReplaceAll(x, lineEnd, []byte("\n")), []byte("\n"), lineEnd)
		y = bytes.ReplaceAll(bytes.ReplaceAll(y, lineEnd, []byte("\n")), []byte("\n"), lineEnd)
	}
	if !bytes.Equal(x, y) {
		return fmt.Sprintf("%s/%s: %q became %q", a.Type, a.Subtype, x, y)
	}
	return ""
}

func FuzzRecode(f *testing.F) {
	for _, in := range recodeSeeds() {
		f.Add(in, true)
		f.Add(in, false)
	}
	f.Fuzz(func(t *testing.T, in string, seven bool) {
		to := EightBit
		if seven {
			to = SevenBit
		}
		checkRecode(t, in, to)
	})
}

func recodeSeeds() []string {
	return []string{
		"Subject: x\r\n\r\n\xe4\r\n",
		mixed + "\r\npr\xc3\xa4\r\n--b\r\n\r\n\xc3\xa4 --b--b " + strings.Repeat("--b", 40) + "\r\n--b\r\nContent-Type: message/rfc822\r\n\r\nA: b\r\n\r\n\xfe\r\n--b--\r\n\xfc",
		mixed + "\n\n--b\nContent-Transfer-Encoding: binary\n\n\x00\x01\r\n--b\nContent-Transfer-Encoding: base64\n\nZm9v\xe4\n--b--",
		"Content-Type: multipart/signed; boundary=b\r\n\r\n--b\r\n\r\n\xe4\r\n--b--\r\n",
		"Content-Type: multipart/digest; boundary=b\r\n\r\n--b\r\n\r\nA: b\r\n\r\n\xe4 \r\n\r\n--b--\r\n",
		"Content-Transfer-Encoding: quoted-printable\r\n\r\na=\r\n\xe4=0A=0D " + strings.Repeat("x", 1100) + " \r\n",
		"X: " + strings.Repeat("y ", 700) + "\r\n\r\n" + strings.Repeat("- ", 700),
	}
}

// TestRecodeMails: all collected mails, in both forms, keep their tree and what their leaves stand for.
func TestRecodeMails(t *testing.T) {
	t.Parallel()
	names, err := filepath.Glob("testdata/mails/*")
	if err != nil || len(names) == 0 {
		t.Fatal(err, names)
	}
	for _, name := range names {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		checkRecode(t, string(b), SevenBit)
		checkRecode(t, string(b), EightBit)
	}
}

// TestContent: what a message asks of its way does not depend on how it comes.
func TestContent(t *testing.T) {
	t.Parallel()
	const known = mail.ContentKnown
	long := strings.Repeat("x", 998)
	for in, want := range map[string]mail.Content{
		"":                              known,
		"A: b\r\n\r\nx\r\n":             known,
		"A: \xe4\r\n\r\nx\r\n":          known | mail.EightBitHeader,
		"A: b\r\n\r\n12345678\xe4":      known | mail.EightBitBody,
		"A: b\r\n\r\n" + long + "\r\n":  known,
		"A: b\r\n\r\n" + long + "x\r\n": known | mail.LongLines,
		"A: b\r\n\r\n" + long + "x":     known | mail.LongLines,
		"A: b\r\n\r\n" + long + "\n":    known,
		"A: b\r\n\r\n" + long:           known,
		"A: " + long + "\r\n\r\nx\r\n":  known | mail.LongLines,

		// In a part's header, and behind the last part.
		mixed + "\r\n--b\r\nX: \xe4\r\n\r\nx\r\n--b--\r\n":  known | mail.EightBitHeader,
		mixed + "\r\n--b\r\nX: y\r\n\r\nx\r\n--b--\r\n\xe4": known | mail.EightBitBody,
	} {
		for _, step := range []int{1, 2, 7, 1000, 1 << 20} {
			p := NewParser(Limits{})
			for rest := in; rest != ""; {
				n := min(step, len(rest))
				_, _ = p.Write([]byte(rest[:n]))
				rest = rest[n:]
			}
			if _, err := p.Close(); err != nil || p.Content() != want {
				t.Errorf("%.60q by %d: %b, want %b", in, step, p.Content(), want)
			}
		}
	}
}

// randomMail makes a message or part of random shape, whose lines are short of or beyond every limit.
func randomMail(r *rand.Rand, depth int) string {
	pick := func(s ...string) string { return s[r.IntN(len(s))] }
	eol := pick("\r\n", "\r\n", "\r\n", "\n")
	header := pick("", "Subject: x"+eol, "X-Long: "+strings.Repeat("word ", 300)+eol, "MIME-Version: 1.0"+eol)
	cte := pick("", "", "7bit", "8bit", "binary", "base64", "quoted-printable", "x-odd")
	if cte != "" {
		header += "Content-Transfer-Encoding: " + cte + eol
	}
	body := func() string {
		var b strings.Builder
		for range r.IntN(5) {
			b.WriteString(pick("plain", "--b1", "- ", "\xe4", "=", "=41", " ", "\t", strings.Repeat("\xc3\xa4", 500), strings.Repeat("y-", 600), "Zm9v", "\x00", "\r", "--b0--b1--b2", "."))
			b.WriteString(pick("", "", eol, eol))
		}
		return b.String()
	}
	switch kind := r.IntN(6); {
	case depth > 3 || kind < 2:
		return header + pick("", "Content-Type: text/html; charset=utf-8"+eol, "Content-Type: image/png"+eol, "Content-Type: message/partial"+eol) + eol + body()
	case kind == 2:
		return header + "Content-Type: " + pick("message/rfc822", "message/global") + eol + eol + randomMail(r, depth+1)
	}
	b := fmt.Sprint("b", depth)
	s := header + "Content-Type: multipart/" + pick("mixed", "mixed", "mixed", "digest", "signed") + "; boundary=" + b + eol + eol + body()
	for range r.IntN(4) {
		s += eol + "--" + b + pick("", " ") + eol + randomMail(r, depth+1)
	}
	return s + pick("", eol+"--"+b+"--"+eol+body())
}

func TestRecodeRandom(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(1, 2))
	for range 300 / slowdown {
		in := randomMail(r, 0)
		checkRecode(t, in, SevenBit)
		checkRecode(t, in, EightBit)
	}
}

// TestRecodeStreams: the memory that it takes does not grow with the message.
func TestRecodeStreams(t *testing.T) {
	const size = 32 << 20
	open := func() (io.ReadCloser, error) {
		head := strings.NewReader("Content-Type: image/x\r\nContent-Transfer-Encoding: binary\r\n\r\n")
		return io.NopCloser(io.MultiReader(head, io.LimitReader(pattern{}, size))), nil
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	r, err := Recode(open, EightBit)
	if err != nil {
		t.Fatal(err)
	}
	n, err := io.Copy(io.Discard, r)
	runtime.ReadMemStats(&after)
	if grown := after.TotalAlloc - before.TotalAlloc; err != nil || n < size*4/3 || grown > 4<<20 {
		t.Errorf("%d octets came, %d were allocated: %v", n, grown, err)
	}
}

// pattern never ends.
type pattern struct{}

func (pattern) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = byte(i * 7)
	}
	return len(p), nil
}
