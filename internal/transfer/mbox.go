package transfer

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"postel/internal/mail"
)

// MaxMessage is the largest message that is taken from a source, in octets.
const MaxMessage = 512 << 20

// mboxReader splits an mbox file (RFC 4155, and its kin mboxo, mboxrd, mboxcl) into messages.
//
// A message begins at a line "From " with something like an address and a date behind it, at the beginning of the file
// or behind an empty line. With a Content-Length that leads exactly to the next such line, or to the end, what looks
// like one within the content is content; else lines ">From ", with any number of ">", lose one.
type mboxReader struct {
	r    *bufio.Reader
	from string // the From_ line of the next message
}

// mboxItem is one message of an mbox.
type mboxItem struct {
	from    string // the From_ line, without its end
	flags   []string
	date    time.Time
	content spool
}

// fromLine is liberal: any time of day behind any sender, and what follows.
var fromLine = regexp.MustCompile(`^From .*\b\d{1,2}:\d\d(:\d\d)?\b.*\d{4}`)

// isFrom tells whether a line separates messages.
func isFrom(line []byte) bool {
	return bytes.HasPrefix(line, []byte("From ")) && len(line) < 2048 && fromLine.Match(line)
}

// newMbox gives a reader; Kind Invalid when the file is no mbox, io.EOF when it is empty.
func newMbox(r io.Reader) (*mboxReader, error) {
	m := &mboxReader{r: bufio.NewReaderSize(r, 1<<20)}
	for {
		line, err := m.r.ReadSlice('\n')
		if len(bytes.TrimRight(line, "\r\n")) == 0 && err == nil {
			continue // empty lines in front
		}
		if len(line) == 0 {
			return nil, io.EOF
		}
		if !isFrom(line) {
			return nil, mail.E("transfer.mbox", mail.Invalid, "not an mbox: it does not begin with a From_ line")
		}
		m.from = string(bytes.TrimRight(line, "\r\n"))
		return m, nil
	}
}

// next reads the next message into it, io.EOF behind the last.
func (m *mboxReader) next(it *mboxItem) error {
	if m.from == "" {
		return io.EOF
	}
	it.from, it.flags, it.date = m.from, nil, fromDate(m.from)
	m.from = ""
	if err := it.content.reset(); err != nil {
		return err
	}
	h := &mboxHeader{length: -1}
	if err := m.header(it, h); err != nil {
		return err
	}
	it.flags = h.flags()
	if m.from != "" { // a header and no body
		return nil
	}
	if h.length >= 0 && m.leads(h.length) {
		return m.exactly(it, h.length)
	}
	return m.body(it)
}

// header copies the header section without the fields that carry flags. It ends behind the empty line, or before the
// next From_ line.
func (m *mboxReader) header(it *mboxItem, h *mboxHeader) error {
	whole, skip, first := true, false, true // whole: a line begins
	for {
		line, err := m.r.ReadSlice('\n')
		if len(line) > 0 {
			if whole {
				skip = h.field(line, skip, first)
			}
			first = false
			if whole && len(bytes.TrimRight(line, "\r\n")) == 0 {
				return m.headerEnd(it, slices.Clone(line), err)
			}
			if !skip {
				if werr := m.write(it, line); werr != nil {
					return werr
				}
			}
		}
		whole = err == nil
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
			return eofIsEnd(err)
		}
	}
}

// headerEnd takes the empty line behind a header: when nothing follows, it is the one that parts messages.
func (m *mboxReader) headerEnd(it *mboxItem, line []byte, err error) error {
	if next, perr := m.r.Peek(2048); err == nil && len(next) > 0 {
		next, _, _ = bytes.Cut(next, []byte{'\n'})
		if !isFrom(next) {
			return m.write(it, line)
		}
	} else if perr != nil && !errors.Is(perr, io.EOF) {
		return perr
	}
	return eofIsEnd(err)
}

func eofIsEnd(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, bufio.ErrBufferFull) {
		return nil
	}
	return err
}

func (m *mboxReader) write(it *mboxItem, line []byte) error {
	if it.content.size+int64(len(line)) > MaxMessage {
		return errTooLarge
	}
	_, err := it.content.Write(line)
	return err
}

