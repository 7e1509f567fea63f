package queue

import (
	"context"
	"fmt"
	"slices"
	"strconv"

	"postel/internal/blob"
	"postel/internal/kv"
	"postel/internal/mail"
)

// repairRounds bounds how often a repair looks again at what it mended.
const repairRounds = 5

// Repair does what Inspect does and mends what can be, an item at a time under its lock. An item whose own row is
// damaged is made anew from its recipients, held, for an operator to decide upon.
func (q *Queue) Repair(ctx context.Context) ([]mail.Finding, error) {
	var all []mail.Finding
	for range repairRounds {
		c, err := q.survey(ctx, hasLink, true)
		if err != nil {
			return all, err
		}
		if len(c.items) == 0 && len(c.stray) == 0 {
			return append(all, c.found...), nil
		}
		lost, err := q.repairRound(ctx, c)
		for _, f := range c.found {
			if f.State == mail.Mended {
				all = append(all, f)
			}
		}
		all = append(all, lost...)
		if err != nil {
			return all, mail.Wrap("queue.repair", err)
		}
	}
	rest, err := q.Inspect(ctx)
	return append(all, rest...), err
}

// repairRound mends what a survey found, and tells what is lost besides.
func (q *Queue) repairRound(ctx context.Context, c *survey) (lost []mail.Finding, err error) {
	links, err := q.linksOf(ctx, c.items)
	if err != nil {
		return nil, err
	}
	for id := range c.items {
		f, err := q.mend(ctx, id, links[id])
		if err != nil {
			return lost, err
		}
		lost = append(lost, f...)
		q.stale(id)
	}
	for _, k := range c.stray {
		if err := q.dropStray(ctx, k); err != nil {
			return lost, err
		}
	}
	for i := range c.found {
		if c.found[i].State == mail.Mendable {
			c.found[i].State = mail.Mended
		}
	}
	return lost, nil
}

// linksOf finds the blobs of broken items by their links.
func (q *Queue) linksOf(ctx context.Context, items map[ID]bool) (map[ID][]mail.ID, error) {
	links := map[ID][]mail.ID{}
	if len(items) == 0 {
		return links, nil
	}
	from := kv.K(kv.BlobLinks)
	err := q.kv.View(ctx, nil, func(r kv.Reader) error {
		clear(links)
		for row, err := range kv.Salvage(r, from, from.End(), kv.ScanOptions{KeysOnly: true}, func(kv.Key, kv.Key, error) {}) {
			if err != nil {
				return err
			}
			b, o, ok := blob.ParseLink(row.Key)
			if id := (ID{Partition: uint16(o.A), Number: o.ID}); ok && o.Kind == blob.QueueItem && items[id] {
				links[id] = append(links[id], b)
			}
		}
		return nil
	})
	return links, err
}

// dropStray deletes a row that is still no item's.
func (q *Queue) dropStray(ctx context.Context, k kv.Key) error {
	id, ok := ownerOf(k)
	lock := []kv.Key{}
	if ok {
		lock = append(lock, id.Lock())
	}
	return q.kv.Update(ctx, kv.Txn{Lock: lock, Frees: true}, func(tx kv.Tx) error {
		if ok {
			it, err := read(tx, id)
			if err == nil && slices.ContainsFunc(it.keys(), func(own kv.Key) bool { return string(own) == string(k) }) {
				return nil // it has become the item's
			}
		}
		tx.Delete(k)
		return nil
	})
}

// ownerOf gives the item of a row's key.
func ownerOf(k kv.Key) (ID, bool) {
	switch kv.Prefix(k[:2]) {
	case kv.QueueRcpts:
		if len(k) == 2+2+8+2 {
			return parseItemKey(k[:12])
		}
	case kv.QueueDue:
		at, ok := parseDue(k)
		return at.id, ok
	case kv.QueueDomains:
		return parseDomainKey(k)
	}
	return ID{}, false
}

