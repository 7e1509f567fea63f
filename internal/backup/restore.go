package backup

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"strconv"

	"postel/internal/blob"
	"postel/internal/kv"
	"postel/internal/mail"
	"postel/internal/queue"
	"postel/internal/store"
)

func parseNumber(s string) (uint64, error) { return strconv.ParseUint(s, 10, 64) }

// Target says where a restore goes.
type Target struct {
	To     mail.Address // an account that takes everything; zero: each its own
	Proven bool         // no UID was given out after the backup: UIDVALIDITY stays
}

// Restored is what a restore did.
type Restored struct {
	Accounts int `json:"accounts"` // made
	Messages int `json:"messages"` // brought back
	Present  int `json:"present"`  // were there already
	Bodies   int `json:"bodies"`   // were damaged, and are whole again
	Queue    int `json:"queue"`    // items, all held
	Shared   int `json:"shared"`   // domains, aliases and routes that were missing
}

// Limits of a batch of messages in one transaction.
const (
	batchMessages = 64
	batchBytes    = 4 << 20
)

// Apply brings back what Stream wrote. What is there already is left alone, but for bodies that cannot be read, so that a restore that was cut off is simply
// begun again. An account that is not there is made with its number, emails' numbers and UIDs, and can be used once all of
// its mail is there; one that is there gets what it does not have, with new UIDs. Kinds: Rejected for a damaged stream,
// NotFound, Exists, Invalid.
func Apply(ctx context.Context, r Rooms, t Target, in io.Reader) (Restored, error) {
	c, err := newCodec()
	if err != nil {
		return Restored{}, err
	}
	defer c.close()
	x := &applying{Rooms: r, t: t, in: &stream{r: in, c: c}}
	err = x.run(ctx)
	for i := range x.batch {
		x.batch[i].w.Discard()
	}
	return x.done, err
}

// applying is a restore on its way.
type applying struct {
	Rooms
	t    Target
	in   *stream
	done Restored

	id    mail.AccountID // the account at hand, here
	from  account
	rows  []kv.Row
	fresh bool // it is being made
	own   bool // its emails keep their numbers
	boxes map[store.MailboxID]store.MailboxID
	batch []pending
	size  int64
}

// pending is a message of the batch.
type pending struct {
	store.Returned
	w body
}

// body is one that is written, or was there.
type body interface {
	Link(tx kv.Tx, o blob.Owner)
	Discard()
}

func (x *applying) run(ctx context.Context) error {
	for first := true; ; first = false {
		h, b, err := x.in.read()
		switch {
		case errors.Is(err, io.EOF):
			return damaged("it has no end")
		case err != nil:
			return err
		case first && h.kind != secHead:
			return damaged("it does not begin with its head")
		case h.kind == secEnd:
			return nil
		}
		if err := x.section(ctx, &h, b); err != nil {
			return err
		}
	}
}

func (x *applying) section(ctx context.Context, h *header, b []byte) error {
	switch h.kind {
	case secHead:
		return nil
	case secDirectory:
		rows, err := decodeRows(b)
		if err != nil {
			return err
		}
		n, err := x.Directory.RestoreShared(ctx, rows)
		x.done.Shared += n
		return err
	case secAccount:
		x.from, x.rows = account{}, nil
		if err := json.Unmarshal(b, &x.from); err != nil {
			return damaged("an account")
		}
		return x.begin(ctx, h.account)
	case secRows:
		rows, err := decodeRows(b)
		x.rows = rows
		return err
	case secMessage:
		return x.message(ctx, h, b)
	case secAccounted:
		return x.end(ctx, h.account)
	case secQueue:
		return x.queued(ctx, h, b)
	}
	return damaged("a section of an unknown kind")
}

