package queue

import (
	"context"
	"fmt"
	"slices"
	"time"

	"postel/internal/blob"
	"postel/internal/kv"
	"postel/internal/mail"
)

// maxProblems is how many findings a check gives.
const maxProblems = 1000

// Check is Inspect in words, for tests. linked tells whether a blob has the item's link; nil leaves that out.
func (q *Queue) Check(ctx context.Context, linked func(r kv.Reader, b mail.ID, o blob.Owner) (bool, error)) ([]string, error) {
	c, err := q.survey(ctx, linked, false)
	lines := make([]string, 0, len(c.found))
	for _, f := range c.found {
		lines = append(lines, f.String())
	}
	return lines, err
}

// Inspect reads the whole queue on one snapshot and tells each broken invariant; it changes nothing and does not stop
// at what cannot be read.
func (q *Queue) Inspect(ctx context.Context) ([]mail.Finding, error) {
	c, err := q.survey(ctx, hasLink, true)
	return c.found, err
}

// hasLink looks for the item's link of its blob.
func hasLink(r kv.Reader, b mail.ID, o blob.Owner) (bool, error) { return exists(r, bodyLink(b, o)) }

// bodyLink is the row bk by which an item keeps its blob; it is blob's, and here only to be looked for.
func bodyLink(b mail.ID, o blob.Owner) kv.Key {
	return kv.K(kv.BlobLinks).ID(b).U8(byte(o.Kind)).U64(o.A).U64(o.ID)
}

// exists looks for a row without keeping its value in memory as long as the snapshot.
func exists(r kv.Reader, k kv.Key) (bool, error) {
	for _, err := range r.Scan(k, append(slices.Clone(k), 0), kv.ScanOptions{KeysOnly: true, Limit: 1}) {
		return err == nil, err
	}
	return false, nil
}

// survey is what a check found: in words, and which items and rows a repair has to look at.
type survey struct {
	r      kv.Reader
	linked func(kv.Reader, mail.ID, blob.Owner) (bool, error)
	bodies bool // look whether they are there
	found  []mail.Finding
	items  map[ID]bool // those that are broken
	stray  []kv.Key    // rows of no item, or not as their item wants them
}

func (q *Queue) survey(ctx context.Context, linked func(kv.Reader, mail.ID, blob.Owner) (bool, error), bodies bool) (*survey, error) {
	c := &survey{}
	err := q.kv.View(ctx, nil, func(r kv.Reader) error {
		*c = survey{r: r, linked: linked, bodies: bodies, items: map[ID]bool{}}
		if err := c.readItems(); err != nil {
			return err
		}
		return c.strays()
	})
	return c, mail.Wrap("queue.check", err)
}

func (c *survey) say(id ID, format string, args ...any) {
	c.items[id] = true
	c.note(fmt.Sprintf("item %s: ", id)+fmt.Sprintf(format, args...), mail.Mendable)
}

func (c *survey) note(text string, state mail.Mend) {
	if len(c.found) < maxProblems {
		c.found = append(c.found, mail.Finding{Part: "queue", Text: text, State: state})
	}
}

func (c *survey) scan(p kv.Prefix, fn func(k kv.Key, v []byte) error) error {
	unreadable := func(from, to kv.Key, err error) {
		c.note(fmt.Sprintf("the rows from %x to %x cannot be read: %v", []byte(from), []byte(to), err), mail.Beyond)
	}
	from := kv.K(p)
	for row, err := range kv.Salvage(c.r, from, from.End(), kv.ScanOptions{}, unreadable) {
		if err != nil {
			return err
		}
		if err := fn(row.Key, row.Value); err != nil {
			return err
		}
	}
	return nil
}

func (c *survey) readItems() error {
	return c.scan(kv.QueueItems, func(k kv.Key, v []byte) error {
		id, ok := parseItemKey(k)
		if !ok {
			c.stray = append(c.stray, slices.Clone(k))
			c.note(fmt.Sprintf("qi: bad key %x", []byte(k)), mail.Mendable)
			return nil
		}
		it, err := decodeItem(id, v)
		if err == nil {
			err = it.readRecipients(c.r)
		}
		if err != nil {
			if !mail.Is(err, mail.Internal) {
				return err
			}
			c.say(id, "%v", err)
			return nil
		}
		return c.item(it)
	})
}

