package pop3d

import (
	"context"
	"encoding/base32"
	"encoding/binary"
	"fmt"
	"strconv"
	"strings"

	"postel/internal/mail"
	"postel/internal/store"
)

// maildrop is INBOX as it was at the login. Its messages are numbered from 1.
type maildrop struct {
	store   *store.Store
	account mail.AccountID
	mail    *store.Snapshot
	free    func() // the hold

	marked []uint64 // a bit a message: deleted at QUIT; nil until the first
	count  int      // of messages not marked
	octets int64    // of those
}

// openMaildrop takes hold of an account's maildrop. Kinds: Busy, Denied when there is no INBOX.
func openMaildrop(ctx context.Context, st *store.Store, a mail.AccountID) (*maildrop, error) {
	free, err := st.LockMaildrop(ctx, a)
	if err != nil {
		return nil, err
	}
	view, err := st.Open(ctx, a, store.Inbox, true)
	if err != nil {
		free()
		if mail.Is(err, mail.NotFound) {
			err = mail.E("pop3d.maildrop", mail.Denied, "the account has no mailbox")
		}
		return nil, err
	}
	defer view.Close()
	p, err := view.Latest(ctx)
	if err != nil {
		free()
		return nil, err
	}
	d := &maildrop{store: st, account: a, mail: p, free: free}
	d.recount()
	return d, nil
}

// release lets it go; again or on nil it does nothing.
func (d *maildrop) release() {
	if d != nil {
		d.free()
	}
}

// recount counts all messages, none of them marked.
func (d *maildrop) recount() {
	d.marked, d.count, d.octets = nil, d.mail.Len(), 0
	for _, e := range d.mail.All() {
		d.octets += e.Size
	}
}

func (d *maildrop) summary() string {
	return fmt.Sprintf("%d messages (%d octets)", d.count, d.octets)
}

func (d *maildrop) isMarked(n int) bool {
	return d.marked != nil && d.marked[n/64]&(1<<(n%64)) != 0
}

// entry gives a message by its number; Kind NotFound when it does not exist or is marked.
func (d *maildrop) entry(n int) (store.Entry, error) {
	switch {
	case n < 1 || n > d.mail.Len():
		return store.Entry{}, mail.E("pop3d.maildrop", mail.NotFound, "no such message, there are %d", d.mail.Len())
	case d.isMarked(n):
		return store.Entry{}, mail.E("pop3d.maildrop", mail.NotFound, "message %d is deleted", n)
	}
	return d.mail.At(n), nil
}

func (d *maildrop) mark(n int) error {
	e, err := d.entry(n)
	if err != nil {
		return err
	}
	if d.marked == nil {
		d.marked = make([]uint64, d.mail.Len()/64+1)
	}
	d.marked[n/64] |= 1 << (n % 64)
	d.count--
	d.octets -= e.Size
	return nil
}

// update removes what is marked, for good. It gives how many were removed.
func (d *maildrop) update(ctx context.Context) (int, error) {
	if d.count == d.mail.Len() {
		return 0, nil
	}
	uids := make([]store.UID, 0, d.mail.Len()-d.count)
	for n, e := range d.mail.All() {
		if d.isMarked(n) {
			uids = append(uids, e.UID)
		}
	}
	gone, err := d.store.Expunge(ctx, d.account, store.Inbox, uids)
	return len(gone), err
}

// uidl gives a message's lasting id (RFC 1939 §7): its email, and which copy of it this is. The email's number is
// written in 13 digits of base32hex, as RFC 4648 §7 has it, in lower case.
func uidl(e store.Entry) string {
	var b [8]byte
	binary.BigEndian.PutUint64(b[:], uint64(e.Email))
	id := strings.ToLower(base32.HexEncoding.WithPadding(base32.NoPadding).EncodeToString(b[:]))
	if e.Copy != 0 {
		id += "-" + strconv.FormatUint(uint64(e.Copy), 10)
	}
	return id
}