// keys gives the keys of all rows of an item.
func (it *Item) keys() []kv.Key {
	keys := []kv.Key{it.ID.key(kv.QueueItems), it.ID.domainKey(it.Destination)}
	for n := range it.Recipients {
		keys = append(keys, it.ID.rcptKey(n))
	}
	if due, ok := it.Due(); ok {
		keys = append(keys, it.ID.dueKey(due))
	}
	return keys
}

// mend writes an item's rows as they should be and tells what is lost.
func (q *Queue) mend(ctx context.Context, id ID, links []mail.ID) (lost []mail.Finding, err error) {
	lock := []kv.Key{id.Lock()}
	for _, b := range links {
		lock = append(lock, kv.LockBlob(b))
	}
	named, err := q.blobNamed(ctx, id)
	if err != nil {
		return nil, err
	}
	if !named.IsZero() {
		lock = append(lock, kv.LockBlob(named))
	}
	err = q.kv.Update(ctx, kv.Txn{Lock: lock, Frees: true}, func(tx kv.Tx) error {
		m := mender{q: q, tx: tx, id: id, links: links}
		err := m.run(named)
		lost = m.lost
		return err
	})
	return lost, err
}

// blobNamed gives the blob that an item's row names, if it can be read.
func (q *Queue) blobNamed(ctx context.Context, id ID) (b mail.ID, err error) {
	err = q.kv.View(ctx, []kv.Key{id.Lock()}, func(r kv.Reader) error {
		b = mail.ID{}
		if v, err := r.Get(id.key(kv.QueueItems)); err == nil {
			if it, err := decodeItem(id, v); err == nil {
				b = it.Blob
			}
		}
		return nil
	})
	return b, err
}

// mender mends one item within a transaction.
type mender struct {
	q     *Queue
	tx    kv.Tx
	id    ID
	links []mail.ID
	lost  []mail.Finding
}

func (m *mender) lose(what, lost string) {
	m.lost = append(m.lost, mail.Finding{Part: "queue", Text: fmt.Sprintf("item %s: %s", m.id, what), Lost: lost, State: mail.Mended})
}

func (m *mender) run(named mail.ID) error {
	var it *Item
	if v, err := m.tx.Get(m.id.key(kv.QueueItems)); err == nil {
		it, _ = decodeItem(m.id, v)
	} else if !mail.Is(err, mail.NotFound) && !mail.Is(err, mail.Internal) {
		return err
	}
	if it != nil && it.Blob != named {
		return nil // it was changed meanwhile: the next repair
	}
	if it == nil {
		var err error
		if it, err = m.remake(); it == nil || err != nil {
			return err
		}
	} else if err := m.recipients(it); err != nil {
		return err
	}
	if it.ID.Partition != partition(it.Destination) {
		return m.forget(it.Recipients, "its destination is damaged")
	}
	if it.ended() {
		return m.q.end(m.tx, it, it.Received, false, nil)
	}
	m.tx.Set(it.ID.key(kv.QueueItems), it.encode())
	for n := range it.Recipients {
		m.tx.Set(it.ID.rcptKey(n), it.Recipients[n].encode())
	}
	if due, ok := it.Due(); ok {
		m.q.setDue(m.tx, it, due)
	}
	m.tx.Set(it.ID.domainKey(it.Destination), nil)
	if there, err := exists(m.tx, kv.K(kv.Blobs).ID(it.Blob)); err == nil && there {
		m.tx.Set(bodyLink(it.Blob, it.ID.Owner()), nil)
	}
	return nil
}

// recipients reads those of an item; a damaged one is given up, for nothing tells who it was.
func (m *mender) recipients(it *Item) error {
	for n := range it.Recipients {
		r := &it.Recipients[n]
		v, err := m.tx.Get(it.ID.rcptKey(n))
		if err == nil {
			err = r.decode(it.ID, v)
		}
		if err != nil && !mail.Is(err, mail.NotFound) && !mail.Is(err, mail.Internal) {
			return err
		}
		if err != nil {
			*r = Recipient{State: Failed}
			m.lose("a recipient's row is damaged", fmt.Sprintf("recipient %d of a message from <%s> to %s", n+1, it.From, it.Destination))
		}
	}
	return nil
}

