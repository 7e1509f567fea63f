package observe

import (
	"encoding/binary"
	"slices"
	"time"

	"postel/internal/mail"
)

// tape holds the lines of one session in as little memory as they need: thousands of sessions are kept, and hardly
// any is ever looked at. A line is
//
//	mark     one octet: the direction in two bits, 4 under TLS, 8 a refusal
//	elapsed  varint, ns since the session's start
//	length   uvarint, of the text
//	text
type tape struct {
	data  []byte
	lines int
}

const (
	markDirection = 3
	markTLS       = 4
	markError     = 8
	tapeFirst     = 640 // octets of a tape when it begins: one that takes a message by SMTP fits
)

// add writes what is worth keeping of a line, and gives its text; it is valid until the next add.
func (t *tape) add(mark byte, elapsed time.Duration, line []byte, secret bool) (text []byte) {
	if t.data == nil {
		t.data = make([]byte, 0, tapeFirst)
	}
	// The length comes before the text and is known after it: most texts have less than 128 octets.
	t.data = binary.AppendVarint(append(t.data, mark), int64(elapsed))
	at := len(t.data)
	t.data = appendMasked(append(t.data, 0), line, secret)
	n := len(t.data) - at - 1
	if n < 0x80 {
		t.data[at] = byte(n)
	} else {
		var length [binary.MaxVarintLen64]byte
		t.data = slices.Replace(t.data, at, at+1, length[:binary.PutUvarint(length[:], uint64(n))]...)
	}
	t.lines++
	return t.data[len(t.data)-n:]
}

// next takes the line at the front of data apart. The tape's own data is always whole.
func next(data []byte) (mark byte, elapsed time.Duration, text, rest []byte) {
	mark = data[0]
	ns, n := binary.Varint(data[1:])
	data = data[1+n:]
	length, n := binary.Uvarint(data)
	data = data[n:]
	return mark, time.Duration(ns), data[:length], data[length:]
}

// skip gives where the line behind the first n is.
func (t *tape) skip(n int) int {
	rest := t.data
	for range n {
		_, _, _, rest = next(rest)
	}
	return len(t.data) - len(rest)
}

// shorten drops the older half of what follows the beginning, and gives the number of lines that went: the beginning
// tells most (greeting, EHLO, TLS, login).
func (t *tape) shorten() (dropped int) {
	const begin = 16
	if t.lines <= 2*begin {
		return 0
	}
	dropped = (t.lines - begin) / 2
	t.data = slices.Delete(t.data, t.skip(begin), t.skip(begin+dropped))
	t.lines -= dropped
	return dropped
}

// all gives the lines.
func (t *tape) all(session mail.ID, start time.Time) []Line {
	lines := make([]Line, 0, t.lines)
	for rest := t.data; len(rest) > 0; {
		var mark byte
		var elapsed time.Duration
		var text []byte
		mark, elapsed, text, rest = next(rest)
		lines = append(lines, shown(session, start.Add(elapsed), mark, text))
	}
	return lines
}

// shown gives a line as it is shown.
func shown(session mail.ID, at time.Time, mark byte, text []byte) Line {
	return Line{
		Session: session, Time: at, Direction: Direction(mark & markDirection),
		TLS: mark&markTLS != 0, Error: mark&markError != 0, Text: string(text),
	}
}
