package backup

import (
	"context"
	"encoding/json"
	"io"
	"slices"
	"time"

	"postel/internal/blob"
	"postel/internal/directory"
	"postel/internal/kv"
	"postel/internal/mail"
	"postel/internal/queue"
	"postel/internal/store"
)

// Rooms are what is backed up and restored.
type Rooms struct {
	Store     *store.Store
	Blobs     *blob.Store
	Queue     *queue.Queue
	Directory Directory
	IDs       *mail.IDs
	Clock     func() time.Time
	Version   string
}

// Directory is what backups need of the directory: its rows, as they are.
type Directory interface {
	Accounts(ctx context.Context) ([]directory.Account, error)
	AccountOf(ctx context.Context, a mail.Address) (directory.Account, error)
	ArchiveShared(ctx context.Context) ([]kv.Row, error)
	ArchiveAccount(ctx context.Context, id mail.AccountID) ([]kv.Row, error)
	RestoreShared(ctx context.Context, rows []kv.Row) (int, error)
	RestoreAccount(ctx context.Context, id mail.AccountID, rows []kv.Row) error
}

// Order says what goes into an archive.
type Order struct {
	Account mail.Address // zero: everything
	Since   *Base        // the archive to build on, or nil
}

// Base is what an archive that builds on another knows of it.
type Base struct {
	Head     Head
	accounts map[mail.AccountID]baseAccount
}

// baseAccount is an account of a Base: the emails that it has, ascending, as long as INBOX has that UIDVALIDITY. An account
// that was restored since has another, and its emails may be others.
type baseAccount struct {
	validity uint32
	emails   []store.EmailID
}

func inboxValidity(d *store.Dump) uint32 {
	for _, m := range d.Mailboxes {
		if m.ID == store.Inbox {
			return m.UIDValidity
		}
	}
	return 0
}

// Write writes an archive. What it reads is consistent as the package says; mail may come and go meanwhile.
func Write(ctx context.Context, r Rooms, o Order, w io.Writer) (err error) {
	c, err := newCodec()
	if err != nil {
		return err
	}
	defer c.close()
	x := &writing{Rooms: r, s: &sections{w: w, c: c}, buf: make([]byte, bodyPart)}
	head := Head{Format: 1, ID: r.IDs.New(r.Clock()), Made: r.Clock().UTC(), Version: r.Version}
	if o.Since != nil {
		head.Since = o.Since.Head.ID
	}
	var accounts []directory.Account
	if o.Account != (mail.Address{}) {
		a, err := r.Directory.AccountOf(ctx, o.Account)
		if err != nil {
			return err
		}
		head.Of, accounts = a.Address.String(), []directory.Account{a}
	} else if accounts, err = r.Directory.Accounts(ctx); err != nil {
		return err
	}
	if err := x.json(secHead, head); err != nil {
		return err
	}
	if err := x.shared(ctx); err != nil {
		return err
	}
	for _, a := range accounts {
		base := baseAccount{}
		if o.Since != nil {
			base = o.Since.accounts[a.ID]
		}
		if err := x.account(ctx, a, base); err != nil {
			return mail.Wrap("backup.account "+a.Address.String(), err)
		}
	}
	x.s.account = 0
	if head.Of == "" {
		if err := x.queue(ctx); err != nil {
			return err
		}
	}
	return x.json(secEnd, x.all)
}

// writing is one archive on its way.
type writing struct {
	Rooms
	s   *sections
	buf []byte
	all total
}

func (x *writing) json(kind byte, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return mail.Wrap("backup.write", err)
	}
	return x.s.write(kind, 0, 0, b)
}

func (x *writing) shared(ctx context.Context) error {
	rows, err := x.Directory.ArchiveShared(ctx)
	if err != nil {
		return err
	}
	for part := range slices.Chunk(rows, 500) {
		if err := x.s.write(secDirectory, 0, 0, encodeRows(part)); err != nil {
			return err
		}
	}
	return nil
}

