package store

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"postel/internal/kv"
	"postel/internal/mail"
)

// View is a session's hold on a mailbox. Latest and Changed are safe for concurrent use.
type View struct {
	h       *shared
	mailbox Mailbox
	recent  UID
	taken   UID // messages below are not recent for later sessions
	write   bool
	shown   atomic.Uint32 // UIDNEXT of the newest snapshot that Latest gave
	changed chan struct{}
	close   sync.Once
}

// Open takes hold of a mailbox for a session; readOnly as EXAMINE does: then what is recent stays so for others. Kind
// NotFound when it does not exist.
func (s *Store) Open(ctx context.Context, a mail.AccountID, m MailboxID, readOnly bool) (*View, error) {
	v := &View{write: !readOnly, changed: make(chan struct{}, 1)}
	s.open.hold(s, a, m, v)
	err := s.openView(ctx, a, m, v)
	if err != nil {
		v.write = false
		v.Close()
		return nil, mail.Wrap("store.open", err)
	}
	return v, nil
}

func (s *Store) openView(ctx context.Context, a mail.AccountID, m MailboxID, v *View) error {
	err := s.o.KV.View(ctx, lockOf(a), func(r kv.Reader) error {
		row, err := r.Get(keyMailbox(a, m))
		if mail.Is(err, mail.NotFound) {
			return noMailbox()
		}
		if err != nil {
			return err
		}
		box, err := decodeMailbox(row)
		if err != nil {
			return err
		}
		v.mailbox = listed{m, box}.mailbox()
		v.mailbox.Subscribed, err = subscribed(r, a, box.name)
		return err
	})
	if err != nil {
		return err
	}
	announced := v.h.announced() // by others: before this one looks
	if _, err := v.Latest(ctx); err != nil {
		return err
	}
	return v.takeRecent(ctx, announced)
}

// takeRecent finds out from which UID on messages are recent for a session that begins, and, if it may write, sees to
// it that they are not for later ones (RFC 3501 §2.3.2). announced is what other sessions of this process were told.
func (v *View) takeRecent(ctx context.Context, announced UID) error {
	take := func(write bool) error {
		return v.h.s.change(ctx, v.h.a, []MailboxID{v.h.m}, func(c *change) error {
			b := c.boxes[0]
			v.recent, v.taken = max(b.recentFrom, announced), b.uidNext
			if write {
				b.setRecent(b.uidNext, 0)
			}
			return nil
		})
	}
	err := take(v.write)
	if mail.Is(err, mail.Full) { // what can be read on a full disk is recent once more
		err = take(false)
	}
	return err
}

func (b *box) setRecent(from UID, n uint32) {
	if from > b.recentFrom {
		b.recentFrom, b.recent, b.dirty = from, n, true
	}
}

// Mailbox gives the mailbox as it was when it was opened; it may have been renamed since.
func (v *View) Mailbox() Mailbox { return v.mailbox }

// Latest gives the newest durable state: at least all that anyone was told of before the call. It costs next to
// nothing when nothing changed. Kind NotFound once the mailbox is gone.
func (v *View) Latest(ctx context.Context) (*Snapshot, error) {
	p, err := v.h.latest(ctx)
	if err != nil {
		return nil, err
	}
	for {
		old := v.shown.Load()
		if uint32(p.uidNext) <= old || v.shown.CompareAndSwap(old, uint32(p.uidNext)) {
			break
		}
	}
	if v.write {
		v.h.announce(p.uidNext)
	}
	return p, nil
}

// Changed gets a value after something in the mailbox has changed, one for any number of changes. It is for IDLE:
// who takes it calls Latest.
func (v *View) Changed() <-chan struct{} { return v.changed }

func (v *View) signal() {
	select {
	case v.changed <- struct{}{}:
	default:
	}
}

// RecentFrom is the UID from which on messages have \Recent in this session.
func (v *View) RecentFrom() UID { return v.recent }

// Close lets the mailbox go. Calling it again does nothing.
func (v *View) Close() {
	v.close.Do(func() {
		v.h.s.open.release(v.h, v)
		if v.write && UID(v.shown.Load()) > v.taken {
			ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
			defer cancel()
			// What this session was shown is not recent for later ones; failing that it is once more.
			_ = v.h.s.leaveRecent(ctx, v.h, UID(v.shown.Load()))
		}
	})
}

// leaveRecent makes messages below a UID no longer recent.
func (s *Store) leaveRecent(ctx context.Context, h *shared, until UID) error {
	return s.change(ctx, h.a, []MailboxID{h.m}, func(c *change) error {
		b := c.boxes[0]
		if until <= b.recentFrom {
			return nil
		}
		n := uint32(0)
		o := kv.ScanOptions{KeysOnly: true}
		for row, err := range c.tx.Scan(keyEntry(h.a, h.m, until), keyEntry(h.a, h.m, b.uidNext), o) {
			if err != nil {
				return err
			}
			if !b.hidden(UID(lastUint32(row.Key))) {
				n++
			}
		}
		b.setRecent(until, n)
		return nil
	})
}

func (h *shared) announced() UID {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.recent
}

func (h *shared) announce(next UID) {
	h.mu.Lock()
	h.recent = max(h.recent, next)
	h.mu.Unlock()
}
