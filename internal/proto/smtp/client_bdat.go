package smtp

import (
	"bufio"
	"errors"
	"io"
	"strconv"

	"postel/internal/mail"
	"postel/internal/observe"
)

const (
	chunkSize = 64 << 10 // octets of a chunk
	maxAhead  = 32 << 10 // octets of a message that is sent behind its recipients, before it is known whether there are any
)

// chunks tells whether the content goes by BDAT: always when it must, else when that saves a round trip, as the server
// takes the whole of a small message together with its envelope (RFC 3030 §4.2).
func (t *sending) chunks() (byBDAT, ahead bool) {
	_, pipelining := t.c.extensions["PIPELINING"]
	small := t.e.Size > 0 && t.e.Size <= maxAhead && pipelining && len(t.todo) < window
	return t.c.chunking() && (t.e.Body == mail.BodyBinaryMIME || small), small
}

// chunker says each Write as a chunk.
type chunker struct {
	c    *Client
	last bool
	sent int // commands
	size int64
}

func (k *chunker) Write(p []byte) (int, error) {
	line := "BDAT " + strconv.Itoa(len(p))
	if k.last {
		line += " LAST"
	}
	k.c.write(line, false)
	k.sent++
	k.size += int64(len(p))
	return k.c.w.Write(p)
}

// Flush sends what is left as the last chunk.
func (k *chunker) close(w *bufio.Writer) error {
	k.last = true
	if w.Buffered() > 0 {
		return w.Flush()
	}
	_, err := k.Write(nil)
	return err
}

// sendChunks says the content in chunks, without waiting for replies between them: they are so short that they fit
// into the buffers below us. Only binary content is sent as it is; of other the lines are mended, as for DATA.
func (t *sending) sendChunks(body io.Reader) (*chunker, error) {
	c := t.c
	k := &chunker{c: c}
	buf := bufio.NewWriterSize(k, chunkSize)
	var w io.Writer = buf
	lines := &DataWriter{w: buf, plain: true, bol: true}
	if t.e.Body != mail.BodyBinaryMIME {
		w = lines
	}
	if c.buf == nil {
		c.buf = make([]byte, 16<<10)
	}
	for {
		n, err := body.Read(c.buf)
		if _, werr := w.Write(c.buf[:n]); werr != nil {
			return k, c.broken("content", werr)
		}
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			_ = c.broken("content", err)
			_ = c.conn.Close()
			return k, errBody{err}
		}
	}
	if t.e.Body != mail.BodyBinaryMIME {
		lines.end()
	}
	if err := k.close(buf); err != nil {
		return k, c.broken("content", err)
	}
	c.o.Trace(observe.Note, []byte("message of "+strconv.FormatInt(k.size, 10)+" octets in "+strconv.Itoa(k.sent)+" chunks"), false)
	return k, nil
}

// hearChunks hears the replies to all chunks. The first that is not positive is that of the message (RFC 3030 §4.1);
// the others then say no more. In LMTP the last has one for each recipient that was taken (RFC 2033 §4.2), and one when
// it is refused for what came before.
func (t *sending) hearChunks(k *chunker) error {
	failed := false
	for i := range k.sent {
		replies := 1
		if i == k.sent-1 && t.c.o.LMTP && !failed && !t.refused {
			replies = max(len(t.accepted), 1)
		}
		for n := range replies {
			r, err := t.c.final()
			if err != nil {
				return err
			}
			switch {
			case failed || t.refused || len(t.accepted) == 0: // MAIL or RCPT said why
			case r.Code == 500 || r.Code == 502:
				return t.unknown(r)
			case i == k.sent-1 && t.c.o.LMTP:
				t.settle(t.accepted[n], mail.ScopeRecipient, r)
			case i == k.sent-1 || !r.Positive():
				failed = !r.Positive()
				t.all(mail.ScopeMessage, r)
			}
		}
	}
	t.c.dirty = failed || t.refused || len(t.accepted) == 0
	return nil
}

// unknown ends the session with a server, or a filter in front of it, that does not know BDAT though it offered it: it
// takes the content for commands.
func (t *sending) unknown(r Reply) error {
	t.c.noChunks = true
	t.all(mail.ScopeSession, NewReply(451, mail.Enhanced{4, 5, 0}, "%s offers CHUNKING and does not know BDAT: %s", t.c.o.Host, r))
	return t.c.broken("bdat", mail.E("smtp.bdat", mail.Invalid, "BDAT is offered and unknown"))
}

// NoChunks tells whether the server was found not to know BDAT, so that another session should be without.
func (c *Client) NoChunks() bool { return c.noChunks }
