package imap

import (
	"bytes"
	"errors"
	"io"
	"strings"

	"postel/internal/mail"
	"postel/internal/observe"
)

// Limits bound what one command may cost. They may be raised between commands, as after a login.
type Limits struct {
	Command int   // octets of a command with its literals, message literals aside
	Literal int   // octets of one literal, message literals aside
	Discard int64 // octets read and thrown away to find the end of a command that was refused
}

// Limits before and after login.
const (
	CommandBeforeLogin = 64 << 10
	LiteralBeforeLogin = 4 << 10
	CommandAfterLogin  = 1 << 20
	LiteralAfterLogin  = 1 << 20

	maxDepth  = 32    // nesting of parentheses, NOT and OR
	maxKeys   = 1000  // search keys of a command
	maxRanges = 20000 // ranges of the sequence sets of a command
	maxItems  = 256   // FETCH and STATUS items, LIST patterns, flags, capabilities
	maxFields = 1000  // header fields of a section
)

// Decoder reads commands. It is used by one goroutine.
type Decoder struct {
	// Continue is called when a synchronising literal is awaited: it sends the continuation request.
	Continue func() error
	// Trace takes the lines that were read; nil is fine. A line is told when its command is known, so that the
	// caller can say that it is secret.
	Trace observe.Trace

	in     input
	lim    Limits
	line   []byte // the line being parsed, without its end
	pos    int
	used   int // octets of the command so far
	secret bool
	traced bool // the first line was told
	err    error
	fatal  error
	lit    literal
	depth  int
	keys   int
	ranges int
}

// literal is one that was announced at the end of the line and has not been read whole.
type literal struct {
	announced bool
	nonSync   bool
	opened    bool
	left      int64
}

// NewDecoder reads from src.
func NewDecoder(src io.Reader, lim Limits) *Decoder {
	return &Decoder{in: input{src: src}, lim: lim}
}

// SetLimits is for between commands.
func (d *Decoder) SetLimits(lim Limits) { d.lim = lim }

// Reset reads from another source from now on and forgets what was read ahead: after STARTTLS nothing that came
// in clear may be taken for a command (RFC 3501 §6.2.1). It tells how many octets were dropped.
func (d *Decoder) Reset(src io.Reader) int {
	n := len(d.in.buf)
	d.in.buf = nil
	d.in.release()
	d.in.src = src
	return n
}

// Buffered tells how many octets wait to be parsed: of a client that sends ahead.
func (d *Decoder) Buffered() int { return len(d.in.buf) }

// Await blocks until something can be read, holding no buffers while it does; after a timeout it may be called
// again and nothing is lost.
func (d *Decoder) Await() error {
	if cap(d.line) > 512 {
		d.line = nil
	}
	return d.in.await()
}

// Err gives the first error: of Kind Invalid, TooLarge or TooMany when the client broke a rule, or that of the
// connection.
func (d *Decoder) Err() error {
	if d.fatal != nil {
		return d.fatal
	}
	return d.err
}

// Fatal gives the error after which nothing more can be read, nil when there is none.
func (d *Decoder) Fatal() error { return d.fatal }

// Secret says that what is still to be read of this command is a password or the like, and tells the line that
// was read. Without it, Public must be called.
func (d *Decoder) Secret() { d.tell(true) }

// Public tells the line that was read; the command holds no secrets.
func (d *Decoder) Public() { d.tell(false) }

func (d *Decoder) tell(secret bool) {
	d.secret = secret
	if d.traced {
		return
	}
	d.traced = true
	if d.Trace != nil && d.fatal == nil {
		d.Trace(observe.Theirs, d.line, secret)
	}
}

func (d *Decoder) failed() bool { return d.err != nil || d.fatal != nil }

// fail keeps the first error.
func (d *Decoder) fail(kind mail.Kind, format string, args ...any) {
	if d.err == nil {
		d.err = mail.E("imap.decode", kind, format, args...)
	}
}

// invalid keeps a syntax error.
func (d *Decoder) invalid(what string) { d.fail(mail.Invalid, "%s", what) }

// Command begins the next command: it reads a line, its tag and the command's name in capitals, "UID" and what
// follows it as one. A tag that cannot be read is empty.
func (d *Decoder) Command() (tag, name string) {
	d.begin()
	d.readLine()
	tag = d.tag()
	if d.sp(); d.failed() {
		return tag, ""
	}
	name = strings.ToUpper(d.commandName())
	if name == "UID" && d.sp() {
		name += " " + strings.ToUpper(d.commandName())
	}
	return tag, name
}