func (c *survey) item(it *Item) error {
	if it.ID.Partition != partition(it.Destination) {
		c.say(it.ID, "its destination %s is not of its partition", it.Destination)
	}
	if it.ended() {
		c.say(it.ID, "nothing is to be done for it")
	}
	if due, waits := it.Due(); waits {
		if ok, err := exists(c.r, it.ID.dueKey(due)); err != nil || !ok {
			c.say(it.ID, "no due row at %d", millis(due))
		}
	}
	if ok, err := exists(c.r, it.ID.domainKey(it.Destination)); err != nil || !ok {
		c.say(it.ID, "no row by destination")
	}
	if c.linked == nil {
		return nil
	}
	ok, err := c.linked(c.r, it.Blob, it.ID.Owner())
	if err != nil && !mail.Is(err, mail.Internal) {
		return err
	}
	if !ok {
		c.say(it.ID, "its body %s has no link of it", it.Blob)
	}
	if !c.bodies || !ok {
		return nil
	}
	if there, err := exists(c.r, kv.K(kv.Blobs).ID(it.Blob)); err == nil && !there {
		c.found = append(c.found, mail.Finding{
			Part: "queue", Text: fmt.Sprintf("item %s: its body %s is missing", it.ID, it.Blob), State: mail.Beyond,
			Lost: fmt.Sprintf("the message from <%s> to %d recipients, which can only be dropped", it.From, len(it.Recipients)),
		})
	}
	return nil
}

// strays looks for rows that belong to no item, or not to it as it is.
func (c *survey) strays() error {
	err := c.scan(kv.QueueRcpts, func(k kv.Key, _ []byte) error {
		if len(k) != 2+2+8+2 {
			c.strayRow(k)
			return nil
		}
		id, _ := parseItemKey(k[:12])
		it, err := c.of(id)
		n := int(k[12])<<8 | int(k[13])
		switch {
		case err != nil || c.items[id]:
			return err
		case it == nil:
			c.say(id, "its row is missing")
		case n >= len(it.Recipients):
			c.strayRow(k)
		}
		return nil
	})
	if err != nil {
		return err
	}
	err = c.scan(kv.QueueDue, func(k kv.Key, _ []byte) error {
		at, ok := parseDue(k)
		if !ok {
			c.strayRow(k)
			return nil
		}
		it, err := c.of(at.id)
		if err != nil || c.items[at.id] && it == nil {
			return err
		}
		if it != nil {
			if err := it.readRecipients(c.r); err != nil {
				return nil //nolint:nilerr // told of already
			}
		}
		if due, waits := dueOf(it); !waits || millis(due) != at.due {
			c.strayRow(k)
		}
		return nil
	})
	if err != nil {
		return err
	}
	return c.scan(kv.QueueDomains, func(k kv.Key, _ []byte) error {
		id, ok := parseDomainKey(k)
		if !ok {
			c.strayRow(k)
			return nil
		}
		it, err := c.of(id)
		if err != nil || it == nil && c.items[id] {
			return err
		}
		if it == nil || string(it.ID.domainKey(it.Destination)) != string(k) {
			c.strayRow(k)
		}
		return nil
	})
}

func dueOf(it *Item) (due time.Time, waits bool) {
	if it == nil {
		return due, false
	}
	return it.Due()
}

func (c *survey) strayRow(k kv.Key) {
	c.stray = append(c.stray, slices.Clone(k))
	c.note(fmt.Sprintf("row %s %x belongs to no item", k[:2], []byte(k[2:])), mail.Mendable)
}

// of reads an item without its recipients; nil when it is not there or cannot be read.
func (c *survey) of(id ID) (*Item, error) {
	for row, err := range c.r.Scan(id.key(kv.QueueItems), append(id.key(kv.QueueItems), 0), kv.ScanOptions{Limit: 1}) {
		if err != nil {
			if mail.Is(err, mail.Internal) {
				c.items[id] = true
				return nil, nil
			}
			return nil, err
		}
		it, err := decodeItem(id, row.Value)
		if err != nil {
			return nil, nil //nolint:nilerr // told of by readItems
		}
		return it, nil
	}
	return nil, nil
}
