package transfer

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"postel/internal/mail"
)

// Limits of what another server may answer.
const (
	maxLine    = 1 << 20
	maxTokens  = 100_000
	maxNesting = 50
	maxString  = 1 << 20
)

// value is a piece of a response (RFC 3501 §9): a word, a string, or a list. A literal that was spooled has its text in
// the spool.
type value struct {
	text    string
	list    []value
	isList  bool
	isNil   bool
	spooled bool
}

func (v value) is(word string) bool { return !v.isList && strings.EqualFold(v.text, word) }

// wire reads responses of an IMAP server and writes commands to it.
type wire struct {
	r      *bufio.Reader
	w      io.Writer
	tag    int
	tokens int
	spool  *spool // takes literals of FETCH, one a response
}

func newWire(c io.ReadWriter) *wire { return &wire{r: bufio.NewReaderSize(c, 64<<10), w: c} }

// begin sends a command and gives its tag.
func (w *wire) begin(command string) (string, error) {
	w.tag++
	tag := "p" + strconv.Itoa(w.tag)
	_, err := io.WriteString(w.w, tag+" "+command+"\r\n")
	return tag, err
}

// do sends a command, gives fn its untagged responses, and fails unless it ends with OK.
func (w *wire) do(command string, fn func([]value) error) error {
	tag, err := w.begin(command)
	if err != nil {
		return gone(err)
	}
	return w.finish(tag, strings.Fields(command)[0], fn)
}

// finish reads to the end of a command.
func (w *wire) finish(tag, name string, fn func([]value) error) error {
	for {
		r, err := w.response()
		if err != nil {
			return gone(err)
		}
		if ended, err := w.ended(r, tag, name); ended || err != nil {
			return err
		}
		if fn != nil && r[0].is("*") {
			if err := fn(r[1:]); err != nil {
				return err
			}
		}
	}
}

// ended tells whether a response ends a command; the error says that it failed, or the session.
func (w *wire) ended(r []value, tag, name string) (bool, error) {
	switch {
	case len(r) < 2:
		return false, mail.E("transfer.imap", mail.Invalid, "the server answers what is no IMAP")
	case r[0].is(tag) && r[1].is("OK"):
		return true, nil
	case r[0].is(tag):
		return true, mail.E("transfer.imap", mail.Rejected, "the server refuses %s: %s", name, words(r[1:]))
	case r[0].is("*") && r[1].is("BYE"):
		return false, mail.E("transfer.imap", mail.Unavailable, "the server ends the session: %s", words(r[2:]))
	}
	return false, nil
}

func gone(err error) error {
	var e *mail.Error
	if errors.As(err, &e) {
		return err
	}
	return mail.E("transfer.imap", mail.Unavailable, "the server is gone: %v", err)
}

func words(vs []value) string {
	var b strings.Builder
	for i, v := range vs {
		if i > 0 {
			b.WriteByte(' ')
		}
		b.WriteString(v.text)
		if v.isList {
			b.WriteString("(" + words(v.list) + ")")
		}
	}
	s := b.String()
	return strings.ToValidUTF8(s[:min(len(s), 300)], "")
}

// response reads one response. Of a status response the text behind the code is cut into words as it comes.
func (w *wire) response() ([]value, error) {
	w.tokens = 0
	var all []value
	for {
		if c, err := w.r.ReadByte(); err != nil {
			return nil, err
		} else if err := w.r.UnreadByte(); err != nil || c == '\r' || c == '\n' {
			_, err := w.r.ReadSlice('\n')
			return all, err
		}
		if len(all) == 2 && !all[0].is("+") && (all[1].is("OK") || all[1].is("NO") || all[1].is("BAD") || all[1].is("BYE")) || len(all) == 1 && all[0].is("+") {
			text, err := w.line()
			return append(all, value{text: text}), err
		}
		v, err := w.value(0)
		if err != nil {
			return nil, err
		}
		all = append(all, v)
	}
}

// line reads the rest of a line.
func (w *wire) line() (string, error) {
	var b []byte
	for {
		part, err := w.r.ReadSlice('\n')
		b = append(b, part...)
		if !errors.Is(err, bufio.ErrBufferFull) {
			return strings.Trim(string(b), " \r\n"), err
		}
		if len(b) > maxLine {
			return "", tooMuch("a line")
		}
	}
}

