package transfer

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"os"
	"strings"
	"time"
)

// putMbox appends a message as mboxrd does: each line of its body that is "From " behind any number of ">" gets one more,
// which reading takes off again. In the header only "From " itself does, and keeps it.
func (t *Target) putMbox(m Meta, lf bool) error {
	if t.box != m.Mailbox || t.mbox == nil {
		if err := t.closeMbox(); err != nil {
			return err
		}
		f, err := t.root.OpenFile(t.made[m.Mailbox], os.O_WRONLY|os.O_APPEND, 0o600)
		if err != nil {
			return err
		}
		t.mbox, t.box = f, m.Mailbox
	}
	w := bufio.NewWriterSize(t.mbox, 64<<10)
	date := m.Date
	if date.IsZero() {
		date = time.Unix(0, 0)
	}
	_, _ = w.WriteString("From MAILER-DAEMON " + date.UTC().Format("Mon Jan _2 15:04:05 2006") + "\n")
	q := &quoter{w: w, eol: "\r\n"}
	if lf {
		q.eol = "\n"
	}
	q.status(m)
	var out io.Writer = q
	if lf {
		out = toLF{q}
	}
	r, err := t.content.open()
	if err == nil {
		err = withoutState(out, r)
	}
	if err == nil {
		err = q.end()
	}
	return errors.Join(err, w.Flush())
}

// withoutState copies a message without the fields of its header that say in an mbox what its flags are: they came from
// elsewhere, and would count besides those that status writes, or instead of them.
func withoutState(w io.Writer, r io.Reader) error {
	b := bufio.NewReader(r)
	whole, skip := true, false // whole: a line begins
	for {
		line, err := b.ReadSlice('\n')
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) && !errors.Is(err, io.EOF) {
			return err
		}
		if whole && len(line) > 0 && line[0] != ' ' && line[0] != '\t' {
			name, _, ok := bytes.Cut(line, []byte{':'})
			skip = ok && ofMbox(string(name))
		}
		if !skip {
			if _, err := w.Write(line); err != nil {
				return err
			}
		}
		if whole && err == nil && len(bytes.TrimRight(line, "\r\n")) == 0 { // the body
			_, err := io.Copy(w, b)
			return err
		}
		if whole = err == nil; errors.Is(err, io.EOF) {
			return nil
		}
	}
}

func (t *Target) closeMbox() error {
	if t.mbox == nil {
		return nil
	}
	err := t.mbox.Close()
	t.mbox, t.box = nil, ""
	return err
}

// quoter writes the lines of a message into an mbox.
type quoter struct {
	w    *bufio.Writer
	eol  string
	line []byte // what may be the beginning of a From_ line
	in   bool   // in the rest of a line
	cr   bool   // a line that is only a CR so far
	body bool   // behind the header, where reading takes a ">" off
	some bool
	last byte
}

// status writes the flags in front of the header, where mail clients look for them. They are no part of the message.
func (q *quoter) status(m Meta) {
	status, x := "O", ""
	var words []string
	for _, f := range m.Flags {
		switch l := mboxLetters().letter(f); {
		case l == 'R':
			status = "RO"
		case l != 0:
			x += string(l)
		case !strings.HasPrefix(f, `\`):
			words = append(words, f)
		}
	}
	_, _ = q.w.WriteString("Status: " + status + q.eol)
	if x != "" {
		_, _ = q.w.WriteString("X-Status: " + x + q.eol)
	}
	if len(words) > 0 {
		_, _ = q.w.WriteString("X-Keywords: " + strings.Join(words, " ") + q.eol)
	}
}

// Write takes content; the beginnings of lines are held until it is clear whether they are to be quoted.
func (q *quoter) Write(p []byte) (int, error) {
	for rest := p; len(rest) > 0; {
		if !q.in {
			n := q.begin(rest)
			rest = rest[n:]
			continue
		}
		i := bytes.IndexByte(rest, '\n') + 1
		if q.in = i == 0; q.in {
			i = len(rest)
		}
		q.body = q.body || q.cr && rest[0] == '\n'
		q.cr = false
		q.put(rest[:i])
		rest = rest[i:]
	}
	return len(p), nil
}

// begin takes octets of the beginning of a line and tells how many.
func (q *quoter) begin(p []byte) int {
	for i, c := range p {
		q.line = append(q.line, c)
		tail := bytes.TrimLeft(q.line, ">")
		if string(tail) == "From " {
			if q.body || len(tail) == len(q.line) {
				q.put([]byte{'>'})
			}
		} else if len(tail) < 5 && strings.HasPrefix("From ", string(tail)) && len(q.line) < 1000 {
			continue // not clear yet
		}
		q.put(q.line)
		q.in = c != '\n'
		q.body = q.body || c == '\n' && len(q.line) == 1
		q.cr = c == '\r' && len(q.line) == 1
		q.line = q.line[:0]
		return i + 1
	}
	return len(p)
}

func (q *quoter) put(p []byte) {
	if len(p) > 0 {
		_, _ = q.w.Write(p) // its error stays with it until Flush
		q.some, q.last = true, p[len(p)-1]
	}
}

// end ends the last line and adds the empty one that parts messages.
func (q *quoter) end() error {
	q.put(q.line)
	if q.some && q.last != '\n' {
		_, _ = q.w.WriteString(q.eol)
	}
	_, err := q.w.WriteString("\n")
	return err
}