func (x *writing) account(ctx context.Context, a directory.Account, base baseAccount) error {
	d, err := x.Store.Dump(ctx, a.ID)
	if mail.Is(err, mail.NotFound) {
		return nil // removed meanwhile, or without mailboxes
	}
	if err != nil {
		return err
	}
	rows, err := x.Directory.ArchiveAccount(ctx, a.ID)
	if mail.Is(err, mail.NotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	x.s.account = a.ID
	if err := x.json(secAccount, account{Address: a.Address.String(), Mail: *d}); err != nil {
		return err
	}
	if err := x.s.write(secRows, 0, 0, encodeRows(rows)); err != nil {
		return err
	}
	emails, err := x.entries(d)
	if err != nil {
		return err
	}
	if base.validity != inboxValidity(d) {
		base.emails = nil
	}
	sum := total{}
	for _, e := range emails {
		if _, has := slices.BinarySearch(base.emails, e); has {
			continue
		}
		n, err := x.message(ctx, a.ID, e)
		if mail.Is(err, mail.NotFound) {
			sum.Gone = append(sum.Gone, uint64(e)) // for good, meanwhile
			continue
		}
		if mail.Is(err, mail.Internal) {
			sum.Unreadable++ // damaged where it lies: that keeps no other message out of the archive
			continue
		}
		if err != nil {
			return err
		}
		sum.Messages++
		sum.Bytes += n
	}
	x.all.Accounts++
	x.all.Messages += sum.Messages
	x.all.Bytes += sum.Bytes
	x.all.Unreadable += sum.Unreadable
	return x.json(secAccounted, sum)
}

// entries writes the entries and gives the emails that they name, ascending.
func (x *writing) entries(d *store.Dump) ([]store.EmailID, error) {
	emails := make([]store.EmailID, 0, len(d.Entries))
	var b []byte
	for i := range d.Entries {
		emails = append(emails, d.Entries[i].Email)
		if b = appendEntry(b, &d.Entries[i]); len(b) > bodyPart || i == len(d.Entries)-1 {
			if err := x.s.write(secEntries, 0, 0, b); err != nil {
				return nil, err
			}
			b = b[:0]
		}
	}
	slices.Sort(emails)
	return slices.Compact(emails), nil
}

// message writes one message, and gives its size.
func (x *writing) message(ctx context.Context, a mail.AccountID, id store.EmailID) (int64, error) {
	row, e, err := x.Store.RawEmail(ctx, a, id)
	if err != nil {
		return 0, err
	}
	return e.Size, x.letter(ctx, secMessage, uint64(id), row, e.Blob)
}

// letter writes a row and a body. Kind NotFound before anything was written when there is no body.
func (x *writing) letter(ctx context.Context, kind byte, id uint64, row []byte, b mail.ID) error {
	size, err := x.Blobs.Size(ctx, b)
	if err != nil {
		return err
	}
	body, err := x.Blobs.Open(ctx, b, 0, -1)
	if err != nil {
		return err
	}
	defer func() { _ = body.Close() }()
	first := true
	for part, left := uint32(0), size; first || left > 0; part++ {
		n, err := io.ReadFull(body, x.buf[:min(left, bodyPart)])
		if err != nil && left > 0 {
			return mail.Wrap("backup.body "+b.String(), err)
		}
		left -= int64(n)
		payload, k := x.buf[:n], byte(secBody)
		if first {
			l := letter{row: row, size: size, body: payload}
			payload, k, first = l.encode(), kind, false
		}
		if err := x.s.write(k, id, part, payload); err != nil {
			return err
		}
	}
	return nil
}

func (x *writing) queue(ctx context.Context) error {
	f := queue.Filter{Limit: 100}
	for {
		items, next, err := x.Queue.List(ctx, f)
		if err != nil {
			return err
		}
		for _, it := range items {
			err := x.letter(ctx, secQueue, it.ID.Number, it.Archive(), it.Blob)
			if mail.Is(err, mail.NotFound) {
				continue // sent meanwhile
			}
			if mail.Is(err, mail.Internal) {
				x.all.Unreadable++
				continue
			}
			if err != nil {
				return err
			}
			x.all.Queue++
		}
		if next.IsZero() {
			return nil
		}
		f.After = next
	}
}