// Line reads a line that is not a command: DONE of IDLE, a response of AUTHENTICATE. Its octets are valid until
// the next call.
func (d *Decoder) Line() []byte {
	d.begin()
	d.readLine()
	d.pos = len(d.line)
	if d.failed() {
		return nil
	}
	return d.line
}

func (d *Decoder) begin() {
	d.line, d.pos, d.used, d.err = d.line[:0], 0, 0, nil
	d.lit = literal{}
	d.depth, d.keys, d.ranges = 0, 0, 0
	d.secret, d.traced = false, false
}

// commandName is at most 32 letters, digits, hyphens.
func (d *Decoder) commandName() string {
	start := d.pos
	for d.pos < len(d.line) && isAtomChar(d.line[d.pos]) {
		d.pos++
	}
	if n := d.pos - start; n == 0 || n > 32 {
		d.invalid("no command")
		return ""
	}
	return string(d.line[start:d.pos])
}

// readLine reads a line into d.line, without its end. A line that is too long is an error and stays unread from
// its limit on.
func (d *Decoder) readLine() {
	d.line, d.pos = d.line[:0], 0
	for d.fatal == nil {
		if err := d.in.fill(); err != nil {
			d.die(err)
			return
		}
		chunk := d.in.buf
		i := bytes.IndexByte(chunk, '\n')
		if i >= 0 {
			chunk = chunk[:i+1]
		}
		if d.used+len(chunk) > d.lim.Command {
			d.tooLong()
			return
		}
		d.used += len(chunk)
		d.line = append(d.line, chunk...)
		d.in.buf = d.in.buf[len(chunk):]
		if i >= 0 {
			d.endLine()
			return
		}
	}
}

func (d *Decoder) endLine() {
	d.in.release()
	d.line = bytes.TrimSuffix(d.line[:len(d.line)-1], []byte{'\r'})
	if bytes.IndexByte(d.line, 0) >= 0 || bytes.IndexByte(d.line, '\r') >= 0 {
		d.invalid("NUL or bare CR in a command")
	}
	if d.traced && d.Trace != nil {
		d.Trace(observe.Theirs, d.line, d.secret)
	}
}

// tooLong skips to the end of a line whose beginning does not fit; what is kept of the line is its last octets,
// so that a literal announced there is seen.
func (d *Decoder) tooLong() {
	d.fail(mail.TooLarge, "command is longer than %d octets", d.lim.Command)
	tail := append([]byte(nil), d.line[max(0, len(d.line)-32):]...)
	for skipped := int64(0); skipped <= d.lim.Discard; {
		if err := d.in.fill(); err != nil {
			d.die(err)
			return
		}
		chunk := d.in.buf
		i := bytes.IndexByte(chunk, '\n')
		if i >= 0 {
			chunk = chunk[:i+1]
		}
		tail = append(tail, chunk...)
		tail = append(tail[:0], tail[max(0, len(tail)-32):]...)
		d.in.buf = d.in.buf[len(chunk):]
		skipped += int64(len(chunk))
		if i >= 0 {
			d.line = append(d.line[:0], tail[:len(tail)-1]...)
			d.line = bytes.TrimSuffix(d.line, []byte{'\r'})
			d.pos = 0
			d.in.release()
			return
		}
	}
	d.die(errResync)
}

// errResync is fatal: the end of the command cannot be found within the limits.
var errResync = mail.E("imap.decode", mail.TooLarge, "too much to skip")

func (d *Decoder) die(err error) {
	if d.fatal == nil {
		d.fatal = err
	}
}

// Finish reads what is left of the command after an error, or of a literal that nobody wanted, so that the next
// Command begins at a command. An error is fatal for the connection: of Kind TooLarge when the client announced
// more than may be skipped, otherwise the connection's.
func (d *Decoder) Finish() error {
	budget := d.lim.Discard
	for d.fatal == nil {
		if !d.lit.announced {
			d.lit = trailingLiteral(d.line)
			d.pos = len(d.line)
		}
		if !d.lit.announced || !d.lit.nonSync && !d.lit.opened {
			break // a client that waits for a continuation gets our refusal instead (RFC 3501 §7.5)
		}
		if budget -= d.lit.left; budget < 0 {
			d.die(errResync)
			break
		}
		if _, err := io.CopyN(io.Discard, &d.in, d.lit.left); err != nil {
			d.die(err)
			break
		}
		d.lit = literal{}
		d.used = 0
		d.readLine()
		budget -= int64(len(d.line))
	}
	d.in.release()
	return d.fatal
}

