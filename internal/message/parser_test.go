package message

import (
	"fmt"
	"io"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// crlf turns the line ends of a test's literal into CRLF.
func crlf(s string) string {
	return strings.ReplaceAll(strings.TrimPrefix(s, "\n"), "\n", "\r\n")
}

func parse(t testing.TB, l Limits, s string) *Part {
	t.Helper()
	p := NewParser(l)
	if _, err := io.WriteString(p, s); err != nil {
		t.Fatal(err)
	}
	root, err := p.Close()
	if err != nil {
		t.Fatal(err)
	}
	return root
}

// outline writes a tree in a line a part: depth, type, size, lines, and the body when it is short.
func outline(root *Part, s string) string {
	var b strings.Builder
	var walk func(p *Part, path string)
	walk = func(p *Part, path string) {
		fmt.Fprintf(&b, "%s %s/%s %s %d lines", path, p.Type, p.Subtype, p.Encoding, p.Lines)
		if len(p.Children) == 0 {
			fmt.Fprintf(&b, " %q", s[p.BodyStart:p.End])
		}
		if p.Truncated {
			b.WriteString(" truncated")
		}
		b.WriteByte('\n')
		for i, c := range p.Children {
			walk(c, fmt.Sprintf("%s.%d", path, i+1))
		}
	}
	walk(root, "0")
	return b.String()
}

// treeDiff tells where two trees differ first. (cmp.Diff takes exponential time on deep ones.)
func treeDiff(a, b *Part) string {
	if reflect.DeepEqual(a, b) {
		return ""
	}
	x, y := *a, *b
	x.Children, y.Children = nil, nil
	if !reflect.DeepEqual(x, y) || len(a.Children) != len(b.Children) {
		return fmt.Sprintf("%+v %+v %+v\n%+v %+v %+v", x, x.Envelope, x.Summary, y, y.Envelope, y.Summary)
	}
	for i := range a.Children {
		if d := treeDiff(a.Children[i], b.Children[i]); d != "" {
			return d
		}
	}
	return "unknown difference"
}

func TestParserTrees(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, in, want string }{
		{"empty", "", "0 text/plain 7bit 0 lines \"\"\n"},
		{"no header", "\n\nhello\n", "0 text/plain 7bit 1 lines \"hello\\r\\n\"\n"},
		{"no body", "Subject: x\n", "0 text/plain 7bit 0 lines \"\"\n"},
		{"mixed", `
Content-Type: multipart/mixed; boundary="a b"

preamble
--a b
Content-Type: TEXT/HTML
Content-Transfer-Encoding: Quoted-Printable

one
two
--a b  

three

--a b--
epilogue
--a b
`, `0 multipart/mixed 7bit 14 lines
0.1 text/html quoted-printable 1 lines "one\r\ntwo"
0.2 text/plain 7bit 1 lines "three\r\n"
`},
		{"outer boundary ends inner parts", `
Content-Type: multipart/mixed; boundary=o

--o
Content-Type: multipart/alternative; boundary=i

--i

x
--o

y
--o--
`, `0 multipart/mixed 7bit 10 lines
0.1 multipart/alternative 7bit 2 lines
0.1.1 text/plain 7bit 0 lines "x"
0.2 text/plain 7bit 0 lines "y"
`},
		{"never closed", "Content-Type: multipart/mixed; boundary=o\n\n--o\n\nx\ny", `0 multipart/mixed 7bit 3 lines
0.1 text/plain 7bit 1 lines "x\r\ny"
`},
		{"no boundary", "Content-Type: multipart/mixed\n\n--o\n\nx\n", `0 text/plain 7bit 3 lines "--o\r\n\r\nx\r\n"
`},
		{
			"boundary that never comes", "Content-Type: multipart/mixed; boundary=b\n\n--o\n\nx\n",
			`0 text/plain 7bit 3 lines "--o\r\n\r\nx\r\n"
`,
		},
		{
			"digest", "Content-Type: multipart/digest; boundary=d\n\n--d\n\nSubject: in\n\nbody\n--d--\n",
			`0 multipart/digest 7bit 6 lines
0.1 message/rfc822 7bit 2 lines
0.1.1 text/plain 7bit 0 lines "body"
`,
		},
		{
			"empty embedded", "Content-Type: multipart/mixed; boundary=d\n\n--d\nContent-Type: message/rfc822\n\n--d--\n",
			`0 multipart/mixed 7bit 4 lines
0.1 message/rfc822 7bit 0 lines
0.1.1 text/plain 7bit 0 lines ""
`,
		},
		{
			"header only embedded", "Content-Type: multipart/mixed; boundary=d\n\n--d\nContent-Type: message/rfc822\n\nSubject: x\n\n--d--\n",
			`0 multipart/mixed 7bit 6 lines
0.1 message/rfc822 7bit 1 lines
0.1.1 text/plain 7bit 0 lines ""
`,
		},
		{
			"encoded message", "Content-Type: message/rfc822\nContent-Transfer-Encoding: base64\n\nAAAA\n",
			`0 application/octet-stream base64 1 lines "AAAA\r\n"
`,
		},
		{
			"part without empty line", "Content-Type: multipart/mixed; boundary=d\n\n--d\nContent-Type: image/png\n--d--",
			`0 multipart/mixed 7bit 2 lines
0.1 image/png 7bit 0 lines ""
`,
		},
		{"boundary extends another", `
Content-Type: multipart/mixed; boundary=b

--b
Content-Type: multipart/mixed; boundary=b1

--b1

x
--b1--
--b--
`, `0 multipart/mixed 7bit 8 lines
0.1 multipart/mixed 7bit 3 lines
0.1.1 text/plain 7bit 0 lines "x"
`},
		{"same boundary inside", `
Content-Type: multipart/mixed; boundary=b

--b
Content-Type: multipart/mixed; boundary=b

--b

x
--b--
--b

y
--b--
`, `0 multipart/mixed 7bit 11 lines
0.1 multipart/mixed 7bit 3 lines
0.1.1 text/plain 7bit 0 lines "x"
0.2 text/plain 7bit 0 lines "y"
`},
		{
			"long boundary", "Content-Type: multipart/mixed; boundary=" + strings.Repeat("b", 251) + "\n\nx\n",
			"0 text/plain 7bit 1 lines \"x\\r\\n\"\n",
		},
	} {
		in := crlf(c.in)
		if got := outline(parse(t, Limits{}, in), in); got != c.want {
			t.Errorf("%s:\n%s\nwant\n%s", c.name, got, c.want)
		}
	}
}