// begin finds or makes the account that the next messages go to.
func (x *applying) begin(ctx context.Context, archived mail.AccountID) error {
	addr, err := mail.ParseAddress(x.from.Address)
	if err != nil {
		return damaged("an account's address")
	}
	to := addr
	if x.t.To != (mail.Address{}) {
		to = x.t.To
	}
	acc, err := x.Directory.AccountOf(ctx, to)
	x.fresh = mail.Is(err, mail.NotFound)
	switch {
	case err != nil && !x.fresh:
		return err
	case x.fresh && (x.from.Partial || to != addr):
		return mail.E("backup.restore", mail.NotFound, "there is no account %s: restore all of it, or name one with --to", to)
	case x.fresh:
		x.id, x.own = archived, true
		err := x.Store.Found(ctx, x.id, &x.from.Mail, x.t.Proven)
		if mail.Is(err, mail.Exists) {
			err = x.resume(ctx, to)
		}
		if err != nil {
			return err
		}
	default:
		x.id, x.own = acc.ID, acc.ID == archived
	}
	return x.mailboxes(ctx)
}

// resume goes on with an account that a restore began and did not end: nobody else could use it since. One that somebody
// has is not touched.
func (x *applying) resume(ctx context.Context, addr mail.Address) error {
	all, err := x.Directory.Accounts(ctx)
	if err != nil {
		return err
	}
	for _, a := range all {
		if a.ID == x.id {
			return mail.E("backup.restore", mail.Exists, "the number of the account %s is that of %s here: add the account, then restore into it with --to", addr, a.Address)
		}
	}
	return nil
}

// mailboxes finds the mailboxes by their names; those of an account that is made are there already.
func (x *applying) mailboxes(ctx context.Context) error {
	x.boxes = map[store.MailboxID]store.MailboxID{}
	all, err := x.Store.Mailboxes(ctx, x.id)
	if err != nil {
		return err
	}
	for _, m := range x.from.Mail.Mailboxes {
		for _, here := range all {
			if here.Name == m.Name {
				x.boxes[m.ID] = here.ID
			}
		}
	}
	return nil
}

// mailbox gives the mailbox here for one of the archive, and makes it where it is missing.
func (x *applying) mailbox(ctx context.Context, m store.MailboxID) (store.MailboxID, error) {
	if here, ok := x.boxes[m]; ok {
		return here, nil
	}
	for _, d := range x.from.Mail.Mailboxes {
		if d.ID != m {
			continue
		}
		made, err := x.Store.Create(ctx, x.id, d.Name, d.Role)
		if mail.Is(err, mail.Exists) { // as the superior of another
			made, err = x.Store.Mailbox(ctx, x.id, d.Name)
		}
		x.boxes[m] = made.ID
		return made.ID, err
	}
	return 0, damaged("a message of a mailbox that is not there")
}

func (x *applying) message(ctx context.Context, h *header, b []byte) error {
	l, err := decodeLetter(b)
	if err != nil {
		return err
	}
	if x.id == 0 || len(l.entries) == 0 || len(l.entries) > 1<<16 {
		return damaged("a message of no account")
	}
	l.row = append([]byte(nil), l.row...)
	e, err := store.ParseEmailRow(l.row, store.EmailID(h.id))
	if err != nil {
		return damaged("the row of a message")
	}
	if e.Size != l.size+int64(len(e.Prefix)) {
		return damaged("the length of a message")
	}
	w, err := x.body(ctx, h, &l, e.Blob)
	if err != nil {
		return err
	}
	p := pending{w: w, Returned: store.Returned{Row: l.row, Link: w.Link}}
	if x.own {
		p.Email = e.ID
	} else if has, err := x.Store.HasBody(ctx, x.id, e.Blob); err != nil || has {
		w.Discard()
		x.done.Present++
		return err
	}
	for _, at := range l.entries {
		here, err := x.mailbox(ctx, at.Mailbox)
		if err != nil {
			w.Discard()
			return err
		}
		p.Keywords = append(p.Keywords, at.Flags.Keywords(x.from.Mail.Keywords))
		if at.Mailbox = here; !x.fresh {
			at.UID = 0
		}
		p.Places = append(p.Places, at)
	}
	x.batch = append(x.batch, p)
	if x.size += l.size; len(x.batch) >= batchMessages || x.size >= batchBytes {
		return x.flush(ctx)
	}
	return nil
}

