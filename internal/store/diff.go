package store

// Diff tells what became of the old snapshot in the new one; both are of the same mailbox. Entries that the two share
// in memory are skipped at once.
func Diff(old, now *Snapshot) Changes {
	var d Changes
	if old == now {
		return d
	}
	a, b := cursor{chunks: old.chunks}, cursor{chunks: now.chunks}
	for {
		if a.skipShared(&b) {
			continue
		}
		x, y := a.peek(), b.peek()
		switch {
		case x == nil:
			d.Added = b.left()
			return d
		case y == nil || x.uid < y.uid:
			d.Expunged = append(d.Expunged, UID(x.uid))
			a.j++
		case x.uid > y.uid: // never: an entry cannot come in between
			d.Added++
			b.j++
		default:
			if x.modSeq() != y.modSeq() {
				d.Flags = append(d.Flags, UID(x.uid))
			}
			a.j++
			b.j++
		}
	}
}

// cursor walks the entries of a snapshot.
type cursor struct {
	chunks []chunk
	j      int // in the first of chunks
}

// peek gives the current entry, nil at the end.
func (c *cursor) peek() *slot {
	for len(c.chunks) > 0 && c.j >= len(c.chunks[0].slots) {
		c.chunks, c.j = c.chunks[1:], 0
	}
	if len(c.chunks) == 0 {
		return nil
	}
	return &c.chunks[0].slots[c.j]
}

// skipShared moves both over what they share when both are at the same place in the same memory.
func (c *cursor) skipShared(o *cursor) bool {
	x, y := c.peek(), o.peek()
	if x == nil || x != y {
		return false
	}
	n := min(len(c.chunks[0].slots)-c.j, len(o.chunks[0].slots)-o.j)
	c.j += n
	o.j += n
	return true
}

// left gives the number of entries from the current one to the end.
func (c *cursor) left() int {
	n := -c.j
	for i := range c.chunks {
		n += len(c.chunks[i].slots)
	}
	return n
}
