package message

import (
	"html"
	"io"
	"strings"
)

// htmlReader gives the text of HTML in UTF-8: tags and comments go, entities are decoded, blocks and line breaks become
// a line end; scripts, styles and the title are left out. It is for search and previews, not for showing.
type htmlReader struct {
	r    io.Reader
	in   [4096]byte
	out  []byte // stripped, not yet read
	own  []byte // room for out
	err  error
	mode htmlMode
	quot byte   // the quote that is open in a tag, 0 for none
	word []byte // front of the tag or entity that is being read
	skip string // the element whose text is left out, "" for none
}

type htmlMode uint8

const (
	htmlText htmlMode = iota
	htmlTag
	htmlComment
	htmlEntity
)

const (
	maxHTMLTag    = 16 // octets of a tag's front that are looked at
	maxHTMLEntity = 32
)

func newHTMLReader(r io.Reader) *htmlReader { return &htmlReader{r: r} }

func (d *htmlReader) Read(p []byte) (int, error) {
	for len(d.out) == 0 {
		if d.err != nil {
			return 0, d.err
		}
		n, err := d.r.Read(d.in[:])
		d.own = d.own[:0]
		for _, c := range d.in[:n] {
			d.put(c)
		}
		if d.err = err; err != nil && d.mode == htmlEntity {
			d.text(d.word)
		}
		d.out = d.own
	}
	n := copy(p, d.out)
	d.out = d.out[n:]
	return n, nil
}

func (d *htmlReader) put(c byte) {
	switch d.mode {
	case htmlText:
		switch {
		case c == '<':
			d.mode, d.word, d.quot = htmlTag, d.word[:0], 0
		case c == '&' && d.skip == "":
			d.mode, d.word = htmlEntity, append(d.word[:0], c)
		case d.skip == "":
			d.own = append(d.own, c)
		}
	case htmlTag:
		d.tag(c)
	case htmlComment:
		if c == '>' && strings.HasSuffix(string(d.word), "--") {
			d.mode = htmlText
			return
		}
		if len(d.word) < 2 {
			d.word = append(d.word, c)
		} else {
			d.word[0], d.word[1] = d.word[1], c
		}
	case htmlEntity:
		d.entity(c)
	}
}

// text writes what turned out to be text.
func (d *htmlReader) text(b []byte) {
	if d.skip == "" {
		d.own = append(d.own, b...)
	}
}

func (d *htmlReader) tag(c byte) {
	switch {
	case len(d.word) == 0 && !isAlnum(c) && c != '/' && c != '!' && c != '?':
		d.text([]byte{'<'}) // "a < b" is no tag
		d.mode = htmlText
		d.put(c)
	case d.quot != 0:
		if c == d.quot {
			d.quot = 0
		}
	case c == '>':
		d.mode = htmlText
		d.endTag()
	case (c == '"' || c == '\'') && d.skip == "" && len(d.word) > 0 && d.word[len(d.word)-1] == '=':
		d.quot = c
	default:
		if len(d.word) == maxHTMLTag {
			d.word[maxHTMLTag-1] = c // the last octet tells where a quoted value starts
		} else {
			d.word = append(d.word, c)
		}
		if string(d.word) == "!--" {
			d.mode, d.word = htmlComment, d.word[:0]
		}
	}
}

// endTag looks at the name of the tag that has ended.
func (d *htmlReader) endTag() {
	name := strings.ToLower(string(d.word))
	if i := strings.IndexAny(name, " \t\r\n="); i >= 0 {
		name = name[:i]
	}
	if d.skip != "" {
		if name == "/"+d.skip {
			d.skip = ""
		}
		return
	}
	switch strings.Trim(name, "/") {
	case "script", "style", "title":
		if name[0] != '/' && !strings.HasSuffix(name, "/") {
			d.skip = name
		}
	case "br", "p", "div", "tr", "td", "th", "li", "ul", "ol", "dl", "dt", "dd", "table", "h1", "h2", "h3", "h4", "h5",
		"h6", "hr", "blockquote", "pre", "center", "section", "article", "header", "footer", "body", "head", "option":
		d.own = append(d.own, '\n')
	}
}

func (d *htmlReader) entity(c byte) {
	if c == ';' {
		d.mode = htmlText
		d.text([]byte(html.UnescapeString(string(d.word) + ";")))
		return
	}
	if (isAlnum(c) || c == '#' && len(d.word) == 1) && len(d.word) < maxHTMLEntity {
		d.word = append(d.word, c)
		return
	}
	d.mode = htmlText
	d.text([]byte(html.UnescapeString(string(d.word))))
	d.put(c)
}
