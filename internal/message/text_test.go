package message

import (
	"bytes"
	"encoding/base64"
	"io"
	"mime"
	"mime/quotedprintable"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"time"
	"unicode/utf8"

	"postel/internal/mail"
)

func TestDecodeText(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"plain":                              "plain",
		"=?utf-8?q?a_b=C3=A4?=":              "a bä",
		"=?UTF-8*de?B?w6Q=?=":                "ä",
		"=?utf-8?b?w6Q?=":                    "ä",
		"x =?utf-8?q?a?= y":                  "x a y",
		"=?utf-8?q?a?=  =?utf-8?q?b?=":       "ab",
		"=?utf-8?q?a?= =?iso-8859-1?q?=E4?=": "aä",
		"=?utf-8?q?a?= x =?utf-8?q?b?=":      "a x b",
		"=?utf-8?b?w6?= =?utf-8?q?=A4?=":     "ä",
		"=?nonsense?q?a?=":                   "=?nonsense?q?a?=",
		"=?utf-8?x?a?=":                      "=?utf-8?x?a?=",
		"=?utf-8?q?open":                     "=?utf-8?q?open",
		"=?utf-8?q?a?b?=":                    "=?utf-8?q?a?b?=",
		"=??q?a?=":                           "=??q?a?=",
		"=?*en?q?a?=":                        "=?*en?q?a?=",
		"a=?utf-8?q?b?=c":                    "abc",
		"=?utf-8?q?=0D=0AX:_y=00?=":          " X: y",
		"caf\xe9":                            "café",
		"caf\xe9 =?utf-8?q?=C3=A9?=":         "café é",
		"=?utf-8?q?=C3?=":                    "\uFFFD",
		"=?us-ascii?q?=E9?=":                 "é",
		"=?cp437?q?=84?=":                    "ä",
		"=?ibm850?q?=84?=":                   "ä",
		"=?cp932?b?gqA=?=":                   "あ",
		"=?utf-16?b?AOQ=?=":                  "ä",
		"=?windows-1252?q?=80?=":             "€",
		"=?cp1250?q?=9C?=":                   "ś",
		"=?hz-gb-2312?q?~{VPND~}?=":          "中文",
	} {
		if got := DecodeText(in); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}

func TestEncodeText(t *testing.T) {
	t.Parallel()
	if EncodeText("plain text") != "plain text" || EncodeText("a =? b") == "a =? b" {
		t.Error("what is to be encoded?")
	}
	long := strings.Repeat("ä", 100) + " " + strings.Repeat("x", 100)
	var h Header
	h.AddText("Subject", long)
	for line := range strings.Lines(h.String()) {
		if len(line) > 78 {
			t.Errorf("%d octets: %q", len(line), line)
		}
	}
	if h.Text("Subject") != long {
		t.Errorf("%q", h.Text("Subject"))
	}
}

func FuzzEncodedWord(f *testing.F) {
	for _, s := range []string{"", "a", "ä b", "=?utf-8?q?x?=", "日本語のとても長い件名です。日本語のとても長い件名です。", "a\r\nb", "\xff", "  x  "} {
		f.Add(s, "=?utf-8?q?=C3=A4?= =?iso-8859-1?b?5A==?= "+s)
	}
	std := new(mime.WordDecoder)
	f.Fuzz(func(t *testing.T, text, coded string) {
		enc := EncodeText(text)
		want := cleanText(text)
		if got := DecodeText(enc); !isASCII(enc) || got != want {
			t.Fatalf("%q becomes %q, then %q", text, enc, got)
		}
		if got, err := std.DecodeHeader(enc); err != nil || got != want {
			t.Fatalf("net/mail decodes %q to %q (%v), not %q", enc, got, err, want)
		}
		for word := range strings.SplitSeq(enc, " ") {
			if strings.HasPrefix(word, "=?") && len(word) > 75 {
				t.Fatalf("word of %d octets", len(word))
			}
		}
		if got := unfold(":" + FoldText(enc, 9)); got != strings.Trim(enc, " \t") {
			t.Fatalf("folding %q gives %q", enc, got)
		}
		got := DecodeText(coded)
		if !utf8.ValidString(got) || strings.ContainsAny(got, "\r\n\x00") {
			t.Fatalf("%q decodes to %q", coded, got)
		}
		if !strings.Contains(coded, "=?") && utf8.ValidString(coded) && !strings.ContainsAny(coded, "\r\n\x00") && got != coded {
			t.Fatalf("%q has no words, but becomes %q", coded, got)
		}
		if p := EncodePhrase(text); DecodeText(p) != want {
			t.Fatalf("phrase %q", p)
		}
	})
}

