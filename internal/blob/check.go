package blob

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"postel/internal/kv"
	"postel/internal/mail"
)

// CheckOptions say how thorough a Check is.
type CheckOptions struct {
	Bodies bool // read every body and compare its digest
	Mend   bool // give what nothing links to the sweep, and sweep
	// Damaged is told of each body that cannot be read, which no repair brings back: only its owners know what it was.
	Damaged func(id mail.ID, owners []Owner, why string)
}

const (
	checkPage = 1000 // rows of one snapshot
	sweepAge  = time.Hour
	maxOwners = 100
	maxAway   = 10 // bodies in a row that cannot be reached before a check gives up
)

// Check looks at every body there is: whether something links it, its header, that its object is there and, with
// Bodies, its digest. It gives what it found besides damaged bodies.
func (s *Store) Check(ctx context.Context, o CheckOptions) ([]mail.Finding, error) {
	var found []mail.Finding
	from := kv.K(kv.Blobs)
	end := from.End()
	away := 0
	for from != nil {
		page, next, unreadable, err := s.checkPage(ctx, from, end, o.Bodies)
		if err != nil {
			return found, mail.Wrap("blob.check", err)
		}
		found = append(found, unreadable...)
		for _, c := range page {
			f, err := s.judge(ctx, c, o)
			switch {
			case f.State == mail.Away:
				if away++; away == maxAway {
					err = mail.E("blob.check", mail.Unavailable, "%s", f.Text)
				}
			case c.object:
				away = 0
			}
			if err != nil {
				return found, mail.Wrap("blob.check", err)
			}
			if f.Text != "" {
				found = append(found, f)
			}
		}
		from = next
	}
	if o.Mend {
		if _, err := s.Sweep(ctx, sweepAge); err != nil {
			return found, err
		}
	}
	return found, nil
}

// suspect is a body about which something is wrong, or must be asked.
type suspect struct {
	id     mail.ID
	why    string
	object bool // to be opened
}

// checkPage reads some bodies and gives those to be looked at closer.
func (s *Store) checkPage(ctx context.Context, from, end kv.Key, bodies bool) (list []suspect, next kv.Key, bad []mail.Finding, err error) {
	err = s.kv.View(ctx, nil, func(r kv.Reader) error {
		list, next, bad = nil, nil, nil
		unreadable := func(from, to kv.Key, err error) {
			bad = append(bad, mail.Finding{
				Part: "blobs", Text: fmt.Sprintf("the rows from %x to %x cannot be read: %v", []byte(from), []byte(to), err), State: mail.Beyond,
			})
		}
		n := 0
		for row, err := range kv.Salvage(r, from, end, kv.ScanOptions{}, unreadable) {
			if err != nil {
				return err
			}
			if n++; n > checkPage {
				next = slices.Clone(row.Key)
				return nil
			}
			id, ok := idOf(row.Key)
			if !ok {
				continue
			}
			if c := s.look(r, id, row.Value, bodies); c.why != "" || c.object {
				list = append(list, c)
			}
		}
		return nil
	})
	return list, next, bad, err
}

const noLink = "nothing links it"

func (s *Store) look(r kv.Reader, id mail.ID, v []byte, bodies bool) suspect {
	c := suspect{id: id}
	parsed, ok := parseRow(v)
	switch {
	case !ok:
		c.why = "its row is damaged"
	case parsed.form == object:
		c.object = true
	case bodies:
		plain, ok := s.plain(s.buffers.get(false), parsed)
		s.buffers.put(plain)
		if !ok {
			c.why = "it does not match its digest"
		}
	}
	if c.why != "" {
		return c
	}
	if none, err := lastLink(r, id, nil); err == nil && none {
		if !marked(r, id) {
			c.why = noLink
		}
		c.object = false // the sweep's
	}
	return c
}

// marked tells whether the sweep knows of a body already.
func marked(r kv.Reader, id mail.ID) bool {
	k := garbageKey(id)
	for _, err := range r.Scan(k, append(slices.Clone(k), 0), kv.ScanOptions{Limit: 1, KeysOnly: true}) {
		return err == nil
	}
	return false
}

// judge says what is wrong with a body.
func (s *Store) judge(ctx context.Context, c suspect, o CheckOptions) (mail.Finding, error) {
	if c.object {
		err := s.openWhole(ctx, c.id, o.Bodies)
		if err := ctx.Err(); err != nil {
			return mail.Finding{}, &mail.Error{Op: "blob.check", Kind: mail.Canceled, Err: err}
		}
		if mail.Is(err, mail.Unavailable) {
			return mail.Finding{Part: "blobs", Text: fmt.Sprintf("body %s cannot be reached: %v", c.id, err), State: mail.Away}, nil
		}
		if err != nil {
			c.why = err.Error()
		}
	}
	if c.why == "" {
		return mail.Finding{}, nil
	}
	owners, err := s.owners(ctx, c.id)
	if err != nil {
		return mail.Finding{}, err
	}
	if len(owners) > 0 {
		if c.why != noLink && o.Damaged != nil {
			o.Damaged(c.id, owners, c.why)
		}
		return mail.Finding{}, nil
	}
	f := mail.Finding{Part: "blobs", Text: fmt.Sprintf("body %s: %s", c.id, noLink), State: mail.Mendable}
	if !o.Mend {
		return f, nil
	}
	f.State = mail.Mended
	return f, s.kv.Update(ctx, kv.Txn{Lock: []kv.Key{kv.LockBlob(c.id)}}, func(tx kv.Tx) error {
		tx.Set(garbageKey(c.id), nil) // the sweep looks again whether anything links it
		return nil
	})
}

