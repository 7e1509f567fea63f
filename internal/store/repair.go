package store

import (
	"context"
	"fmt"
	"io"
	"slices"

	"postel/internal/blob"
	"postel/internal/kv"
	"postel/internal/mail"
	"postel/internal/message"
)

// maxRounds bounds the transactions of one repair.
const maxRounds = 10_000

// Repair does what Inspect does and mends what can be: everything derived is made anew from the mail, damaged rows of
// the mail from what else tells of them. It works in transactions, each of which leaves the account better than it was
// and usable; who looks at its mailboxes meanwhile reads them anew. Where a range of the account cannot be read at all
// what may be there, and what depends on it, is left as it is. Kind NotFound for no account.
func (s *Store) Repair(ctx context.Context, a mail.AccountID) ([]mail.Finding, error) {
	first, err := s.survey(ctx, a)
	if err != nil || len(first.found) == 0 {
		return first.findings(), err
	}
	var all []mail.Finding
	saved, err := s.rescue(ctx, a, first)
	if err != nil {
		return saved, mail.Wrap("store.repair", err)
	}
	all = append(all, saved...)
	for range maxRounds {
		x, err := s.repairRound(ctx, a)
		if err != nil {
			return all, mail.Wrap("store.repair", err)
		}
		if len(x.mails.unlinked) > 0 {
			if err := s.relink(ctx, a, x.mails.unlinked); err != nil {
				return all, mail.Wrap("store.repair", err)
			}
		}
		if len(x.plan) == 0 && len(x.mails.unlinked) == 0 {
			return append(all, x.findings()...), nil // what is beyond repair
		}
		for _, f := range x.found {
			if f.State == mail.Mended {
				all = append(all, f)
			}
		}
	}
	return all, mail.E("store.repair", mail.Internal, "the repair came to no end")
}

func (x *survey) findings() []mail.Finding {
	if x == nil {
		return nil
	}
	return x.found
}

// repairRound takes a survey and writes what mends.
func (s *Store) repairRound(ctx context.Context, a mail.AccountID) (*survey, error) {
	var x *survey
	err := s.o.KV.Update(ctx, kv.Txn{Lock: surveyLocks(a)}, func(tx kv.Tx) error {
		x = &survey{s: s, a: a, r: tx, mend: true}
		if err := x.run(ctx); err != nil {
			return err
		}
		x.write(tx)
		return nil
	})
	if err != nil {
		return nil, err
	}
	for i := range x.found {
		if f := &x.found[i]; f.State == mail.Mendable && (len(x.plan) > 0 || len(x.mails.unlinked) > 0) {
			f.State = mail.Mended
		}
	}
	if x.visible && len(x.plan) > 0 {
		s.open.raiseAll(a, x.seq)
		s.committed(a, x.seq)
	}
	return x, nil
}

// write writes the plan.
func (x *survey) write(tx kv.Tx) {
	if len(x.plan) == 0 {
		return
	}
	if x.log.drop {
		from := kv.K(kv.Log).Account(x.a)
		tx.DeleteRange(from, from.End())
	}
	for _, p := range x.plan {
		if p.value == nil {
			tx.Delete(p.key)
		} else {
			tx.Set(p.key, p.value)
		}
	}
}