func TestParams(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ in, name, want string }{
		{"text/plain; charset=utf-8", "charset", "utf-8"},
		{"text/plain;charset = \"utf-8\" ; x=y", "charset", "utf-8"},
		{"text/plain; charset=us-ascii (Plain text)", "charset", "us-ascii"},
		{"a/b; name=\"a;b\\\"c\"", "name", "a;b\"c"},
		{"a/b; name=with blanks.txt; x=y", "name", "with blanks.txt"},
		{"a/b; name=\"open; x=y", "x", "y"},
		{"a/b; name*=utf-8'en'%C3%A4", "name", "ä"},
		{"a/b; name*0=a; name*1=b; name*3=d", "name", "ab"},
		{"a/b; name*1*=%C3%A4; name*0*=utf-8''x; name*2=\"%41\"", "name", "xä%41"},
		{"a/b; name=\"=?iso-8859-1?q?=E4?=\"", "name", "ä"},
		{"a/b; name*=%E4", "name", "ä"},
		{"a/b;;; =x; name", "name", ""},
	} {
		_, params := ParseParams(c.in)
		if got := ParamValue(params, c.name); got != c.want {
			t.Errorf("%q: %q, want %q", c.in, got, c.want)
		}
	}
	for _, value := range []string{"a", "a b", `a"\b`, "ä;ö", "", "100%"} {
		_, params := ParseParams("x/y" + FormatParam("name", value))
		if got := ParamValue(params, "name"); got != value {
			t.Errorf("%q became %q", value, got)
		}
	}
	for in, want := range map[string]string{"TEXT/Html; x": "text/html", "text": "", "a/b/c": "", "a / b": "a/b", "text/plain charset=x": "text/plain", "": "", "/": ""} {
		typ, sub, _, ok := ParseMediaType(in)
		if got := strings.Trim(typ+"/"+sub, "/"); got != want || ok != (want != "") {
			t.Errorf("%q: %q %v", in, got, ok)
		}
	}
}

func FuzzParams(f *testing.F) {
	f.Add("a/b; name*0*=utf-8''%C3; name*1=\"x\\\"\"; q=(c)", "file ä.txt")
	f.Fuzz(func(t *testing.T, in, value string) {
		_, params := ParseParams(unfold(":" + in))
		for _, p := range params {
			if v := ParamValue(params, p.Name); !utf8.ValidString(v) || strings.ContainsAny(v, "\r\n\x00") {
				t.Fatalf("%q", v)
			}
		}
		if want := cleanText(value); !hasControls(want) && !strings.Contains(want, "=?") && len(want) < 10000 {
			_, params := ParseParams("x" + FormatParam("n", value))
			if got := ParamValue(params, "n"); got != want {
				t.Fatalf("%q became %q", want, got)
			}
		}
	})
}

func TestParseDate(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"Mon, 6 Jan 2025 10:00:00 +0100":           "2025-01-06T10:00:00+01:00",
		"6 Jan 2025 10:00 -0330 (Newfoundland)":    "2025-01-06T10:00:00-03:30",
		"Fri, 21 Nov 97 09:55:06 GMT":              "1997-11-21T09:55:06Z",
		"21 Nov 49 09:55:06 EST":                   "2049-11-21T09:55:06-05:00",
		"21 Nov 125 09:55:06 Z":                    "2025-11-21T09:55:06Z",
		"Mon Jan  6 10:00:00 2025":                 "2025-01-06T10:00:00Z",
		"Mon Jan 6 10:00:00 CET 2025":              "2025-01-06T10:00:00+01:00",
		"6-Jan-2025 10:00:00 +0000":                "2025-01-06T10:00:00Z",
		"2025-01-06T10:00:00+02:00":                "2025-01-06T10:00:00+02:00",
		"Mon, 6 (six) January 2025 10:00:60 +9999": "2025-01-06T10:00:59Z",
		"Mon,6 Jan 2025 10:00:00":                  "2025-01-06T10:00:00Z",
		"29 Feb 2024 00:00 +0000":                  "2024-02-29T00:00:00Z",
	} {
		got, err := ParseDate(in)
		if err != nil || got.Format(time.RFC3339) != want {
			t.Errorf("%q: %v %v", in, got.Format(time.RFC3339), err)
		}
	}
	for _, in := range []string{
		"", "yesterday", "6 Jan", "32 Jan 2025 10:00", "30 Feb 2025 10:00", "6 Jan 2025 25:00", "6 Jan 2025", "6 Jan 2025 10:x",
		"- Jan 2025 10:00", "6 Jan 99999999999 10:00", "(((", strings.Repeat("1 ", 100000),
	} {
		if got, err := ParseDate(in); !mail.Is(err, mail.Invalid) {
			t.Errorf("%.40q: %v %v", in, got, err)
		}
	}
}