// trailingLiteral finds {n} or {n+} at the end of a line.
func trailingLiteral(line []byte) literal {
	i := bytes.LastIndexByte(line, '{')
	if i < 0 || line[len(line)-1] != '}' {
		return literal{}
	}
	digits, nonSync := bytes.CutSuffix(line[i+1:len(line)-1], []byte{'+'})
	n, err := parseNumber(digits, maxNumber64)
	if err != nil && (len(digits) == 0 || bytes.ContainsFunc(digits, notDigit)) {
		return literal{}
	}
	if err != nil {
		n = maxNumber64 // too large for a number: what follows must not be taken for commands
	}
	return literal{announced: true, nonSync: nonSync, left: n}
}

func notDigit(r rune) bool { return r < '0' || r > '9' }

// end checks that the line ends here: the CRLF of each command.
func (d *Decoder) end() {
	if !d.failed() && d.pos != len(d.line) {
		d.invalid("more arguments than the command takes")
	}
}

// literalHeader reads {n} or {n+} at the end of the line.
func (d *Decoder) literalHeader() (int64, bool) {
	lit := trailingLiteral(d.line[d.pos:])
	if !lit.announced || d.line[d.pos] != '{' || bytes.IndexByte(d.line[d.pos+1:], '{') >= 0 {
		d.invalid("bad literal")
		return 0, false
	}
	d.pos = len(d.line)
	d.lit = lit
	return lit.left, true
}

// literal reads a literal into memory, and the line behind it.
func (d *Decoder) literal() string {
	n, ok := d.literalHeader()
	if !ok {
		return ""
	}
	if n > int64(d.lim.Literal) || n > int64(d.lim.Command-d.used) {
		d.fail(mail.TooLarge, "literal is longer than %d octets", min(d.lim.Literal, d.lim.Command))
		return ""
	}
	if !d.open() {
		return ""
	}
	b := make([]byte, n)
	if _, err := io.ReadFull(&d.in, b); err != nil {
		d.die(unexpected(err))
		return ""
	}
	d.used += len(b)
	d.traceLiteral(b)
	d.lit = literal{}
	d.readLine()
	if bytes.IndexByte(b, 0) >= 0 {
		d.invalid("NUL in a literal")
		return ""
	}
	return string(b)
}

func (d *Decoder) traceLiteral(b []byte) {
	if d.Trace != nil && d.traced {
		d.Trace(observe.Theirs, b, d.secret)
	}
}

// open asks for the octets of a synchronising literal.
func (d *Decoder) open() bool {
	if !d.lit.nonSync && d.Continue != nil {
		if err := d.Continue(); err != nil {
			d.die(err)
			return false
		}
	}
	d.lit.opened = true
	return true
}

func unexpected(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// Message is the literal of APPEND, streamed.
type Message struct{ d *Decoder }

// OpenMessage asks for the octets of the message literal that Append found and gives a reader of exactly them;
// EndMessage must follow. Until it is called, Finish refuses the literal.
func (d *Decoder) OpenMessage() io.Reader {
	if d.failed() || !d.lit.announced || !d.open() {
		return errReader{d.Err()}
	}
	return &Message{d}
}

// Read gives the message's octets; errors are the connection's.
func (m *Message) Read(p []byte) (int, error) {
	d := m.d
	if d.fatal != nil {
		return 0, d.fatal
	}
	if d.lit.left == 0 {
		return 0, io.EOF
	}
	if int64(len(p)) > d.lit.left {
		p = p[:d.lit.left]
	}
	n, err := d.in.Read(p)
	d.lit.left -= int64(n)
	if err != nil && n == 0 {
		d.die(unexpected(err))
		return 0, d.fatal
	}
	return n, nil
}

type errReader struct{ err error }

func (r errReader) Read([]byte) (int, error) {
	if r.err == nil {
		return 0, io.ErrUnexpectedEOF
	}
	return 0, r.err
}

// EndMessage reads the end of the command behind the message, after its reader gave io.EOF.
func (d *Decoder) EndMessage() error {
	if d.fatal == nil && d.lit.announced && d.lit.left > 0 {
		return mail.E("imap.decode", mail.Internal, "message literal not read to its end")
	}
	d.lit = literal{}
	if d.fatal == nil {
		d.readLine()
		d.end()
	}
	return d.Err()
}
