package imapd

import (
	"context"

	"postel/internal/mail"
	"postel/internal/proto/imap"
	"postel/internal/store"
)

// target finds the mailbox that COPY, MOVE and APPEND write to; a client may make it and try again.
func (s *session) target(ctx context.Context, name string) (store.Mailbox, error) {
	m, err := s.srv.o.Store.MailboxAgain(ctx, s.account(), name, s.lastTarget)
	if err == nil {
		s.lastTarget = m
	}
	return m, withCode(err, mail.NotFound, imap.CodeTryCreate)
}

// copy is COPY and UID COPY.
func (s *session) copy(ctx context.Context, a imap.Copy) error {
	uids, to, err := s.copyArguments(ctx, a)
	if err != nil || len(uids) == 0 {
		return err
	}
	done, err := s.srv.o.Store.Copy(ctx, s.account(), s.box.id(), uids, to.ID)
	if err != nil {
		return withCode(err, mail.NotFound, imap.CodeTryCreate)
	}
	if len(done.From) > 0 {
		s.okCode = imap.CodeCopyUID(done.UIDValidity, done.From, done.To)
	}
	return s.allOf(uids, done)
}

// move is MOVE and UID MOVE: COPYUID comes before the messages go (RFC 6851 §4.3).
func (s *session) move(ctx context.Context, a imap.Copy) error {
	if err := s.mayChange(); err != nil {
		return err
	}
	uids, to, err := s.copyArguments(ctx, a)
	if err != nil || len(uids) == 0 {
		return err
	}
	done, err := s.srv.o.Store.Move(ctx, s.account(), s.box.id(), uids, to.ID)
	if len(done.From) > 0 {
		s.e.Status("", imap.OK, imap.CodeCopyUID(done.UIDValidity, done.From, done.To), "moved")
	}
	if err != nil {
		return withCode(err, mail.NotFound, imap.CodeTryCreate)
	}
	return s.allOf(uids, done)
}

func (s *session) copyArguments(ctx context.Context, a imap.Copy) ([]store.UID, store.Mailbox, error) {
	uids, err := s.uids(a.Set)
	if err != nil {
		return nil, store.Mailbox{}, err
	}
	to, err := s.target(ctx, a.Mailbox)
	return uids, to, err
}

// allOf fails when messages that were named by number are gone.
func (s *session) allOf(asked []store.UID, done store.Copied) error {
	if len(done.From) < len(asked) && s.flags&byUID == 0 {
		return errGone()
	}
	return nil
}

// expunge is EXPUNGE; what went is told with the changes.
func (s *session) expunge(ctx context.Context, _ imap.None) error { return s.expungeAmong(ctx, nil) }

// uidExpunge is UID EXPUNGE.
func (s *session) uidExpunge(ctx context.Context, a imap.Set) error {
	uids, err := s.uids(a.Set)
	if err != nil || len(uids) == 0 {
		return err
	}
	return s.expungeAmong(ctx, uids)
}

func (s *session) expungeAmong(ctx context.Context, uids []store.UID) error {
	if err := s.mayChange(); err != nil {
		return err
	}
	_, err := s.srv.o.Store.ExpungeDeleted(ctx, s.account(), s.box.id(), uids)
	return err
}