// body reads the rest of a body, and writes it unless it is there whole. One that is in use and damaged is replaced.
func (x *applying) body(ctx context.Context, h *header, l *letter, id mail.ID) (body, error) {
	state, err := x.Blobs.Condition(ctx, id)
	if err != nil {
		return nil, err
	}
	if size, err := x.Blobs.Size(ctx, id); err == nil && size != l.size {
		return nil, mail.E("backup.restore", mail.Exists, "a body with the id %s is here and is another", id)
	}
	if state == blob.Whole {
		return present{x.Blobs, id}, x.parts(h, l, func([]byte) error { return nil })
	}
	w := x.Blobs.NewAs(ctx, id)
	if err = x.parts(h, l, func(b []byte) error { _, err := w.Write(b); return err }); err == nil {
		_, err = w.Seal()
	}
	if err == nil && state == blob.Absent {
		return w, nil
	}
	if err == nil {
		err = x.Blobs.Replace(ctx, w)
	}
	w.Discard()
	if err != nil {
		return nil, err
	}
	x.done.Bodies++
	return present{x.Blobs, id}, nil
}

// parts gives write a body: what came with its letter, and the sections behind.
func (x *applying) parts(h *header, l *letter, write func([]byte) error) error {
	left := l.size - int64(len(l.body))
	err := write(l.body)
	for part := uint32(1); err == nil && left > 0; part++ {
		next, b, rerr := x.in.read()
		if rerr != nil || next.kind != secBody || next.id != h.id || next.part != part || int64(len(b)) > left || len(b) == 0 {
			return damaged("a part of a body is missing")
		}
		left -= int64(len(b))
		err = write(b)
	}
	return err
}

// present is a body that was there.
type present struct {
	s  *blob.Store
	id mail.ID
}

func (p present) Link(tx kv.Tx, o blob.Owner) { p.s.Link(tx, p.id, o) }
func (p present) Discard()                    {}

// flush puts the batch into the account; when some of it stand in each other's way, one by one.
func (x *applying) flush(ctx context.Context) error {
	batch := x.batch
	x.batch, x.size = nil, 0
	defer func() {
		for i := range batch {
			batch[i].w.Discard()
		}
	}()
	list := make([]store.Returned, len(batch))
	for i := range batch {
		list[i] = batch[i].Returned
	}
	n, err := x.Store.Return(ctx, x.id, list)
	if mail.Is(err, mail.Busy) {
		n, err = 0, nil
		for i := 0; i < len(list) && err == nil; i++ {
			var one int
			one, err = x.Store.Return(ctx, x.id, list[i:i+1])
			n += one
		}
	}
	x.done.Messages += n
	x.done.Present += len(list) - n
	return err
}

// end makes the account known, once all of its mail is there.
func (x *applying) end(ctx context.Context, archived mail.AccountID) error {
	if len(x.batch) > 0 {
		if err := x.flush(ctx); err != nil {
			return err
		}
	}
	if !x.fresh {
		return nil
	}
	if len(x.rows) == 0 {
		return mail.E("backup.restore", mail.NotFound, "the settings of the account %s are damaged in the archive: add the account, then restore into it", x.from.Address)
	}
	err := x.Directory.RestoreAccount(ctx, archived, x.rows)
	if err == nil {
		x.done.Accounts++
	}
	return err
}

// queued puts an item into the queue, held.
func (x *applying) queued(ctx context.Context, h *header, b []byte) error {
	l, err := decodeLetter(b)
	if err != nil {
		return err
	}
	it, err := queue.Unarchive(h.id, append([]byte(nil), l.row...))
	if err != nil {
		return damaged("an item of the queue")
	}
	w, err := x.body(ctx, h, &l, it.Blob)
	if err != nil {
		return err
	}
	defer w.Discard()
	added, err := x.Queue.Restore(ctx, it, w.Link)
	if added {
		x.done.Queue++
	}
	return err
}