func FuzzDate(f *testing.F) {
	f.Add("Mon, 6 Jan 2025 10:00:00 +0100", int64(1736157600), 60)
	f.Add("6-Jan-25 1:2:3.5+01:00 PDT (x", int64(0), -3600)
	f.Fuzz(func(t *testing.T, in string, unix int64, zone int) {
		if d, err := ParseDate(in); err == nil {
			again, err := ParseDate(FormatDate(d))
			if err != nil || !again.Equal(d) {
				t.Fatalf("%q is %v, written %q: %v %v", in, d, FormatDate(d), again, err)
			}
		}
		d := time.Unix(unix%253402300799, 0).In(time.FixedZone("", zone%1400*60))
		if d.Year() >= 1000 && d.Year() <= 9999 {
			if again, err := ParseDate(FormatDate(d)); err != nil || !again.Equal(d) {
				t.Fatalf("%v written %q: %v %v", d, FormatDate(d), again, err)
			}
		}
	})
}

func TestMessageIDs(t *testing.T) {
	t.Parallel()
	for in, want := range map[string][]string{
		"<a@b> <c@d>":          {"a@b", "c@d"},
		"<a@b><c@\t d>":        {"a@b", "c@d"},
		"your mail <a@b> of x": {"a@b"},
		"a@b c@d nothing":      {"a@b", "c@d"},
		"<> <a":                nil,
		"":                     nil,
	} {
		if got := MessageIDs(in); !slices.Equal(got, want) {
			t.Errorf("%q: %q", in, got)
		}
	}
	if got := MessageIDs(strings.Repeat("<a@b>", 5000)); len(got) != maxIDs {
		t.Error(len(got))
	}
}

func TestReaders(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ encoding, in, want string }{
		{"7bit", "a\r\n", "a\r\n"},
		{"x-unknown", "=41", "=41"},
		{"base64", "SGVs\r\nbG8=\r\n", "Hello"},
		{"BASE64", "SGVsbG8", "Hello"},
		{"base64", "SGVsbG8=SGVsbG8=", "HelloHello"},
		{"base64", "S*G V-s", "Hel"},
		{"base64", "", ""},
		{"base64", "A", ""},
		{"quoted-printable", "a=\r\nb =41=e4 \t\r\nc", "ab A\xe4\r\nc"},
		{"quoted-printable", "a=  \r\nb", "ab"},
		{"quoted-printable", "=ZZ =4 = x=", "=ZZ =4 = x"},
		{"quoted-printable", "a =\nb \n", "a b\n"},
		{"quoted-printable", strings.Repeat("x", 4095) + "=41" + strings.Repeat("=42", 5000), strings.Repeat("x", 4095) + "A" + strings.Repeat("B", 5000)},
		{"quoted-printable", strings.Repeat("=", 10000), strings.Repeat("=", 9999)},
	} {
		for _, r := range []io.Reader{strings.NewReader(c.in), iotest.OneByteReader(strings.NewReader(c.in)), iotest.DataErrReader(strings.NewReader(c.in))} {
			got, err := io.ReadAll(DecodeReader(c.encoding, r))
			if err != nil || string(got) != c.want {
				t.Errorf("%s %.60q: %.80q %v", c.encoding, c.in, got, err)
			}
		}
	}
	for in, want := range map[string]string{
		"a<b>b</b>c": "abc", "a<br>b": "a\nb", "a &lt; b &amp;amp; &#228; &auml &nosuch; &": "a < b &amp; ä ä &nosuch; &",
		"x<!-- <p> -- > -->y": "xy", "1 < 2 > 0": "1 < 2 > 0", "<script>if (a<b) '</scrip>'</script>x": "x",
		"<a title=\"x>y\" href='>'>z</a>": "z", "<style>p{}</STYLE >q": "q", "<title>t</title>u": "u", "a<": "a",
	} {
		p := &Part{Type: "text", Subtype: "html", Encoding: "7bit"}
		for _, r := range []io.Reader{strings.NewReader(in), iotest.OneByteReader(strings.NewReader(in))} {
			if got, err := io.ReadAll(TextReader(p, r)); err != nil || string(got) != want {
				t.Errorf("%q: %q %v", in, got, err)
			}
		}
	}
}