func tooMuch(what string) error {
	return mail.E("transfer.imap", mail.TooLarge, "the server answers with too large %s", what)
}

// value reads a word, a string or a list, and a space behind it.
func (w *wire) value(depth int) (value, error) {
	if w.tokens++; w.tokens > maxTokens || depth > maxNesting {
		return value{}, tooMuch("a response")
	}
	c, err := w.r.ReadByte()
	if err != nil {
		return value{}, err
	}
	var v value
	switch c {
	case '(':
		v, err = w.listOf(depth)
	case '"':
		v.text, err = w.quoted()
	case '{':
		v, err = w.literal()
	default:
		_ = w.r.UnreadByte()
		v.text, err = w.word()
		v.isNil = strings.EqualFold(v.text, "NIL")
		if err == nil && v.text == "" {
			err = mail.E("transfer.imap", mail.Invalid, "the server answers what is no IMAP")
		}
	}
	if err != nil {
		return v, err
	}
	if b, err := w.r.Peek(1); err == nil && b[0] == ' ' {
		_, _ = w.r.Discard(1)
	}
	return v, nil
}

func (w *wire) listOf(depth int) (value, error) {
	v := value{isList: true}
	for {
		c, err := w.r.ReadByte()
		if err != nil {
			return v, err
		}
		switch c {
		case ')':
			return v, nil
		case ' ':
			continue
		case '\r', '\n':
			return v, mail.E("transfer.imap", mail.Invalid, "the server's list does not end")
		}
		_ = w.r.UnreadByte()
		one, err := w.value(depth + 1)
		if err != nil {
			return v, err
		}
		v.list = append(v.list, one)
	}
}

func (w *wire) quoted() (string, error) {
	var b []byte
	for {
		c, err := w.r.ReadByte()
		if err != nil {
			return "", err
		}
		switch c {
		case '"':
			return string(b), nil
		case '\\':
			if c, err = w.r.ReadByte(); err != nil {
				return "", err
			}
		case '\r', '\n':
			return "", mail.E("transfer.imap", mail.Invalid, "the server's string does not end")
		}
		if b = append(b, c); len(b) > maxString {
			return "", tooMuch("a string")
		}
	}
}

// literal reads {n} and n octets: of a FETCH into the spool, others into memory.
func (w *wire) literal() (value, error) {
	head, err := w.r.ReadSlice('\n')
	if err != nil {
		return value{}, err
	}
	n, err := strconv.ParseInt(strings.TrimRight(string(head), "+}\r\n"), 10, 64)
	if err != nil || n < 0 {
		return value{}, mail.E("transfer.imap", mail.Invalid, "the server's literal has no length")
	}
	if w.spool != nil && (w.spool.size == 0 || n > maxString) {
		if n > MaxMessage {
			return value{}, tooMuch(fmt.Sprintf("a message (%d octets)", n))
		}
		if err := w.spool.reset(); err != nil {
			return value{}, err
		}
		_, err := io.CopyN(w.spool, w.r, n)
		return value{spooled: true}, err
	}
	if n > maxString {
		return value{}, tooMuch("a string")
	}
	b := make([]byte, n)
	_, err = io.ReadFull(w.r, b)
	return value{text: string(b)}, err
}

// word reads up to a space or the end of a list. Brackets, as in BODY[HEADER.FIELDS (X)], belong to it.
func (w *wire) word() (string, error) {
	var b []byte
	brackets := 0
	for {
		c, err := w.r.ReadByte()
		if err != nil {
			return "", err
		}
		switch {
		case c == '[':
			brackets++
		case c == ']':
			brackets--
		case c == '\r' || c == '\n' || brackets <= 0 && (c == ' ' || c == '(' || c == ')'):
			return string(b), w.r.UnreadByte()
		}
		if b = append(b, c); len(b) > maxString {
			return "", tooMuch("a word")
		}
	}
}

// quote writes a string as a command needs it; Kind Invalid for what cannot be quoted.
func quote(s string) (string, error) {
	if strings.ContainsAny(s, "\r\n\x00") {
		return "", mail.E("transfer.imap", mail.Invalid, "a name or password with a line end in it")
	}
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s) + `"`, nil
}
