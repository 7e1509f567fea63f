package crash

import (
	"fmt"
	"strings"
	"time"

	"postel/internal/admin"
)

// found is one message as it lies in a mailbox after the crash.
type found struct {
	id      string
	flagged bool
}

// findings are all that is there after the crash.
type findings struct {
	at    map[place]found
	count map[counted]int
	next  map[place]uint32 // UIDNEXT by mailbox
	queue []admin.QueueItem
}

// verify reads everything back: ids, places and flags always; bodies of all messages when whole is set, else of those
// that came since verify was last here, which the crash may have torn. Then the ledger is settled.
func (d *driver) verify(whole bool) {
	d.t.Helper()
	f := &findings{at: map[place]found{}, count: map[counted]int{}, next: map[place]uint32{}, queue: d.settledQueue()}
	for _, user := range d.users {
		d.readBack(user, whole, f)
	}
	l := d.ledger
	l.mu.Lock()
	defer l.mu.Unlock()
	twice := l.took(d.sink.Drain(), d.crashed)
	if !d.power { // what is merely written may be lost with the power
		l.checkNamed(twice, d.lives)
	}
	d.lives = nil
	l.checkRelays(f)
	l.checkPlaces(f)
	l.checkCounts(f)
	for _, e := range l.errors {
		d.t.Error(e)
	}
	l.settle(f)
}

func (d *driver) readBack(user string, whole bool, f *findings) {
	d.t.Helper()
	c, err := dialIMAP(d.srv.Addr("imap"), user)
	if err != nil {
		d.t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	for _, name := range mailboxes() {
		if err := d.readMailbox(c, user, name, whole, f); err != nil {
			d.t.Fatalf("%s %s: %v", user, name, err)
		}
	}
}

func (d *driver) readMailbox(c *conn, user, name string, whole bool, f *findings) error {
	box, next, err := d.open(c, user, name)
	if err != nil {
		return err
	}
	f.next[box] = next
	us, err := c.imap("UID FETCH 1:* (UID FLAGS BODY.PEEK[HEADER.FIELDS (SUBJECT)])")
	if err != nil {
		return err
	}
	last := uint32(0)
	for _, u := range us {
		id, uid, ok := headerOf(u)
		if !ok {
			continue
		}
		if uid <= last || uid >= next {
			d.t.Errorf("%v: UID %d behind %d, UIDNEXT %d", box, uid, last, next)
		}
		last = uid
		f.at[at(box, uid)] = found{id, isFlagged(u)}
	}
	from := d.ledger.lookedTo(box)
	if whole {
		from = 1
	}
	if err := d.bodies(c, box, from, f); err != nil {
		return err
	}
	for p, x := range f.at {
		if p.box() != box {
			continue
		}
		if x.id == report { // an old one, whose body was not read again
			x.id = d.ledger.known(p)
			f.at[p] = x
		}
		f.count[counted{owner{user, x.id}, groupOf(name)}]++
	}
	return nil
}

// bodies checks that every message from a UID on is whole.
func (d *driver) bodies(c *conn, box place, from uint32, f *findings) error {
	us, err := c.imap("UID FETCH %d:* (UID BODY.PEEK[])", from)
	if err != nil {
		return err
	}
	for _, u := range us {
		m := uidRE.FindStringSubmatch(u.text)
		if len(u.literals) == 0 || m == nil {
			continue
		}
		p := at(box, number(m[1]))
		id, err := check(string(u.literals[0]))
		if err != nil {
			d.t.Errorf("%v: %v", p, err)
		}
		x := f.at[p]
		if !same(x.id, id) {
			d.t.Errorf("%v is listed as %s and reads as %s", p, x.id, id)
		}
		x.id = id
		f.at[p] = x
	}
	return nil
}

// settledQueue waits until all that can be sent is sent, and gives what waits.
func (d *driver) settledQueue() []admin.QueueItem {
	d.t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for {
		items, err := d.queue("")
		if err != nil {
			d.t.Fatal(err)
		}
		busy := ""
		for _, it := range items {
			if len(it.Recipients) != 1 {
				d.t.Fatalf("queue item %s has %d recipients", it.ID, len(it.Recipients))
			}
			if r := it.Recipients[0]; r.State != "held" && time.Until(r.Due) < time.Minute {
				busy = fmt.Sprintf("%s: %s", r.Address, r.Last)
			}
		}
		if busy == "" {
			return items
		}
		if time.Now().After(deadline) {
			d.t.Fatalf("the queue does not come to rest: %s", busy)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// checkPlaces compares what readers and sessions were told with what is there.
func (l *ledger) checkPlaces(f *findings) {
	for p, s := range l.spots {
		x, there := f.at[p]
		switch {
		case s.gone && there:
			l.wrong("%s was taken away from %v and is back as %s; gone %v before the crash, seen by a reader only: %v", s.id, p, x.id, l.cut.Sub(s.since), s.seen)
		case !there && !s.gone && !s.leaving:
			l.wrong("%s was shown at %v and is not there", s.id, p)
		case there && !same(s.id, x.id):
			l.wrong("%s was shown at %v; now there is %s", s.id, p, x.id)
		case there && s.flagged != x.flagged && (s.change == 0 || s.shown):
			l.wrong("%v (%s): flagged is %v, not %v", p, s.id, x.flagged, s.flagged)
		}
	}
	for p, x := range f.at {
		if l.spots[p] == nil && p.uid < l.floor[p.box()] {
			l.wrong("%s is at %v, below the UIDNEXT of the last look at everything", x.id, p)
		}
	}
}

// checkCounts looks whether everything acknowledged is there exactly once, and nothing else.
func (l *ledger) checkCounts(f *findings) {
	for k, b := range l.count {
		if n := f.count[k]; n < b.min || n > b.max {
			l.wrong("%s of %s is in %s %d times, not %d to %d%s", k.id, k.user, k.group, n, b.min, b.max, l.trail(k.owner, b.acked))
		}
	}
	for k, n := range f.count {
		if l.count[k] == nil {
			l.wrong("%s of %s is in %s %d times and was never sent", k.id, k.user, k.group, n)
		}
	}
}

// settle takes what was found for what is so from now on.
func (l *ledger) settle(f *findings) {
	l.count = make(map[counted]*bounds, len(f.count))
	for k, n := range f.count {
		l.count[k] = &bounds{min: n, max: n}
	}
	l.spots = make(map[place]*spot, len(f.at))
	for p, x := range f.at {
		l.spots[p] = &spot{id: x.id, flagged: x.flagged}
	}
	for box, next := range f.next {
		l.floor[box] = next
	}
	l.settleRelays(f)
}

func (l *ledger) lookedTo(box place) uint32 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return max(1, l.floor[box])
}

// known gives the id that is known of a place.
func (l *ledger) known(p place) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	if s := l.spots[p]; s != nil {
		return s.id
	}
	return report
}

func at(box place, uid uint32) place {
	box.uid = uid
	return box
}

func isFlagged(u untagged) bool { return strings.Contains(u.text, `\Flagged`) }

// trail tells what is known of a message: when it was acknowledged, if that was since everything was looked at last,
// and where it was seen.
func (l *ledger) trail(o owner, acked time.Time) (s string) {
	if !acked.IsZero() {
		s = fmt.Sprintf("; acknowledged %v before the crash", l.cut.Sub(acked))
	}
	for p, x := range l.spots {
		if p.user == o.user && x.id == o.id {
			s += fmt.Sprintf("; at %s %d, leaving %v, gone %v", p.mailbox, p.uid, x.leaving, x.gone)
		}
	}
	return s
}
