package quota

import (
	"context"
	"sync"
	"time"

	"postel/internal/directory"
	"postel/internal/mail"
	"postel/internal/store"
)

// Directory is what is asked of the directory.
type Directory interface {
	Account(ctx context.Context, id mail.AccountID) (directory.Account, error)
	Domain(ctx context.Context, d mail.Domain) (directory.Domain, error)
	// Members gives the accounts whose main address is of the domain.
	Members(ctx context.Context, d mail.Domain) ([]mail.AccountID, error)
}

// Store is what is asked of the store.
type Store interface {
	// Usages gives what these accounts hold; those that are gone are left out.
	Usages(ctx context.Context, ids []mail.AccountID) ([]store.Usage, error)
}

// Options are what a Keeper is built from.
type Options struct {
	Directory Directory
	Store     Store
	Clock     func() time.Time // nil is time.Now
	Refresh   time.Duration    // how old a sum may be at least; 0 is 30 s
	Final     bool             // a full mailbox refuses for good (5.2.2) instead of for now
}

// dear is how many times as long as it took to make a sum stays.
const dear = 50

// Keeper knows who has room. Safe for concurrent use.
type Keeper struct {
	o Options

	mu      sync.Mutex
	domains map[mail.Domain]*sum
	of      map[mail.AccountID]*sum
}

// New makes a keeper. It asks nothing yet.
func New(o Options) *Keeper {
	if o.Clock == nil {
		o.Clock = time.Now
	}
	if o.Refresh <= 0 {
		o.Refresh = 30 * time.Second
	}
	return &Keeper{o: o, domains: map[mail.Domain]*sum{}, of: map[mail.AccountID]*sum{}}
}

// Room tells whether the account may take a message of size octets (0: unknown). Kinds: NotFound; Denied (5.2.1) when
// it is disabled; OverQuota, with 4.2.2 where room may be made, with 5.2.2 where the message alone is above the limit
// (RFC 3463 §3.3).
func (k *Keeper) Room(ctx context.Context, id mail.AccountID, size int64) error {
	a, err := k.o.Directory.Account(ctx, id)
	if err != nil {
		return err
	}
	if a.Disabled {
		return &mail.Error{Op: "quota.room", Kind: mail.Denied, Code: mail.Enhanced{5, 2, 1}, Text: "mailbox disabled"}
	}
	if a.Quota > 0 {
		u, err := k.o.Store.Usages(ctx, []mail.AccountID{id})
		if err != nil {
			return err
		}
		if len(u) > 0 {
			if err := k.fits(u[0].Octets, size, a.Quota, "mailbox full"); err != nil {
				return err
			}
		}
	}
	return k.roomInDomain(ctx, a, size)
}

func (k *Keeper) roomInDomain(ctx context.Context, a directory.Account, size int64) error {
	d, err := k.o.Directory.Domain(ctx, a.Address.Domain)
	if mail.Is(err, mail.NotFound) {
		return nil // its mail still can be read
	}
	if err != nil || d.Quota <= 0 && d.MaxMessages <= 0 {
		return err
	}
	octets, messages, err := k.Domain(ctx, d.Name)
	if err != nil {
		return err
	}
	const text = "no room left for mail of this domain"
	if err := k.fits(octets, size, d.Quota, text); err != nil {
		return err
	}
	return k.fits(messages, 1, d.MaxMessages, text)
}

// fits compares; a limit of 0 is none.
func (k *Keeper) fits(used, more, limit int64, text string) error {
	switch {
	case limit <= 0:
		return nil
	case more > limit:
		return &mail.Error{Op: "quota.room", Kind: mail.OverQuota, Code: mail.Enhanced{5, 2, 2}, Text: "larger than all the room there is"}
	case used >= limit || used > limit-more:
		e := &mail.Error{Op: "quota.room", Kind: mail.OverQuota, Code: mail.Enhanced{4, 2, 2}, Text: text}
		if k.o.Final {
			e.Code[0] = 5
		}
		return e
	}
	return nil
}

// Counted takes note of what an account holds after a durable change. It is for store.Options.Counted.
func (k *Keeper) Counted(u store.Usage) {
	k.mu.Lock()
	s := k.of[u.Account]
	k.mu.Unlock()
	if s != nil {
		s.take(u)
	}
}

// Domain gives what the domain's accounts hold together.
func (k *Keeper) Domain(ctx context.Context, d mail.Domain) (octets, messages int64, err error) {
	k.mu.Lock()
	s := k.domains[d]
	if s == nil {
		s = &sum{}
		k.domains[d] = s
	}
	k.mu.Unlock()
	if err := k.refresh(ctx, d, s); err != nil {
		return 0, 0, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.octets, s.messages, nil
}

// Forget makes the next question about a domain sum it up anew.
func (k *Keeper) Forget(d mail.Domain) {
	k.mu.Lock()
	s := k.domains[d]
	k.mu.Unlock()
	if s != nil {
		s.mu.Lock()
		s.until = time.Time{}
		s.mu.Unlock()
	}
}

// refresh sums up a domain whose sum is too old. One does it at a time; who has an old one does not wait for it.
func (k *Keeper) refresh(ctx context.Context, d mail.Domain, s *sum) error {
	start := k.o.Clock()
	if !s.old(start) {
		return nil
	}
	if s.known() {
		if !s.making.TryLock() {
			return nil
		}
	} else {
		s.making.Lock()
	}
	defer s.making.Unlock()
	if !s.old(k.o.Clock()) {
		return nil // somebody else has made it meanwhile
	}
	ids, err := k.o.Directory.Members(ctx, d)
	if err != nil {
		return err
	}
	k.mu.Lock()
	for _, id := range ids { // first, so that no change of theirs from now on is missed
		k.of[id] = s
	}
	k.mu.Unlock()
	usages, err := k.o.Store.Usages(ctx, ids)
	if err != nil {
		return err
	}
	gone := s.replace(ids, usages)
	k.mu.Lock()
	for _, id := range gone {
		if k.of[id] == s {
			delete(k.of, id)
		}
	}
	k.mu.Unlock()
	took := k.o.Clock().Sub(start)
	s.mu.Lock()
	s.until = start.Add(max(k.o.Refresh, dear*took))
	s.mu.Unlock()
	return nil
}
