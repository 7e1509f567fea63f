package message

import (
	"bytes"
	"io"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Sizes of the preview and of what is looked at for it.
const (
	maxPreview   = 256      // characters
	maxPlainText = 2 << 10  // octets of text/plain as they came
	maxHTMLText  = 16 << 10 // octets of text/html as they came, because style sheets come first
)

// previewer keeps the front of the first text/plain part, and of the first text/html part while the former has no
// text.
type previewer struct {
	leaf        *Part // the part that is being kept, nil for none
	plain, html sample
}

type sample struct {
	part *Part
	body []byte
}

func (v *previewer) reset() previewer {
	return previewer{plain: sample{body: v.plain.body[:0]}, html: sample{body: v.html.body[:0]}}
}

// start is told of each leaf before its body.
func (v *previewer) start(part *Part, visible bool) {
	v.leaf = nil
	if !visible || part.Type != "text" || part.Disposition == "attachment" {
		return
	}
	switch {
	case part.Subtype == "plain" && v.plain.part == nil:
		v.plain.part, v.leaf = part, part
	case part.Subtype == "html" && v.html.part == nil && len(bytes.TrimSpace(v.plain.body)) == 0:
		v.html.part, v.leaf = part, part
	}
}

func (v *previewer) write(piece []byte) {
	if v.leaf == nil {
		return
	}
	s, limit := &v.plain, maxPlainText
	if v.leaf == v.html.part {
		s, limit = &v.html, maxHTMLText
	}
	n := min(len(piece), limit-len(s.body))
	s.body = append(s.body, piece[:n]...)
	if len(s.body) == limit {
		v.leaf = nil
	}
}

// text gives the preview: on one line, without control characters.
func (v *previewer) text() string {
	if s := v.plain.text(maxPreview); s != "" {
		return s
	}
	return v.html.text(maxPreview)
}

func (s *sample) text(limit int) string {
	if s.part == nil || len(s.body) == 0 {
		return ""
	}
	body := decodeBody(s.part.Encoding, s.body)
	text, _ := DecodeCharset(s.part.Param("charset"), body)
	if s.part.Subtype == "html" {
		stripped, _ := io.ReadAll(newHTMLReader(strings.NewReader(text))) // a reader over memory does not fail
		text = string(stripped)
	}
	return squeeze(text, limit)
}

// squeeze makes every run of blanks one space and cuts after limit characters.
func squeeze(s string, limit int) string {
	b := make([]byte, 0, min(len(s), 2*limit))
	blank := false
	for n := 0; s != "" && n < limit; {
		r, size := rune(s[0]), 1
		if r >= utf8.RuneSelf {
			r, size = utf8.DecodeRuneInString(s)
		}
		s = s[size:]
		switch {
		case isBlank(r):
			blank = n > 0
			continue
		case r < ' ' || r >= 0x7f && r < 0xa0: // control characters
			continue
		}
		if blank {
			blank = false
			b = append(b, ' ')
			if n++; n == limit {
				break
			}
		}
		b = utf8.AppendRune(b, r)
		n++
	}
	return strings.TrimRight(string(b), " \uFFFD") // also a character cut by the end of the sample
}

// isBlank tells whether r shows nothing: spaces, line ends, and the marks that mailers fill previews with.
func isBlank(r rune) bool {
	if r < utf8.RuneSelf {
		return r == ' ' || r >= '\t' && r <= '\r'
	}
	return unicode.IsSpace(r) || r == 0xfeff || r >= 0x200b && r <= 0x200f || r == 0x34f || r == 0xad
}
