package smtp

import (
	"bufio"
	"bytes"
	"errors"
	"io"

	"postel/internal/mail"
)

// Limits of lines, with their CRLF, in octets.
const (
	MaxCommand  = 2048    // RFC 5321 §4.5.3.1.4 wants 512 and room for extensions
	MaxAuthLine = 12288   // RFC 4954 §4
	MaxJunk     = 1 << 20 // of a line that is too long; more ends the session
	ReadBuffer  = 16384   // of the bufio.Reader below Lines; must exceed MaxAuthLine
)

// Lines reads the lines of a client. Only CRLF ends a line: a line with a bare CR, a bare LF or a NUL in it is
// refused whole, so that nothing inside it is ever taken as another command.
type Lines struct {
	R *bufio.Reader // of at least ReadBuffer octets
	// rest: a line was refused at a bare LF behind which nothing had come yet. What follows up to CRLF still
	// belongs to it.
	rest bool
}

// Next reads one line and gives it without its CRLF; it is valid until the next read. Errors of Kind Invalid
// refuse this line only (line then holds its beginning, for a trace); any other ends the session. A bare LF
// behind which nothing has come is refused at once, for its sender waits for an answer.
func (l *Lines) Next() (line []byte, err error) {
	line, err = l.Response()
	long := err == nil && len(line)+2 > MaxCommand || errors.Is(err, errLong)
	if long && !hasVerb(line, "AUTH") {
		return line[:min(len(line), MaxCommand)], syntaxError("line longer than %d octets", MaxCommand)
	}
	return line, err
}

// Response reads one line of a SASL exchange, as Next does, but up to MaxAuthLine.
func (l *Lines) Response() ([]byte, error) {
	for {
		line, bad, whole, err := l.read()
		if err != nil {
			return line, err
		}
		remainder := l.rest
		l.rest = !whole
		if remainder && whole {
			continue // its line has its answer
		}
		return line, bad
	}
}

// read gives a line or what is bad about it. whole tells that its CRLF was read.
func (l *Lines) read() (line []byte, bad error, whole bool, err error) { //nolint: bad is an answer, not a failure
	line, err = l.R.ReadSlice('\n')
	switch {
	case errors.Is(err, bufio.ErrBufferFull):
		return l.skip(line, errLong)
	case errors.Is(err, io.EOF) && len(line) > 0:
		return line, nil, false, io.ErrUnexpectedEOF
	case err != nil:
		return line, nil, false, err
	case !bytes.HasSuffix(line, crlf) && l.R.Buffered() == 0:
		return line, bareLF(), false, nil
	case !bytes.HasSuffix(line, crlf):
		return l.skip(line, bareLF())
	}
	line = line[:len(line)-2]
	switch {
	case len(line)+2 > MaxAuthLine:
		return line[:MaxCommand], errLong, true, nil
	case bytes.IndexByte(line, '\r') >= 0:
		return line, syntaxError("bare CR in a command"), true, nil
	case bytes.IndexByte(line, 0) >= 0:
		return line, syntaxError("NUL in a command"), true, nil
	}
	return line, nil, true, nil
}

// skip reads to the CRLF that ends a bad line.
func (l *Lines) skip(head []byte, why error) (line []byte, bad error, whole bool, err error) { //nolint: as read
	last := head[len(head)-1]
	head = bytes.Clone(head[:min(len(head), 512)])
	for n := 0; n < MaxJunk; {
		s, err := l.R.ReadSlice('\n')
		n += len(s)
		full := errors.Is(err, bufio.ErrBufferFull)
		switch {
		case errors.Is(err, io.EOF):
			return head, nil, false, io.ErrUnexpectedEOF
		case err != nil && !full:
			return head, nil, false, err
		case full:
		case len(s) > 1 && s[len(s)-2] == '\r', len(s) == 1 && last == '\r':
			return head, why, true, nil
		case l.R.Buffered() == 0: // a bare LF, and the client waits
			return head, why, false, nil
		}
		last = s[len(s)-1]
	}
	return head, nil, false, mail.E("smtp.line", mail.TooLarge, "endless line")
}

// errLong is what is said of a line of an authentication that is too long (RFC 4954 §4, §6).
var errLong = Fail(500, mail.Invalid, mail.Enhanced{5, 5, 6}, "authentication exchange line is longer than %d octets", MaxAuthLine)

func syntaxError(format string, args ...any) error {
	return Fail(500, mail.Invalid, mail.Enhanced{5, 5, 2}, format, args...)
}

func bareLF() error { return syntaxError("a line ends with CRLF, not with LF alone") }

var crlf = []byte("\r\n")

// hasVerb tells whether the line's command is verb.
func hasVerb(line []byte, verb string) bool {
	return len(line) >= len(verb) && bytes.EqualFold(line[:len(verb)], []byte(verb)) &&
		(len(line) == len(verb) || line[len(verb)] == ' ')
}
