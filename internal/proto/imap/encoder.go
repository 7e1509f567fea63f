package imap

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"sync"

	"postel/internal/mail"
	"postel/internal/observe"
)

// outputSize is what is gathered before it is written; the buffer is lent from a pool between flushes.
const outputSize = 32 << 10

var outputPool = sync.Pool{New: func() any { return new([outputSize]byte) }}

// maxQuoted is the longest string that is written quoted rather than as a literal.
const maxQuoted = 1024

// tracedLines is how many lines of one answer are told; of the rest only the number.
const tracedLines = 100

// Encoder writes responses, or with Client commands. Octets are gathered and written by Flush, or when there are
// many of them. The first error is kept, and nothing is written after it. It is used by one goroutine.
type Encoder struct {
	// Trace takes the lines that are written; nil is fine.
	Trace observe.Trace
	// Client makes literals non-synchronising ones (RFC 7888 §4).
	Client bool

	w      io.Writer
	lent   *[outputSize]byte
	buf    []byte
	line   int // where in buf the line that is being written begins
	cut    bool
	secret bool
	lines  int
	err    error
	inItem bool // of a list or FETCH: a space is due
}

// NewEncoder writes to w.
func NewEncoder(w io.Writer) *Encoder { return &Encoder{w: w} }

// Reset writes to another destination from now on; nothing may be unwritten.
func (e *Encoder) Reset(w io.Writer) { e.w = w }

// Err gives the first error.
func (e *Encoder) Err() error { return e.err }

// Flush writes what was gathered and gives the buffer back.
func (e *Encoder) Flush() error {
	e.write()
	if e.lent != nil {
		outputPool.Put(e.lent)
		e.lent, e.buf = nil, nil
	}
	return e.err
}

// write empties the buffer and keeps it.
func (e *Encoder) write() {
	if len(e.buf) == 0 {
		return
	}
	if e.line < len(e.buf) {
		e.traceLine(e.buf[e.line:])
		e.cut = true
	}
	if e.err == nil {
		_, e.err = e.w.Write(e.buf)
	}
	e.buf, e.line = e.buf[:0], 0
	if e.lent != nil {
		e.buf = e.lent[:0] // what grew beyond it is let go
	}
}

// room makes sure that there is a buffer, and writes it when it is nearly full.
func (e *Encoder) room() {
	if e.lent == nil {
		e.lent = outputPool.Get().(*[outputSize]byte)
		e.buf = e.lent[:0]
	}
	if len(e.buf) > outputSize-maxQuoted {
		e.write()
	}
}

// Begin starts the answer to another command: lines are told again.
func (e *Encoder) Begin() { e.lines = 0 }

func (e *Encoder) traceLine(b []byte) {
	if e.Trace == nil || e.cut {
		return
	}
	if e.lines++; e.lines <= tracedLines {
		e.Trace(observe.Ours, b, e.secret)
	}
}

// Note tells something that is not on the wire.
func (e *Encoder) Note(text string) {
	if e.Trace != nil {
		e.Trace(observe.Note, []byte(text), false)
	}
}

// crlf ends a line.
func (e *Encoder) crlf() {
	e.traceLine(e.buf[min(e.line, len(e.buf)):])
	e.cut = false
	e.buf = append(e.buf, '\r', '\n')
	e.line = len(e.buf)
	e.room()
}

// raw writes ASCII as it is.
func (e *Encoder) raw(s string) {
	e.room()
	e.buf = append(e.buf, s...)
}

func (e *Encoder) byte(c byte) {
	e.room()
	e.buf = append(e.buf, c)
}

func (e *Encoder) number(n uint64) {
	e.room()
	e.buf = strconv.AppendUint(e.buf, n, 10)
}

// str writes a string quoted, or as a literal when it is long, holds line ends or is not ASCII. NUL, which no
// string can hold (RFC 3501 §9 CHAR8), is left out.
func (e *Encoder) str(s string) {
	if strings.IndexByte(s, 0) >= 0 {
		s = strings.ReplaceAll(s, "\x00", "")
	}
	e.room()
	if quotable(s) {
		e.buf = appendQuoted(e.buf, s)
		return
	}
	e.literalHeader(int64(len(s)))
	e.buf = append(e.buf, s...)
}

func quotable(s string) bool {
	if len(s) > maxQuoted {
		return false
	}
	for i := range len(s) {
		if c := s[i]; c >= 0x80 || c == '\r' || c == '\n' {
			return false
		}
	}
	return true
}

// nstr writes NIL for an empty string.
func (e *Encoder) nstr(s string) {
	if s == "" {
		e.raw("NIL")
		return
	}
	e.str(s)
}

// astr writes an atom where s can be one.
func (e *Encoder) astr(s string) {
	if !quotable(s) || strings.IndexByte(s, 0) >= 0 {
		e.str(s)
		return
	}
	e.room()
	e.buf = appendAString(e.buf, s)
}

// mailbox writes a name of UTF-8 in modified UTF-7.
func (e *Encoder) mailbox(name string) { e.astr(EncodeMailbox(name)) }

func (e *Encoder) literalHeader(n int64) {
	e.room()
	e.buf = append(e.buf, '{')
	e.buf = strconv.AppendInt(e.buf, n, 10)
	if e.Client {
		e.buf = append(e.buf, '+')
	}
	e.buf = append(e.buf, '}')
	e.crlf()
}

// literal writes n octets of r as a literal. When r gives less, the connection is of no more use.
func (e *Encoder) literal(n int64, r io.Reader) {
	e.literalHeader(n)
	if e.Trace != nil && n > 0 && e.lines <= tracedLines {
		e.Note(fmt.Sprintf("literal of %d octets", n))
	}
	for left := n; left > 0 && e.err == nil; {
		if len(e.buf) >= outputSize-512 {
			e.write()
		}
		space := e.buf[len(e.buf):cap(e.buf)]
		m, err := r.Read(space[:min(int64(len(space)), left)])
		e.buf = e.buf[:len(e.buf)+m]
		e.line = len(e.buf)
		left -= int64(m)
		if left > 0 && err != nil {
			e.broken(err)
		}
	}
}

// broken says that what was announced cannot be written.
func (e *Encoder) broken(err error) {
	if err == io.EOF { //nolint:errorlint // Readers give it bare
		err = io.ErrUnexpectedEOF
	}
	if e.err == nil {
		e.err = mail.Wrap("imap.encode literal", err)
	}
}

// open begins a list, item comes before each of its members, close ends it.
func (e *Encoder) open() { e.byte('('); e.inItem = false }

func (e *Encoder) item() {
	if e.inItem {
		e.byte(' ')
	}
	e.inItem = true
}

func (e *Encoder) close() { e.byte(')'); e.inItem = true }

// words writes a list of atoms.
func (e *Encoder) words(list []string) {
	e.open()
	for _, w := range list {
		e.item()
		e.raw(w)
	}
	e.close()
}