// leads tells whether n octets further a message ends, as far as can be seen without reading: at the end, or at a From_
// line with or without an empty line before it.
func (m *mboxReader) leads(n int64) bool {
	const look = 4 << 10
	if n > int64(m.r.Size()-look) {
		return false // beyond the buffer: the separator decides
	}
	b, err := m.r.Peek(int(n) + look)
	if int64(len(b)) < n || err != nil && !errors.Is(err, io.EOF) {
		return false
	}
	rest := b[n:]
	for len(rest) > 0 && (rest[0] == '\n' || rest[0] == '\r') {
		rest = rest[1:]
	}
	if len(rest) == 0 {
		return true
	}
	line, _, _ := bytes.Cut(rest, []byte{'\n'})
	return isFrom(line)
}

// exactly copies a body whose length is known, and finds the next From_ line.
func (m *mboxReader) exactly(it *mboxItem, n int64) error {
	if _, err := io.CopyN(&it.content, m.r, n); err != nil {
		return err
	}
	for {
		line, err := m.r.ReadSlice('\n')
		if isFrom(line) {
			m.from = string(bytes.TrimRight(line, "\r\n"))
			return nil
		}
		if err != nil {
			return eofIsEnd(err)
		}
	}
}

// body copies lines until the next From_ line behind an empty one. That empty line belongs to the separator.
func (m *mboxReader) body(it *mboxItem) error {
	var held []byte // an empty line that may belong to the separator
	whole, empty := true, true
	for {
		line, err := m.r.ReadSlice('\n')
		if whole && empty && isFrom(line) {
			m.from = string(bytes.TrimRight(line, "\r\n"))
			return nil
		}
		if len(line) > 0 {
			if werr := m.write(it, held); werr != nil {
				return werr
			}
			held = held[:0]
			if empty = whole && err == nil && len(bytes.TrimRight(line, "\r\n")) == 0; empty {
				held = append(held, line...)
			} else if werr := m.write(it, unquote(line, whole)); werr != nil {
				return werr
			}
		}
		whole = err == nil
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
			if !errors.Is(err, io.EOF) {
				return err
			}
			return nil // held: the empty line that ends the last message
		}
	}
}

// unquote takes one ">" off a quoted From_ line.
func unquote(line []byte, whole bool) []byte {
	if whole && line[0] == '>' && bytes.HasPrefix(bytes.TrimLeft(line, ">"), []byte("From ")) {
		return line[1:]
	}
	return line
}

// mboxHeader is what the fields that mailers add to an mbox say.
type mboxHeader struct {
	status, xstatus, keywords string
	length                    int64
}

// field takes a line of the header, and tells whether it is one that is not part of the message.
func (h *mboxHeader) field(line []byte, before, first bool) bool {
	if line[0] == ' ' || line[0] == '\t' {
		return before && !first
	}
	name, value, ok := strings.Cut(string(line[:min(len(line), 4096)]), ":")
	if !ok {
		return false
	}
	value = strings.TrimSpace(value)
	switch strings.ToLower(name) {
	case "status":
		h.status = value
	case "x-status":
		h.xstatus = value
	case "x-keywords":
		h.keywords = value
	case "content-length":
		if n, err := strconv.ParseInt(value, 10, 64); err == nil && n >= 0 {
			h.length = n
		}
	}
	return ofMbox(name)
}

// ofMbox tells whether a field is one that mailers add to an mbox, and no part of the message.
func ofMbox(name string) bool {
	switch strings.ToLower(name) {
	case "status", "x-status", "x-keywords", "x-uid", "x-imap", "x-imapbase":
		return true
	}
	return false
}

// flags gives what Status and X-Status say: R read, O old, A answered, F flagged, T draft, D deleted.
func (h *mboxHeader) flags() []string {
	var f []string
	for _, c := range h.status + h.xstatus {
		if name := mboxLetters().flag(c); name != "" {
			f = append(f, name)
		}
	}
	for _, k := range strings.Fields(h.keywords) {
		f = append(f, strings.TrimSuffix(k, ","))
	}
	return f
}

// fromDate gives the date of a From_ line, zero when it cannot be read.
func fromDate(line string) time.Time {
	words := strings.Fields(line)
	for i := 1; i+4 < len(words)+1 && i < len(words); i++ {
		rest := strings.Join(words[i:], " ")
		for _, layout := range []string{
			"Mon Jan 2 15:04:05 2006", "Mon Jan 2 15:04:05 2006 -0700", "Mon Jan 2 15:04:05 MST 2006",
			"Mon Jan 2 15:04:05 -0700 2006", "Mon Jan 2 15:04 2006",
		} {
			if t, err := time.Parse(layout, rest); err == nil {
				return t.UTC()
			}
		}
	}
	return time.Time{}
}