func TestParserLimits(t *testing.T) {
	t.Parallel()
	in := crlf(`
Content-Type: multipart/mixed; boundary=b

--b

1
--b

2
--b

3
--b--
`)
	root := parse(t, Limits{Parts: 3}, in)
	want := `0 multipart/mixed 7bit 10 lines truncated
0.1 text/plain 7bit 0 lines "1"
0.2 application/octet-stream binary 6 lines "\r\n2\r\n--b\r\n\r\n3\r\n--b--\r\n" truncated
`
	if got := outline(root, in); got != want {
		t.Errorf("parts:\n%s\nwant\n%s", got, want)
	}
	in = "Content-Type: multipart/a; boundary=a\r\n\r\n--a\r\nContent-Type: multipart/b; boundary=b\r\n\r\n--b\r\n\r\nx\r\n--b--\r\n--a\r\n\r\ny"
	want = `0 multipart/a 7bit 9 lines truncated
0.1 application/octet-stream 7bit 3 lines "--b\r\n\r\nx\r\n--b--" truncated
0.2 text/plain 7bit 0 lines "y"
`
	if got := outline(parse(t, Limits{Depth: 2}, in), in); got != want {
		t.Errorf("depth:\n%s\nwant\n%s", got, want)
	}
	in = "X: " + strings.Repeat("x", 100) + "\r\nContent-Type: multipart/a; boundary=a\r\n\r\n--a\r\n\r\n\r\n--a--\r\n"
	if root := parse(t, Limits{Header: 50}, in); !root.Truncated || root.Type != "text" || in[root.BodyStart:] != "--a\r\n\r\n\r\n--a--\r\n" {
		t.Errorf("header: %+v", root)
	}
	to := "To: " + strings.Repeat("alice@example.org, ", 5000) + "\r\nSubject: last\r\n\r\n"
	if root := parse(t, Limits{Text: 150000}, to); !root.Truncated || len(root.Envelope.To) == 0 || len(root.Envelope.To) > 1000 {
		t.Errorf("text: %d addresses, truncated %v", len(root.Envelope.To), root.Truncated)
	}
}

// checkTree proves the invariants of the package doc.
func checkTree(t testing.TB, root *Part, size int64) {
	t.Helper()
	if root.HeaderStart != 0 || root.End != size || root.Summary == nil || root.Envelope == nil {
		t.Fatalf("root: %+v of %d octets", root, size)
	}
	if len(root.Summary.Fields) > MaxKeptFields || len([]rune(root.Summary.Preview)) > maxPreview {
		t.Fatalf("summary: %+v", root.Summary)
	}
	root.Walk(func(p *Part) bool {
		if p.HeaderStart > p.BodyStart || p.BodyStart > p.End || p.Lines < 0 || p.Lines > p.Size() {
			t.Fatalf("offsets %+v", p)
		}
		if p.Type == "" || p.Subtype == "" || p.Encoding == "" || p.Type == "multipart" && len(p.Children) == 0 ||
			p.Type == "message" && p.Subtype == "rfc822" && (len(p.Children) != 1 || p.Children[0].Envelope == nil) {
			t.Fatalf("type %+v", p)
		}
		from := p.BodyStart
		for _, c := range p.Children {
			if c.HeaderStart < from || c.End > p.End {
				t.Fatalf("child %+v of %+v", c, p)
			}
			from = c.End
		}
		if p.IsMessage() && (p.Children[0].HeaderStart != p.BodyStart || p.Children[0].End != p.End) {
			t.Fatalf("message %+v in %+v", p.Children[0], p)
		}
		return true
	})
}

