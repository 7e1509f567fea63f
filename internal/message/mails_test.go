package message

import (
	"bytes"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "rewrite the golden files")

type testMail struct{ name, text string }

// mails gives the mails in testdata/mails.
func mails(t testing.TB) []testMail {
	t.Helper()
	names, err := filepath.Glob("testdata/mails/*.eml")
	if err != nil || len(names) < 40 {
		t.Fatal(len(names), err)
	}
	var list []testMail
	for _, name := range names {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, testMail{filepath.Base(name), string(b)})
	}
	return list
}

// TestMailsAreCRLF keeps the mails fit for DATA, APPEND and POP3, which only take whole lines.
func TestMailsAreCRLF(t *testing.T) {
	t.Parallel()
	for _, m := range mails(t) {
		rest := strings.ReplaceAll(m.text, "\r\n", "")
		if strings.ContainsAny(rest, "\r\n\x00") || !strings.HasSuffix(m.text, "\r\n") {
			t.Errorf("%s has other line ends than CRLF", m.name)
		}
	}
}

// TestMails compares what is found out about each mail with a reviewed file.
func TestMails(t *testing.T) {
	t.Parallel()
	var b strings.Builder
	for _, m := range mails(t) {
		root := parse(t, Limits{}, m.text)
		checkTree(t, root, int64(len(m.text)))
		h, _ := ParseHeader(m.text)
		if h.String()+m.text[root.BodyStart:] != m.text {
			t.Errorf("%s: header and body are not the message", m.name)
		}
		if d := cmp.Diff(h.Envelope(), root.Envelope); d != "" {
			t.Errorf("%s: two envelopes: %s", m.name, d)
		}
		if dec, err := Decode(root.AppendBinary(nil)); err != nil || treeDiff(root, dec) != "" {
			t.Errorf("%s: codec: %v", m.name, err)
		}
		fmt.Fprintf(&b, "== %s: %d octets, tree %d, fields %d, partial %v, attachment %v\n", m.name, len(m.text),
			len(root.AppendBinary(nil)), len(root.Summary.Fields), root.Summary.Partial, root.Summary.Attachment)
		fmt.Fprintf(&b, "subject %.80q\n", h.Text("Subject"))
		fmt.Fprintf(&b, "preview %q\n", root.Summary.Preview)
		describe(&b, root, m.text, "", 0)
	}
	golden(t, "testdata/mails.golden", b.String())
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(name, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(name)
	if d := cmp.Diff(strings.Split(string(want), "\n"), strings.Split(got, "\n")); d != "" || err != nil {
		t.Errorf("%s: %v %s", name, err, d)
	}
}

// describe writes what the golden file shows of a part.
func describe(b *strings.Builder, p *Part, text, path string, depth int) {
	in := strings.Repeat(" ", min(depth, 4))
	fmt.Fprintf(b, "%s[%s] %s/%s %s %d-%d-%d %d lines", in, path, p.Type, p.Subtype, p.Encoding, p.HeaderStart, p.BodyStart, p.End, p.Lines)
	for _, param := range p.Params {
		fmt.Fprintf(b, " %s=%q", param.Name, param.Value)
	}
	if name := p.Filename(); name != "" {
		fmt.Fprintf(b, " file %q", name)
	}
	for _, s := range []string{p.ID, p.Description, p.Disposition, p.MD5, p.Location, strings.Join(p.Language, ",")} {
		if s != "" {
			fmt.Fprintf(b, " %q", s)
		}
	}
	b.WriteByte('\n')
	if e := p.Envelope; e != nil {
		fmt.Fprintf(b, "%s%.40q %.40q %.60q %.40q\n", in, e.Date, e.Subject, e.InReplyTo, e.MessageID)
		for i, list := range [][]Address{e.From, e.Sender, e.ReplyTo, e.To, e.Cc, e.Bcc} {
			fmt.Fprintf(b, "%s%s %.300s\n", in, []string{"from", "sender", "reply-to", "to", "cc", "bcc"}[i], fmt.Sprintf("%q", list))
		}
	}
	if len(p.Children) == 0 && p.Type == "text" {
		decoded, _ := io.ReadAll(TextReader(p, strings.NewReader(text[p.BodyStart:p.End])))
		fmt.Fprintf(b, "%s%.100q\n", in, decoded)
	}
	for i, c := range p.Children {
		if i >= 10 {
			fmt.Fprintf(b, "%s and %d more\n", in, len(p.Children)-i)
			break
		}
		describe(b, c, text, strings.TrimPrefix(fmt.Sprintf("%s.%d", path, i+1), "."), depth+1)
	}
}

func TestEditHeader(t *testing.T) {
	t.Parallel()
	for _, m := range mails(t) {
		r, err := EditHeader(strings.NewReader(m.text), 0, func(h *Header) error {
			h.Prepend("Received", "from x\r\nby y")
			return nil
		})
		if err != nil {
			t.Fatal(m.name, err)
		}
		got, err := io.ReadAll(r)
		want := "Received: from x\r\n by y\r\n" + m.text
		if err != nil || !bytes.Equal(got, []byte(want)) {
			t.Errorf("%s: %v, edited message differs", m.name, err)
		}
	}
}
