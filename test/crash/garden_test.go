package crash

import (
	"fmt"
	"math/rand/v2"
	"regexp"
	"strconv"
	"strings"
)

const keep = 400 // messages that a mailbox is cut down to when it has half as much again

// garden is a session that changes what is in its user's mailboxes: the only one that does, so that at a crash one
// command a user is in doubt.
func (d *driver) garden(w int) error {
	user := d.users[w]
	c, err := dialIMAP(d.srv.Addr("imap"), user)
	if err != nil {
		return d.note(err)
	}
	defer func() { _ = c.Close() }()
	for i := 0; ; i++ {
		box, next, err := d.open(c, user, mailboxes()[max(0, i%5-2)]) // INBOX three times of five
		if err != nil {
			return d.note(err)
		}
		for range 10 {
			if err := d.change(c, view{box, next}); err != nil {
				return d.note(err)
			}
		}
	}
}

func mailboxes() []string { return []string{"INBOX", "Archive", copies} }

// change makes one change at random.
func (d *driver) change(c *conn, v view) error {
	if all := d.ledger.pick(v, 1<<20, any_); len(all) > keep*3/2 {
		return d.expunge(c, all[keep:])
	}
	switch n := 1 + rand.IntN(6); rand.IntN(8) {
	case 0, 1, 2:
		return d.flag(c, v, n)
	case 3, 4:
		to := "Archive"
		if v.box.mailbox == to {
			to = "INBOX"
		}
		if v.box.mailbox != copies {
			return d.move(c, d.ledger.pick(v, n, any_), to)
		}
		return d.flag(c, v, n)
	case 5:
		if v.box.mailbox != copies {
			return d.copy(c, d.ledger.pick(v, n, any_))
		}
	}
	return d.expunge(c, d.ledger.pick(v, 1+rand.IntN(3), any_))
}

func (d *driver) flag(c *conn, v view, n int) error {
	to, sign := rand.IntN(2) == 0, "-"
	if to {
		sign = "+"
	}
	ps := d.ledger.pick(v, n, func(s *spot) bool { return s.flagged != to })
	if len(ps) == 0 {
		return nil
	}
	d.ledger.flagging(ps, to)
	if _, err := c.imap("UID STORE %s %sFLAGS.SILENT (\\Flagged)", uidSet(ps), sign); err != nil {
		return err
	}
	d.ledger.flagged(ps)
	return nil
}

func (d *driver) expunge(c *conn, ps []place) error {
	if len(ps) == 0 {
		return nil
	}
	if _, err := c.imap("UID STORE %s +FLAGS.SILENT (\\Deleted)", uidSet(ps)); err != nil {
		return err
	}
	d.ledger.leaving(ps, true)
	if _, err := c.imap("UID EXPUNGE %s", uidSet(ps)); err != nil {
		return err
	}
	d.ledger.left(ps, true)
	return nil
}

func (d *driver) move(c *conn, ps []place, to string) error {
	if len(ps) == 0 {
		return nil
	}
	d.ledger.leaving(ps, false)
	us, err := c.imap("UID MOVE %s %s", uidSet(ps), to)
	if err != nil {
		return err
	}
	d.ledger.left(ps, false)
	return d.told(us, ps, to)
}

func (d *driver) copy(c *conn, ps []place) error {
	if len(ps) == 0 {
		return nil
	}
	d.ledger.copying(ps)
	us, err := c.imap("UID COPY %s %s", uidSet(ps), copies)
	if err != nil {
		return err
	}
	d.ledger.copied(ps)
	return d.told(us, ps, copies)
}

var copyUIDRE = regexp.MustCompile(`\[COPYUID (\d+) (\S+) (\S+)\]`)

// told writes down where COPYUID says that messages lie now.
func (d *driver) told(us []untagged, ps []place, mailbox string) error {
	for _, u := range us {
		m := copyUIDRE.FindStringSubmatch(u.text)
		if m == nil {
			continue
		}
		from, to := uids(m[2]), uids(m[3])
		if len(from) != len(ps) || len(to) != len(ps) {
			d.ledger.refused("%s for %d messages", u.text, len(ps))
			return nil
		}
		byUID := map[uint32]place{}
		for _, p := range ps {
			byUID[p.uid] = p
		}
		var src, dst []place
		for i := range from {
			src = append(src, byUID[from[i]])
			dst = append(dst, place{ps[0].user, mailbox, number(m[1]), to[i]})
		}
		d.ledger.arrived(src, dst)
		return nil
	}
	return fmt.Errorf("no COPYUID")
}

func uidSet(ps []place) string {
	var b strings.Builder
	for i, p := range ps {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(strconv.Itoa(int(p.uid)))
	}
	return b.String()
}

// uids reads a set of numbers and ranges.
func uids(set string) (all []uint32) {
	for part := range strings.SplitSeq(set, ",") {
		lo, hi, ok := strings.Cut(part, ":")
		if !ok {
			hi = lo
		}
		for n := number(lo); n <= number(hi) && len(all) < 10000; n++ {
			all = append(all, n)
		}
	}
	return all
}