// openWhole opens a large body and reads it when it is to be; nil also for one that was deleted meanwhile.
func (s *Store) openWhole(ctx context.Context, id mail.ID, read bool) error {
	r, err := s.Open(ctx, id, 0, -1)
	if err == nil {
		if read {
			_, err = io.Copy(io.Discard, r)
		}
		err = errors.Join(err, r.Close())
	}
	if mail.Is(err, mail.NotFound) {
		return nil
	}
	return err
}

// owners lists who links a body.
func (s *Store) owners(ctx context.Context, id mail.ID) (owners []Owner, err error) {
	from := linksKey(id)
	err = s.kv.View(ctx, nil, func(r kv.Reader) error {
		owners = nil
		for row, err := range r.Scan(from, from.End(), kv.ScanOptions{KeysOnly: true, Limit: maxOwners}) {
			if err != nil {
				return err
			}
			_, o, _ := ParseLink(row.Key)
			owners = append(owners, o)
		}
		return nil
	})
	return owners, err
}

// ParseLink reads the key of a link: bk B kind A ID. ok is false when it has another shape.
func ParseLink(k kv.Key) (id mail.ID, o Owner, ok bool) {
	if len(k) != 2+len(id)+1+8+8 {
		return id, o, false
	}
	copy(id[:], k[2:])
	rest := k[2+len(id):]
	return id, Owner{Kind(rest[0]), binary.BigEndian.Uint64(rest[1:9]), binary.BigEndian.Uint64(rest[9:])}, true
}

// Owners knows the owners of one kind.
type Owners struct {
	Kind   Kind
	Lock   func(Owner) kv.Key // under which an owner comes and goes
	Exists func(kv.Reader, Owner) (bool, error)
}

// CheckLinks looks for links whose owner does not exist, of the kinds given; with mend it drops them.
func (s *Store) CheckLinks(ctx context.Context, mend bool, kinds ...Owners) ([]mail.Finding, error) {
	var found []mail.Finding
	from := kv.K(kv.BlobLinks)
	end := from.End()
	for from != nil {
		stray, next, bad, err := s.linkPage(ctx, from, end, kinds)
		if err != nil {
			return found, mail.Wrap("blob.links", err)
		}
		found = append(found, bad...)
		for _, l := range stray {
			f, err := s.strayLink(ctx, l, mend)
			if err != nil {
				return found, mail.Wrap("blob.links", err)
			}
			if f.Text != "" {
				found = append(found, f)
			}
		}
		from = next
	}
	return found, nil
}

// link is one link, and who knows its owner.
type link struct {
	id    mail.ID
	owner Owner
	of    Owners
}

// linkPage gives the links among some thousand whose owners seem not to exist.
func (s *Store) linkPage(ctx context.Context, from, end kv.Key, kinds []Owners) (stray []link, next kv.Key, bad []mail.Finding, err error) {
	err = s.kv.View(ctx, nil, func(r kv.Reader) error {
		stray, next, bad = nil, nil, nil
		n := 0
		unreadable := func(from, to kv.Key, err error) {
			bad = append(bad, mail.Finding{
				Part: "blobs", Text: fmt.Sprintf("the links from %x to %x cannot be read: %v", []byte(from), []byte(to), err), State: mail.Beyond,
			})
		}
		for row, err := range kv.Salvage(r, from, end, kv.ScanOptions{KeysOnly: true}, unreadable) {
			if err != nil {
				return err
			}
			if n++; n > 5*checkPage {
				next = slices.Clone(row.Key)
				return nil
			}
			id, o, ok := ParseLink(row.Key)
			i := slices.IndexFunc(kinds, func(k Owners) bool { return k.Kind == o.Kind })
			if !ok || i < 0 {
				continue // not for us to judge
			}
			there, err := kinds[i].Exists(r, o)
			if err != nil && !mail.Is(err, mail.Internal) {
				return err
			}
			if err == nil && !there {
				stray = append(stray, link{id, o, kinds[i]})
			}
		}
		return nil
	})
	return stray, next, bad, err
}

// strayLink looks at a link again under its owner's lock.
func (s *Store) strayLink(ctx context.Context, l link, mend bool) (f mail.Finding, err error) {
	t := kv.Txn{Lock: []kv.Key{l.of.Lock(l.owner), kv.LockBlob(l.id)}}
	err = s.kv.Update(ctx, t, func(tx kv.Tx) error {
		f = mail.Finding{}
		there, err := l.of.Exists(tx, l.owner)
		if err != nil || there {
			return err
		}
		if _, err := tx.Get(linkKey(l.id, l.owner)); err != nil {
			return nil // gone
		}
		f = mail.Finding{Part: "blobs", Text: fmt.Sprintf("body %s is linked by an owner that does not exist", l.id), State: mail.Mendable}
		if l.owner.Kind == Email {
			f.AccountID, f.Email = mail.AccountID(l.owner.A), l.owner.ID
		}
		if mend {
			f.State = mail.Mended
			s.UnlinkLater(tx, l.id, l.owner)
		}
		return nil
	})
	return f, err
}