func FuzzParser(f *testing.F) {
	for _, m := range mails(f) {
		f.Add(m.text, 7)
	}
	f.Add("Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\nx\r\n--b--", 1)
	f.Add("Content-Type: multipart/digest; boundary=b\n\n--b\n\nA: \n b\r\n\r\n--b\n--b--\r", 3)
	f.Fuzz(func(t *testing.T, in string, chunk int) {
		limits := Limits{Depth: 10, Parts: 50, Header: 2000, Text: 5000}
		root := parse(t, limits, in)
		checkTree(t, root, int64(len(in)))
		if chunk < 1 || chunk > 5000 {
			chunk = 1
		}
		p := NewParser(limits)
		for rest := []byte(in); len(rest) > 0; {
			n := min(chunk, len(rest))
			_, _ = p.Write(rest[:n])
			rest = rest[n:]
		}
		again, _ := p.Close()
		if d := treeDiff(root, again); d != "" {
			t.Fatalf("writes of %d octets give another tree: %s", chunk, d)
		}
		p.Reset()
		_, _ = io.WriteString(p, in)
		again, _ = p.Close()
		if d := treeDiff(root, again); d != "" {
			t.Fatalf("Reset leaves something behind: %s", d)
		}
		dec, err := Decode(root.AppendBinary(nil))
		if d := treeDiff(root, dec); d != "" || err != nil {
			t.Fatalf("codec: %v %s", err, d)
		}
		if h, body := ParseHeader(in); len(in) < limits.Header && (int64(body) != root.BodyStart || h.Size() != body) {
			t.Fatalf("header of %d octets, body at %d, parser says %d", h.Size(), body, root.BodyStart)
		}
	})
}

func FuzzDecode(f *testing.F) {
	for _, m := range mails(f) {
		f.Add(parse(f, Limits{}, m.text).AppendBinary(nil))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := Decode(b)
		if err != nil {
			return
		}
		top, err := DecodeTop(b)
		if d := cmp.Diff(p.Summary, top.Summary); err != nil || d != "" || p.End != top.End {
			t.Fatalf("the top alone: %v %s", err, d)
		}
		again, err := Decode(p.AppendBinary(nil))
		if d := treeDiff(p, again); d != "" || err != nil {
			t.Fatalf("%v %s", err, d)
		}
	})
}

func TestShift(t *testing.T) {
	t.Parallel()
	in := crlf("Content-Type: multipart/mixed; boundary=b\n\n--b\nContent-Type: message/rfc822\n\nA: b\n\nx\n--b--\n")
	prefix := "Return-Path: <>\r\nReceived: from x\r\n"
	shifted := parse(t, Limits{}, in)
	shifted.Shift(int64(len(prefix)))
	want := parse(t, Limits{}, prefix+in)
	if d := treeDiff(want, shifted); d != "" {
		t.Error(d)
	}
}

func TestFind(t *testing.T) {
	t.Parallel()
	// The example of RFC 3501 §6.4.5.
	in := crlf(`
Content-Type: multipart/mixed; boundary=a

--a
Content-Type: text/plain

1
--a
Content-Type: application/octet-stream

2
--a
Content-Type: message/rfc822

Content-Type: multipart/mixed; boundary=b

--b
Content-Type: text/plain

3.1
--b
Content-Type: application/octet-stream

3.2
--b--
--a
Content-Type: multipart/mixed; boundary=c

--c
Content-Type: image/gif

4.1
--c
Content-Type: message/rfc822

Content-Type: multipart/mixed; boundary=d

--d
Content-Type: text/plain

4.2.1
--d
Content-Type: multipart/alternative; boundary=e

--e
Content-Type: text/plain

4.2.2.1
--e
Content-Type: text/richtext

4.2.2.2
--e--
--d--
--c
Content-Type: message/rfc822

A: b

4.3.1
--c--
--a--
`)
	root := parse(t, Limits{}, in)
	for path, want := range map[string]string{
		"1": "1", "2": "2", "3.1": "3.1", "3.2": "3.2", "4.1": "4.1",
		"4.2.1": "4.2.1", "4.2.2.1": "4.2.2.1", "4.2.2.2": "4.2.2.2", "4.3.1": "4.3.1",
	} {
		var nums []int
		for n := range strings.SplitSeq(path, ".") {
			nums = append(nums, int(n[0]-'0'))
		}
		if p := root.Find(nums...); p == nil || in[p.BodyStart:p.End] != want {
			t.Errorf("%s: %+v", path, p)
		}
	}
	for _, path := range [][]int{{0}, {5}, {1, 1}, {3, 3}, {3, 1, 1}, {4, 3, 2}, {4, 3, 1, 1}, {-1}} {
		if p := root.Find(path...); p != nil {
			t.Errorf("%v is there: %+v", path, p)
		}
	}
	if p := root.Find(3); !p.IsMessage() || p.Children[0].Envelope == nil {
		t.Errorf("3: %+v", p)
	}
	single := parse(t, Limits{}, "A: b\r\n\r\nx")
	if single.Find(1) != single || single.Find(2) != nil || single.Find() != single || single.Find(1, 1) != nil {
		t.Error("a message that is no multipart has the part 1 alone")
	}
}
