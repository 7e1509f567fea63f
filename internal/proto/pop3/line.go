package pop3

import (
	"bufio"
	"bytes"
	"errors"
	"io"

	"postel/internal/mail"
)

// Limits of what a client sends, in octets with the line's end.
const (
	MaxLine     = 2048
	MaxAuthLine = 12_288  // RFC 5034 §4
	MaxJunk     = 1 << 20 // of a line that is too long; more ends the session
	ReadBuffer  = 16_384  // of the bufio.Reader below Lines; must exceed MaxAuthLine
)

// Lines reads the lines of a client.
type Lines struct {
	R *bufio.Reader // of at least ReadBuffer octets
}

// Next reads a command line and gives it without its end; it is valid until the next read. Errors of Kind
// Invalid refuse this line only (line then holds its beginning, for a trace); any other ends the session.
func (l Lines) Next() ([]byte, error) {
	line, err := l.Response()
	if err == nil && len(line)+2 > MaxLine && !isAuth(line) {
		return line[:MaxLine], tooLong()
	}
	return line, err
}

// Response reads a line of a SASL exchange, as Next does, but up to MaxAuthLine.
func (l Lines) Response() ([]byte, error) {
	line, err := l.R.ReadSlice('\n')
	switch {
	case errors.Is(err, bufio.ErrBufferFull):
		head := bytes.Clone(line[:512])
		return head, l.skip()
	case errors.Is(err, io.EOF) && len(line) > 0:
		return line, io.ErrUnexpectedEOF
	case err != nil:
		return nil, err
	}
	line = bytes.TrimSuffix(line[:len(line)-1], []byte{'\r'})
	if len(line)+2 > MaxAuthLine {
		return line[:512], tooLong()
	}
	for _, c := range line {
		if c < 0x20 && c != '\t' || c == 0x7f {
			return line[:min(len(line), 512)], syntax("control character in a command")
		}
	}
	return line, nil
}

// skip reads to the end of a line that is too long.
func (l Lines) skip() error {
	for n := l.R.Size(); n < MaxJunk; {
		s, err := l.R.ReadSlice('\n')
		if err == nil {
			return tooLong()
		}
		if !errors.Is(err, bufio.ErrBufferFull) {
			return err
		}
		n += len(s)
	}
	return mail.E("pop3.line", mail.TooLarge, "endless line")
}

func tooLong() error { return syntax("the line is too long") }

func syntax(text string) error { return mail.E("pop3.line", mail.Invalid, "%s", text) }

func isAuth(line []byte) bool { return len(line) > 5 && bytes.EqualFold(line[:5], []byte("AUTH ")) }
