package store

import (
	"context"
	"fmt"
	"sync"
	"time"

	"postel/internal/lease"
	"postel/internal/mail"
)

// maildrops are the accounts that a POP3 session of this process holds.
type maildrops struct {
	mu   sync.Mutex
	held map[mail.AccountID]bool
}

// take gives the account to the caller, unless it is taken.
func (d *maildrops) take(a mail.AccountID) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.held[a] {
		return false
	}
	if d.held == nil {
		d.held = make(map[mail.AccountID]bool)
	}
	d.held[a] = true
	return true
}

func (d *maildrops) drop(a mail.AccountID) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.held, a)
}

// LockMaildrop gives one POP3 session the account's maildrop (RFC 1939 §4), until release is called, once or more
// often; Kind Busy when another session has it, here or on another node. IMAP sessions and deliveries do not care. The
// maildrop of a node that was killed is free after the time to live of its leases.
func (s *Store) LockMaildrop(ctx context.Context, a mail.AccountID) (release func(), err error) {
	if !s.drops.take(a) {
		return nil, errMaildrop()
	}
	if s.o.Node == nil {
		return sync.OnceFunc(func() { s.drops.drop(a) }), nil
	}
	taken, err := s.o.Node.Take(ctx, 1, fmt.Sprintf("maildrop/%016x", uint64(a)))
	if err == nil && len(taken) == 0 {
		err = errMaildrop()
	}
	if err != nil {
		s.drops.drop(a)
		return nil, mail.Wrap("store.maildrop", err)
	}
	return sync.OnceFunc(func() { s.giveMaildrop(a, taken) }), nil
}

func errMaildrop() error {
	return mail.E("store.maildrop", mail.Busy, "the maildrop is in use by another session")
}

// giveMaildrop gives a maildrop back. Should the store not answer, the next session of this node takes the lease anew.
func (s *Store) giveMaildrop(a mail.AccountID, l []lease.Lease) {
	defer s.drops.drop(a)
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if err := s.o.Node.Forget(ctx, l...); err != nil {
		s.o.Log.Warn("store: a maildrop could not be given back to other nodes", "err", err)
	}
}