// relink gives blobs the links by which emails keep them.
func (s *Store) relink(ctx context.Context, a mail.AccountID, list []unlinked) error {
	for _, u := range list {
		lock := append(lockOf(a), kv.LockBlob(u.blob))
		err := s.o.KV.Update(ctx, kv.Txn{Lock: lock}, func(tx kv.Tx) error {
			v, err := tx.Get(keyEmail(a, u.email))
			if mail.Is(err, mail.NotFound) {
				return nil
			}
			if err != nil {
				return err
			}
			if head, err := decodeEmailHead(v); err != nil || head.blob != u.blob {
				return nil
			}
			if _, err := tx.Get(keyBlob(u.blob)); err != nil {
				return nil // gone meanwhile
			}
			s.o.Blobs.Link(tx, u.blob, emailOwner(a, u.email))
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func emailOwner(a mail.AccountID, e EmailID) blob.Owner {
	return blob.Owner{Kind: blob.Email, A: uint64(a), ID: uint64(e)}
}

// lostEmail is an email whose row is to be made anew.
type lostEmail struct {
	id     EmailID
	places []located
	old    []mail.ID // the blobs that have a link of it
	thread uint64
	date   int64
	prefix []byte
	whole  bool // but for its tree
}

// rescue makes the damaged rows of emails anew from their bodies. A message whose body is gone too becomes one that
// says so, so that it can be seen and removed.
func (s *Store) rescue(ctx context.Context, a mail.AccountID, x *survey) ([]mail.Finding, error) {
	if len(x.mails.broken) == 0 {
		return nil, nil
	}
	lost := map[EmailID]*lostEmail{}
	for _, e := range x.mails.broken {
		if len(lost) < maxFindings {
			lost[e] = &lostEmail{id: e, places: slices.Clone(x.entriesOf(e)), thread: uint64(e)}
		}
	}
	if err := s.traces(ctx, a, lost); err != nil {
		return nil, err
	}
	var found []mail.Finding
	for _, e := range x.mails.broken {
		l := lost[e]
		if l == nil {
			continue
		}
		f := x.finding("emails", l.places[0].place, "the message's row is damaged or missing; it was made anew from the body")
		f.AccountID, f.Email, f.State = a, uint64(e), mail.Mended
		switch err := s.remake(ctx, a, l, &f); {
		case err == nil:
			found = append(found, f)
		default:
			return found, err
		}
	}
	return found, nil
}

// traces finds what else tells of lost emails: links of blobs, threads, entries, the damaged row itself.
func (s *Store) traces(ctx context.Context, a mail.AccountID, lost map[EmailID]*lostEmail) error {
	err := s.o.KV.View(ctx, lockOf(a), func(r kv.Reader) error {
		skip := func(kv.Key, kv.Key, error) {}
		for _, l := range lost {
			l.read(r, a)
		}
		threads := kv.K(kv.Threads).Account(a)
		for row, err := range kv.Salvage(r, threads, threads.End(), kv.ScanOptions{KeysOnly: true}, skip) {
			if err != nil {
				return err
			}
			if l := lost[emailOf(row.Key)]; l != nil && len(row.Key) == 2+8+16 {
				l.thread = uint64(emailOf(row.Key[:18]))
			}
		}
		links := kv.K(kv.BlobLinks)
		for row, err := range kv.Salvage(r, links, links.End(), kv.ScanOptions{KeysOnly: true}, skip) {
			if err != nil {
				return err
			}
			if of, e, ok := linkOwner(row.Key); ok && of == a && lost[e] != nil {
				lost[e].old = append(lost[e].old, mail.ID(row.Key[2:18]))
			}
		}
		return nil
	})
	return err
}

// read takes what can be read of an email's rows.
func (l *lostEmail) read(r kv.Reader, a mail.AccountID) {
	if v, err := r.Get(keyEmail(a, l.id)); err == nil {
		if row, err := decodeEmail(v); err == nil {
			l.prefix, l.date, l.whole = slices.Clone(row.prefix), row.date, true
		}
	}
	if v, err := r.Get(keyEntry(a, l.places[0].m, l.places[0].uid)); err == nil && !l.whole {
		if row, err := decodeEntry(v); err == nil {
			l.date = row.saved
		}
	}
}

// remake writes an email's row anew.
func (s *Store) remake(ctx context.Context, a mail.AccountID, l *lostEmail, f *mail.Finding) error {
	m, from, err := s.bodyOf(ctx, l)
	if err != nil {
		return err
	}
	defer m.Discard()
	switch {
	case from.IsZero():
		f.Text = "the message's row is damaged or missing, and so is its body; a message that says so stands in its place"
		f.Lost, l.prefix = "the message", nil
	case !l.whole:
		f.Lost = "the header lines that the server put in front of it, and its internal date"
	}
	locks := lockOf(a)
	for _, b := range l.old {
		locks = append(locks, kv.LockBlob(b))
	}
	return s.o.KV.Update(ctx, kv.Txn{Lock: locks}, func(tx kv.Tx) error {
		if v, err := tx.Get(keyEmail(a, l.id)); err == nil {
			if row, err := decodeEmail(v); err == nil {
				if _, err := row.email(l.id, message.Decode); err == nil {
					return nil // whoever was faster
				}
			}
		}
		row := emailRow{prefix: l.prefix, tree: m.tree, date: l.date}
		row.blob, row.thread, row.refs = m.id, l.thread, m.refs.kept
		row.size = m.size + int64(len(l.prefix))
		tx.Set(keyEmail(a, l.id), row.encode())
		s.Link(tx, m, emailOwner(a, l.id))
		for _, b := range l.old {
			if b != m.id {
				s.o.Blobs.UnlinkLater(tx, b, emailOwner(a, l.id))
			}
		}
		return nil
	})
}

// bodyOf gives the body that has a link of the email and can be read, or a message that says that there is none.
func (s *Store) bodyOf(ctx context.Context, l *lostEmail) (m *Message, from mail.ID, err error) {
	for _, b := range l.old {
		m, err := s.FromBlob(ctx, b)
		if err == nil {
			return m, b, nil
		}
		if !mail.Is(err, mail.NotFound) && !mail.Is(err, mail.Internal) {
			return nil, mail.ID{}, err
		}
	}
	in := s.Incoming(ctx)
	_, err = io.WriteString(in, fmt.Sprintf("From: Postel <>\r\nSubject: (this message is damaged)\r\nDate: %s\r\n"+
		"MIME-Version: 1.0\r\nContent-Type: text/plain; charset=us-ascii\r\n\r\n"+
		"The message that stood here could not be read any more, nor repaired.\r\n", message.FormatDate(s.now())))
	if err == nil {
		m, err = in.Seal()
	}
	if err != nil {
		in.Discard()
		return nil, mail.ID{}, err
	}
	return m, mail.ID{}, nil
}

// LinkOwners knows the emails, for blob.CheckLinks.
func (s *Store) LinkOwners() blob.Owners {
	return blob.Owners{
		Kind: blob.Email,
		Lock: func(o blob.Owner) kv.Key { return kv.LockAccount(mail.AccountID(o.A)) },
		Exists: func(r kv.Reader, o blob.Owner) (bool, error) {
			k := keyEmail(mail.AccountID(o.A), EmailID(o.ID))
			for _, err := range r.Scan(k, append(slices.Clone(k), 0), kv.ScanOptions{Limit: 1, KeysOnly: true}) {
				return err == nil, err
			}
			return false, nil
		},
	}
}

// Place is where a message is, for people.
type Place struct {
	Mailbox string
	UID     UID
}

// Places tells where an email is. It gives none for one that is gone.
func (s *Store) Places(ctx context.Context, a mail.AccountID, e EmailID) (list []Place, err error) {
	err = s.o.KV.View(ctx, lockOf(a), func(r kv.Reader) error {
		list = nil
		v, err := r.Get(keyWhere(a, e))
		if err != nil {
			return err
		}
		w, err := decodeWhere(v)
		if err != nil {
			return err
		}
		for _, p := range w.places {
			name := fmt.Sprintf("number %d", p.m)
			if v, err := r.Get(keyMailbox(a, p.m)); err == nil {
				if row, err := decodeMailbox(v); err == nil {
					name = row.name
				}
			}
			list = append(list, Place{name, p.uid})
		}
		return nil
	})
	if mail.Is(err, mail.NotFound) {
		return nil, nil
	}
	return list, mail.Wrap("store.places", err)
}

// EachAccount calls fn with every account that has rows here which can be read, ascending.
func (s *Store) EachAccount(ctx context.Context, fn func(mail.AccountID) error) error {
	next := mail.AccountID(0)
	for {
		a, ok, err := s.accountFrom(ctx, next)
		if err != nil || !ok {
			return mail.Wrap("store.accounts", err)
		}
		if err := fn(a); err != nil {
			return err
		}
		if next = a + 1; next == 0 {
			return nil
		}
	}
}

// accountFrom gives the first account from next on.
func (s *Store) accountFrom(ctx context.Context, next mail.AccountID) (first mail.AccountID, ok bool, err error) {
	err = s.o.KV.View(ctx, nil, func(r kv.Reader) error {
		ok = false
		for _, p := range []kv.Prefix{kv.Counters, kv.Mailboxes, kv.BoxCounters, kv.Entries, kv.Emails} {
			from, end := kv.K(p).Account(next), kv.K(p).End()
			damaged := func(kv.Key, kv.Key, error) {} // an account has rows in other tables too
			for row, err := range kv.Salvage(r, from, end, kv.ScanOptions{KeysOnly: true}, damaged) {
				if err != nil {
					return err
				}
				if a, good := accountIn(row.Key); good && (!ok || a < first) {
					first, ok = a, true
				}
				break
			}
		}
		return nil
	})
	return first, ok, err
}

func accountIn(k kv.Key) (mail.AccountID, bool) {
	if len(k) < 10 {
		return 0, false
	}
	return mail.AccountID(emailOf(k[:10])), true
}
