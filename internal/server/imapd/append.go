package imapd

import (
	"bytes"
	"context"
	"errors"
	"io"
	"time"

	"postel/internal/mail"
	"postel/internal/observe"
	"postel/internal/proto/imap"
	"postel/internal/store"
)

// append is APPEND. What can be refused is refused before the message comes.
func (s *session) append(ctx context.Context, a imap.Append) error {
	to, err := s.target(ctx, a.Mailbox)
	if err != nil {
		return err
	}
	flags, keywords, err := flagsOf(a.Flags)
	if err != nil {
		return err
	}
	if limit := s.srv.o.Limits.Message; a.Size > limit {
		return mail.E("imapd.append", mail.TooLarge, "message is larger than %d octets", limit)
	}
	if a.Size == 0 {
		return mail.E("imapd.append", mail.Invalid, "message is empty")
	}
	if err := s.srv.o.Store.Room(a.Size); err != nil {
		return err
	}
	in := s.srv.o.Store.Incoming(ctx)
	defer in.Discard()
	if err := s.receive(in, a.Size); err != nil {
		return err
	}
	m, err := in.Seal()
	if err != nil {
		return err
	}
	defer m.Discard()
	ap, err := s.srv.o.Store.AppendOne(ctx, m, store.Delivery{
		Account: s.account(), Mailbox: to.ID, Flags: flags, Keywords: keywords, InternalDate: a.Date,
	})
	if err != nil {
		return withCode(err, mail.NotFound, imap.CodeTryCreate)
	}
	s.okCode = imap.CodeAppendUID(ap.UIDValidity, uint32(ap.UID))
	s.srv.o.Journey.Add(observe.Event{
		Message: m.ID(), Kind: observe.Filed, Session: sessionName(s.glass.ID()), Recipient: s.who.Login,
		Mailbox: to.Name, Size: m.Size(), Why: "appended by an IMAP client",
	})
	return nil
}

// receive reads the message of size octets into in, to its end even when it is refused on the way.
func (s *session) receive(in io.Writer, size int64) error {
	r := s.d.OpenMessage()
	buf := make([]byte, min(size, 32<<10))
	began, read := time.Now(), int64(0)
	var refused error
	for {
		s.conn.Busy(s.messageTime(began, read))
		n, err := r.Read(buf)
		read += int64(n)
		if refused == nil && n > 0 {
			refused = take(in, buf[:n])
		}
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
	}
	if err := s.d.EndMessage(); err != nil {
		return syntax{err}
	}
	return refused
}

// minRate is the octets a second that a message must bring on average beyond a start of two Limits.Command, so that
// none drips for ever.
const minRate = 256

// messageTime gives how long the next octets of a message may take.
func (s *session) messageTime(began time.Time, read int64) time.Duration {
	limit := s.srv.o.Limits.Command
	budget := 2*limit + time.Duration(read/minRate)*time.Second - time.Since(began)
	return max(min(limit, budget), 1)
}

// take writes a piece; NUL is no part of a message (RFC 3501 §9 CHAR8), everything else is taken as it is.
func take(in io.Writer, piece []byte) error {
	if bytes.IndexByte(piece, 0) >= 0 {
		return mail.E("imapd.append", mail.Rejected, "message holds NUL")
	}
	_, err := in.Write(piece)
	return err
}