// remake makes an item anew from its recipients and its link; nil when that cannot be done.
func (m *mender) remake() (*Item, error) {
	var rs []Recipient
	for n := range MaxRecipients {
		v, err := m.tx.Get(m.id.rcptKey(n))
		if mail.Is(err, mail.NotFound) {
			break
		}
		var r Recipient
		if err == nil {
			err = r.decode(m.id, v)
		}
		if err != nil && !mail.Is(err, mail.Internal) {
			return nil, err
		}
		if err != nil {
			r = Recipient{State: Failed}
		}
		if r.State == Waiting {
			r.State = Held
		}
		rs = append(rs, r)
	}
	destination, err := m.destination(rs)
	if err != nil {
		return nil, err
	}
	it := &Item{ID: m.id, Destination: destination, Recipients: rs, Received: fromMillis(m.id.Number >> 22)}
	for _, b := range m.links {
		if there, err := exists(m.tx, kv.K(kv.Blobs).ID(b)); err == nil && there {
			it.Blob = b
		}
	}
	if destination == "" || it.Blob.IsZero() || it.ended() {
		return nil, m.forget(rs, "its row is damaged")
	}
	m.lose("its row was damaged; it was made anew from its recipients and is held", "its sender, its options and the trace fields in front of the body")
	return it, nil
}

// destination finds out what an item's destination was: the row by destination has its hash.
func (m *mender) destination(rs []Recipient) (string, error) {
	fits := func(name string) (bool, error) {
		if partition(name) != m.id.Partition {
			return false, nil
		}
		ok, err := exists(m.tx, m.id.domainKey(name))
		if mail.Is(err, mail.Internal) {
			err = nil
		}
		return ok, err
	}
	for i := range rs {
		if ok, err := fits(string(rs[i].Address.Domain)); ok || err != nil {
			return string(rs[i].Address.Domain), err
		}
	}
	const accounts = 1 << 16
	for a := range uint64(accounts) {
		name := localPrefix + strconv.FormatUint(a, 10)
		if ok, err := fits(name); ok || err != nil {
			return name, err
		}
	}
	for i := range rs { // its row is gone too
		if d := string(rs[i].Address.Domain); d != "" && partition(d) == m.id.Partition {
			return d, nil
		}
	}
	return "", nil
}

// forget removes an item that cannot be made anew.
func (m *mender) forget(rs []Recipient, why string) error {
	var to []string
	for i := range rs {
		if !rs[i].Address.IsNull() && !rs[i].State.Final() {
			to = append(to, rs[i].Address.String())
		}
	}
	for n := range max(len(rs), MaxRecipients) {
		m.tx.Delete(m.id.rcptKey(n))
	}
	m.tx.Delete(m.id.key(kv.QueueItems))
	m.lose(why+", and it cannot be made anew", fmt.Sprintf("a message to %d recipients %v", len(to), to))
	for _, b := range m.links {
		if err := m.q.blobs.Unlink(m.tx, b, m.id.Owner()); err != nil {
			return err
		}
	}
	return nil
}

// LinkOwners knows the items, for blob.CheckLinks.
func (q *Queue) LinkOwners() blob.Owners {
	id := func(o blob.Owner) ID { return ID{Partition: uint16(o.A), Number: o.ID} }
	return blob.Owners{
		Kind:   blob.QueueItem,
		Lock:   func(o blob.Owner) kv.Key { return id(o).Lock() },
		Exists: func(r kv.Reader, o blob.Owner) (bool, error) { return exists(r, id(o).key(kv.QueueItems)) },
	}
}
