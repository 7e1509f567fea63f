package imapd

import (
	"time"

	"postel/internal/mail"
	"postel/internal/proto/imap"
)

// enter waits for a search's turn to read messages, for one batch of them.
func (q *query) enter() error {
	for {
		t := time.NewTimer(q.s.srv.o.Limits.Progress)
		select {
		case q.s.srv.reading <- struct{}{}:
			t.Stop()
			return nil
		case <-q.ctx.Done():
			t.Stop()
		case <-t.C:
		}
		if err := q.progress(); err != nil {
			return err
		}
	}
}

// progress tells the client of a long search now and then that we are at it (RFC 3501 §7.1.1). So its own patience is
// not tried, and one that is gone is noticed: what is written to it comes back as an error. Kind Canceled.
func (q *query) progress() error {
	if err := q.ctx.Err(); err != nil {
		return &mail.Error{Op: "imapd.search", Kind: mail.Canceled, Err: err}
	}
	now := time.Now()
	if now.Sub(q.told) < q.s.srv.o.Limits.Progress {
		return nil
	}
	q.told = now
	q.s.e.Status("", imap.OK, "", "still searching")
	if err := q.s.e.Flush(); err != nil {
		return &mail.Error{Op: "imapd.search", Kind: mail.Canceled, Err: err}
	}
	return nil
}
