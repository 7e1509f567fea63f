package smtpd

import (
	"context"
	"fmt"
	"io"
	"time"

	"postel/internal/mail"
	"postel/internal/observe"
	"postel/internal/proto/smtp"
)

// chunks is a message that comes by BDAT. The transaction's Data reads all of it as one stream, on the session's own
// goroutine: where a chunk ends, the reader answers it and takes commands until the next chunk begins.
type chunks struct {
	*session
	ctx  context.Context
	tx   *transaction
	size int64 // of the chunk being read

	lost error // why the connection is of no more use
	over bool  // the session's last words were said
	// interrupted holds the command that ended the transaction between two chunks, with what refuses it.
	interrupted []byte
	refusal     error
}

// bdat takes the first chunk, the others within it, and ends the transaction (RFC 3030 §2).
func (s *session) bdat(ctx context.Context, rest string) (smtp.Reply, error) {
	first, err := smtp.ParseChunk(rest)
	if err != nil {
		return s.refuseChunk(first.Size, err)
	}
	c := &chunks{session: s, ctx: ctx, tx: s.tx, size: first.Size}
	s.forget() // Data ends it, whatever comes of it
	o := s.server.o
	body := smtp.NewChunkReader(s.r, o.MaxSize, o.BareLF, c.tx.envelope.Body == mail.BodyBinaryMIME, first, c.next)
	s.beginBody()
	results, err := c.tx.Data(ctx, body)
	if err == nil {
		err = body.Drain()
	}
	s.state = greeted
	switch {
	case c.lost != nil:
		s.broken(c.lost)
		return smtp.Reply{}, nil
	case c.over:
		return smtp.Reply{}, nil
	case c.interrupted != nil:
		s.command(ctx, c.interrupted, c.refusal)
		return smtp.Reply{}, nil
	}
	return c.end(body, results, err)
}

// end answers the chunk at which the transaction ended: in LMTP for each recipient, if it was the last.
func (c *chunks) end(body *smtp.ChunkReader, results []smtp.Result, err error) (smtp.Reply, error) {
	if err != nil {
		if broken := body.Skip(); broken != nil {
			c.broken(broken)
			return smtp.Reply{}, nil
		}
	}
	c.inBody = false
	c.note(fmt.Sprintf("message of %d octets", body.Size()))
	if body.Lost() { // a chunk that is not worth the reading
		c.done = true
		c.conn.Linger()
	}
	to := c.tx.accepted
	if !body.Last() {
		to = nil
	}
	return c.answer("BDAT", to, results, err, body)
}

// next answers a chunk and reads commands until the next one. What has nothing to do with mail is done on the way; any
// other command ends the transaction.
func (c *chunks) next() (smtp.Chunk, error) {
	c.inBody = false
	c.server.o.OnReply("BDAT", 250)
	c.reply(smtp.NewReply(250, mail.Enhanced{2, 0, 0}, "%d octets received", c.size))
	c.state = between
	for {
		c.until = time.Time{}
		line, err := c.lines.Next()
		if err != nil && !mail.Is(err, mail.Invalid) {
			c.lost = err
			return smtp.Chunk{}, err
		}
		cmd := smtp.ParseCommand(line)
		row := c.server.byVerb[cmd.Verb]
		switch {
		case err == nil && cmd.Verb == "BDAT":
			return c.begin(line, cmd.Rest)
		case err == nil && row != nil && row.flags&aside != 0:
			if c.command(c.ctx, line, nil); !c.done {
				continue
			}
			c.over = true
			return smtp.Chunk{}, mail.E("smtpd.bdat", mail.Canceled, "the session is over")
		case err == nil:
			err = c.allowed(row, cmd.Verb)
		}
		c.interrupted, c.refusal = append([]byte{}, line...), err
		return smtp.Chunk{}, mail.E("smtpd.bdat", mail.Canceled, "the transaction was dropped")
	}
}

// begin takes the line of a further chunk. A bad one is refused, and with it all that came before.
func (c *chunks) begin(line []byte, rest string) (smtp.Chunk, error) {
	c.trace(observe.Theirs, line, false)
	next, err := smtp.ParseChunk(rest)
	if err != nil {
		c.lost = c.swallow(next.Size)
		return smtp.Chunk{}, err
	}
	c.size, c.inBody = next.Size, true
	return next, nil
}

// refuseChunk deals with a BDAT that is refused for what it is or where it stands: its chunk is not read as commands, and
// nothing is left of the transaction that it was meant for.
func (s *session) refuseChunk(size int64, why error) (smtp.Reply, error) {
	s.drop()
	if err := s.swallow(size); err != nil {
		s.broken(err)
		return smtp.Reply{}, nil
	}
	return smtp.Reply{}, why
}

// swallow takes in so many octets. Where nobody knows how many there are, or there are too many to be read for nothing,
// the session ends behind the reply.
func (s *session) swallow(size int64) error {
	if size < 0 || size > s.server.o.MaxSize+smtp.MaxJunk {
		s.done = true
		s.conn.Linger()
		return nil
	}
	s.beginBody()
	_, err := io.CopyN(io.Discard, s.r, size)
	s.inBody = false
	return err
}