func FuzzReaders(f *testing.F) {
	f.Add([]byte("Hello =\r\n w\xc3\xb6rld \t\r\n<p>&amp;"), 3)
	var kept textReaders
	f.Fuzz(func(t *testing.T, in []byte, chunk int) {
		b64 := base64.StdEncoding.EncodeToString(in)
		if got, err := io.ReadAll(DecodeReader("base64", strings.NewReader(b64))); err != nil || !bytes.Equal(got, in) {
			t.Fatalf("base64: %q %v", got, err)
		}
		var qp bytes.Buffer
		w := quotedprintable.NewWriter(&qp)
		w.Binary = true
		_, _ = w.Write(in)
		_ = w.Close()
		if got, err := io.ReadAll(DecodeReader("quoted-printable", &qp)); err != nil || !bytes.Equal(got, in) {
			t.Fatalf("quoted-printable: %q %v", got, err)
		}
		for _, charset := range []string{"utf-8", "us-ascii", "utf-7", "iso-2022-kr", "iso-2022-jp", "gb18030", "big5", "euc-jp", "euc-kr", "koi8-r", "utf-16", "hz-gb-2312", "no such"} {
			for _, encoding := range []string{"base64", "quoted-printable", "8bit"} {
				p := &Part{Type: "text", Subtype: "html", Encoding: encoding, Params: []Param{{"charset", charset}}}
				whole, err := io.ReadAll(TextReader(p, bytes.NewReader(in)))
				pieces, err2 := io.ReadAll(TextReader(p, iotest.OneByteReader(bytes.NewReader(in))))
				again, err3 := io.ReadAll(kept.reader(p, bytes.NewReader(in)))
				againPieces, err4 := io.ReadAll(kept.reader(p, iotest.HalfReader(bytes.NewReader(in))))
				if err3 != nil || err4 != nil || !bytes.Equal(whole, again) || !bytes.Equal(whole, againPieces) {
					t.Fatalf("%s %s: %q %v, kept %q %v, in pieces %q %v", charset, encoding, whole, err, again, err3, againPieces, err4)
				}
				if err != nil || err2 != nil || !bytes.Equal(whole, pieces) {
					t.Fatalf("%s %s: %q %v, in pieces %q %v", charset, encoding, whole, err, pieces, err2)
				}
			}
		}
	})
}

// match looks for a text in what r gives.
func match(f *Finder, r io.Reader) (found bool, err error) {
	f.Reset()
	err = new(Texts).read(r, func(text []byte, last bool) error {
		if found = f.Find(Piece{InBody, text, last}); found {
			return errEnough
		}
		return nil
	})
	if found {
		err = nil
	}
	return found, err
}

func contains(r io.Reader, text string) (bool, error) { return match(NewFinder(text), r) }

func TestContains(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		text, needle string
		want         bool
	}{
		{"Hello World", "LO WO", true},
		{"Hello", "", true},
		{"", "x", false},
		{"Straße", "STRASSE", false},
		{"GRÜSSE", "grüsse", true},
		{"Привет Мир", "МИР", true},
		{"ΣΊΣΥΦΟΣ", "σίσυφος", true},
		{"ﬁle", "FILE", true},
		{"日本語", "本", true},
		{"abcabd", "abd", true},
		{"e\u0301", "é", true},
		{"a\r\nb", "a b", false},
		{"Ǆ", "ǆ", true},
	} {
		m := NewFinder(c.needle)
		for _, r := range []io.Reader{strings.NewReader(c.text), iotest.OneByteReader(strings.NewReader(c.text)), strings.NewReader(c.text)} {
			if got, err := match(m, r); err != nil || got != c.want {
				t.Errorf("%q in %q: %v %v", c.needle, c.text, got, err)
			}
		}
		if m.FindString(c.text) != c.want {
			t.Errorf("%q in %q as strings", c.needle, c.text)
		}
	}
	if _, err := contains(iotest.ErrReader(io.ErrUnexpectedEOF), "x"); err != io.ErrUnexpectedEOF {
		t.Error(err)
	}
}

func FuzzContains(f *testing.F) {
	f.Add("Hällo Wörld", "LÖ", 5)
	f.Fuzz(func(t *testing.T, text, needle string, at int) {
		m := NewFinder(needle)
		want := strings.Contains(Fold(text), Fold(needle))
		for _, r := range []io.Reader{strings.NewReader(text), iotest.OneByteReader(strings.NewReader(text))} {
			if got, err := match(m, r); err != nil || got != want {
				t.Fatalf("%q in %q: %v %v, want %v", needle, text, got, err, want)
			}
		}
		if Fold(strings.ToUpper(needle)) == Fold(needle) && strings.Contains(Fold(text+needle), Fold(needle)) {
			if ok, _ := contains(strings.NewReader(text+strings.ToUpper(needle)), needle); !ok && utf8.ValidString(text+needle) {
				t.Fatalf("%q is not found in upper case", needle)
			}
		}
	})
}

func BenchmarkContains(b *testing.B) {
	text := strings.Repeat("The quick brown fox jumps over the lazy dog. ", 110)
	m := NewFinder("not there")
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		_, _ = match(m, strings.NewReader(text))
	}
}
