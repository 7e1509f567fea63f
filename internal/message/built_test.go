package message

import (
	"bytes"
	"fmt"
	"io"
	"mime/multipart"
	"strings"
	"testing"
)

// built is a part that a fuzz input describes.
type built struct {
	kind     byte // 0 leaf, 1 multipart, 2 message
	body     string
	children []*built
}

// builder takes the description from the front of in.
type builder struct {
	in    []byte
	parts int
}

func (b *builder) next() byte {
	if len(b.in) == 0 {
		return 0
	}
	c := b.in[0]
	b.in = b.in[1:]
	return c
}

func (b *builder) part(depth int) *built {
	b.parts++
	p := &built{kind: b.next() % 3}
	if depth > 8 || b.parts > 40 {
		p.kind = 0
	}
	switch p.kind {
	case 0:
		for range b.next() % 8 {
			p.body += []string{"text", "\r\n", "--", "--b1", "-", "\n", "--b0--x", "--b1\r", "Content-Type: a/b", " "}[b.next()%10]
		}
		if strings.Contains("\n"+strings.ReplaceAll(p.body, "\r", ""), "\n--b") {
			p.body = "x" + strings.ReplaceAll(p.body, "--b", "-- b")
		}
	case 1:
		for range 1 + b.next()%4 {
			p.children = append(p.children, b.part(depth+1))
		}
	case 2:
		p.children = []*built{b.part(depth + 1)}
	}
	return p
}

// write gives the part with its header; each depth has a boundary of its own.
func (p *built) write(depth int) string {
	var b strings.Builder
	switch p.kind {
	case 0:
		b.WriteString("Content-Type: application/x-leaf\r\n\r\n" + p.body)
	case 1:
		fmt.Fprintf(&b, "Content-Type: multipart/x-many; boundary=\"b%d\"\r\n\r\npreamble", depth)
		for _, c := range p.children {
			fmt.Fprintf(&b, "\r\n--b%d\r\n%s", depth, c.write(depth+1))
		}
		fmt.Fprintf(&b, "\r\n--b%d--\r\nepilogue", depth)
	case 2:
		b.WriteString("Content-Type: message/rfc822\r\n\r\n" + p.children[0].write(depth+1))
	}
	return b.String()
}

func (p *built) compare(t *testing.T, part *Part, text string) {
	t.Helper()
	if want := []string{"application", "multipart", "message"}[p.kind]; part.Type != want || len(part.Children) != len(p.children) {
		t.Fatalf("%s with %d children, want %s with %d in %q", part.Type, len(part.Children), want, len(p.children), text)
	}
	body := text[part.BodyStart:part.End]
	if int(part.Lines) != strings.Count(body, "\n") {
		t.Fatalf("%d lines in %q", part.Lines, body)
	}
	if p.kind == 0 && body != p.body {
		t.Fatalf("body %q, want %q", body, p.body)
	}
	if p.kind == 1 {
		compareMultipart(t, part, text)
	}
	for i, c := range p.children {
		c.compare(t, part.Children[i], text)
	}
}

// compareMultipart compares with the standard library.
func compareMultipart(t *testing.T, part *Part, text string) {
	t.Helper()
	r := multipart.NewReader(strings.NewReader(text[part.BodyStart:part.End]), part.Param("boundary"))
	for _, c := range part.Children {
		std, err := r.NextRawPart()
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(std)
		if err != nil || !bytes.Equal(body, []byte(text[c.BodyStart:c.End])) {
			t.Fatalf("mime/multipart reads %q (%v), we read %q", body, err, text[c.BodyStart:c.End])
		}
	}
	if _, err := r.NextRawPart(); err != io.EOF {
		t.Fatalf("mime/multipart reads more: %v", err)
	}
}

// FuzzBuilt parses what was built and expects what it was built of.
func FuzzBuilt(f *testing.F) {
	f.Add([]byte{1, 2, 0, 3, 0, 1, 2, 1, 1, 0, 2, 0, 0})
	f.Add([]byte{2, 1, 3, 2, 0, 1, 0, 0, 0, 0, 1, 1, 0, 5, 4, 3, 2, 1, 0})
	f.Fuzz(func(t *testing.T, in []byte) {
		b := &builder{in: in}
		p := b.part(0)
		text := p.write(0)
		root := parse(t, Limits{}, text)
		checkTree(t, root, int64(len(text)))
		p.compare(t, root, text)
	})
}
