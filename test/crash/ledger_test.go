package crash

import (
	"fmt"
	"sync"
	"time"
)

// place is where a reader saw something; it must mean the same for ever.
type place struct {
	user, mailbox string
	validity      uint32
	uid           uint32
}

// box gives the mailbox of a place.
func (p place) box() place { return place{user: p.user, mailbox: p.mailbox, validity: p.validity} }

// owner is a message as one user has it. A report on a message has the id "dsn:" and that message's id.
type owner struct{ user, id string }

// The groups in which messages are counted: what came in, wherever it was moved, and the copies made of it.
const (
	home   = "home"
	copies = "Copies"
)

func groupOf(mailbox string) string {
	if mailbox == copies {
		return copies
	}
	return home
}

// bounds say how often a message may be there: what is begun widens them, what is acknowledged narrows them again.
type bounds struct {
	min, max     int
	begun, acked time.Time // the newest
}

// counted is a message in a group.
type counted struct {
	owner
	group string
}

// spot is what is known of a place.
type spot struct {
	id      string
	flagged bool
	leaving bool // EXPUNGE or MOVE was begun
	gone    bool // and was answered, or a reader saw that it is gone
	seen    bool // it was a reader that saw it
	since   time.Time
	purge   bool // what was begun is EXPUNGE
	change  int  // a STORE was begun and not answered: its number; flagged is what it shall become
	shown   bool // a reader saw what it shall become
}

// ledger is what the world outside the server knows. It lives in the driver, which no crash touches. Verifying
// settles it: what was in doubt is then as it was found, and must stay so.
type ledger struct {
	mu      sync.Mutex
	next    int
	changes int
	count   map[counted]*bounds
	spots   map[place]*spot
	head    map[place]head   // the highest shown, by mailbox (no UIDVALIDITY)
	floor   map[place]uint32 // by mailbox: below, every UID was looked at by verify
	relays  map[string]*relay
	cut     time.Time   // when the newest crash began
	dead    time.Time   // when the disk had lost its power for sure; zero while it has it
	dark    bool        // the power is being cut: what is learned now counts for nothing
	times   []time.Time // of the newest acknowledgements of mail
	errors  []string    // what cannot be
	total   totals
}

// totals are what the test tells at its end.
type totals struct{ acked, shown, flags, expunged, moved, copied, relayed, bounced, held, dropped, late, twice, named int }

func newLedger() *ledger {
	return &ledger{
		count: map[counted]*bounds{}, spots: map[place]*spot{}, head: map[place]head{},
		floor: map[place]uint32{}, relays: map[string]*relay{},
	}
}

// wrong records what cannot be; l.mu is held.
func (l *ledger) wrong(format string, args ...any) {
	if len(l.errors) < 50 {
		l.errors = append(l.errors, fmt.Sprintf(format, args...))
	}
}

// refused records an answer that no crash excuses.
func (l *ledger) refused(format string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.wrong(format, args...)
}

// message makes a new one. One in fifty is larger than what is kept in a row, one in five hundred so large that it is written
// past the page cache.
func (l *ledger) message() message {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.next++
	size := 200 + l.next*37%4000
	if l.next%50 == 0 {
		size = 150_000 + l.next%5000
	}
	if l.next%500 == 250 {
		size = 1_500_000 + l.next%7000
	}
	return message{fmt.Sprintf("c%07d", l.next), size}
}

// bounds gives those of a message; l.mu is held.
func (l *ledger) bounds(o owner, group string) *bounds {
	k := counted{o, group}
	b := l.count[k]
	if b == nil {
		b = &bounds{}
		l.count[k] = b
	}
	return b
}

// begin says that a message may come to be there.
func (l *ledger) begin(o owner, group string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	b := l.bounds(o, group)
	b.max++
	b.begun = time.Now()
}

// acked says that it is there.
func (l *ledger) acked(o owner, group string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	b := l.bounds(o, group)
	if l.late(b.begun, o.id) {
		return
	}
	b.min++
	b.acked = time.Now()
	l.answered()
}

// answered counts an acknowledgement of mail; l.mu is held.
func (l *ledger) answered() {
	l.total.acked++
	l.times = append(l.times, time.Now())
	if len(l.times) > 4096 {
		l.times = l.times[2048:]
	}
}

// rate gives the number of acknowledgements in the last d.
func (l *ledger) rate(d time.Duration) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := 0
	for i := len(l.times) - 1; i >= 0 && time.Since(l.times[i]) <= d; i-- {
		n++
	}
	return n
}

// shown records that a reader saw id at p.
func (l *ledger) shown(p place, id string, flagged bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.spots[p]
	if l.dark {
		return
	}
	if s == nil {
		if p.uid < l.floor[p.box()] {
			l.wrong("%s appears at %v, below the UIDNEXT of the last look at everything", id, p)
		}
		l.spots[p] = &spot{id: id, flagged: flagged}
		l.total.shown++
		return
	}
	if !same(s.id, id) {
		l.wrong("%v was %s and is %s", p, s.id, id)
	}
}

// same tells whether a message is what it was taken for: of a report, a reader sees at first only that it is one.
func same(known, found string) bool {
	return known == found || known == report && len(found) > 4 && found[:4] == "dsn:" || found == report && len(known) > 4 && known[:4] == "dsn:"
}

// head is what SELECT tells of a mailbox.
type head struct {
	validity, uidNext uint32
	modseq            uint64
}

// heads gives the highest that was told so far.
func (l *ledger) heads(user, mailbox string) head {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.head[place{user: user, mailbox: mailbox}]
}

// opened records what SELECT told; was is what had been told before it was asked: nothing steps back.
func (l *ledger) opened(box place, was, is head) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.dark {
		return
	}
	if is.uidNext < was.uidNext || is.modseq < was.modseq || was.validity != 0 && is.validity != was.validity {
		l.wrong("SELECT of %v tells %+v, and told %+v before", box, is, was)
	}
	k := place{user: box.user, mailbox: box.mailbox}
	old := l.head[k]
	l.head[k] = head{is.validity, max(is.uidNext, old.uidNext), max(is.modseq, old.modseq)}
}

// crashing says that a crash begins. When it is the power that is cut, nothing that is told from now on reaches anyone;
// only that nothing is acknowledged which was begun on the dead disk is still looked at. (The kernel lets syncs that
// are under way when it shuts a file system down end well, and then drops what they wrote, on ext4 as on xfs: a bare
// program that writes and syncs sees that in 3 of 100 shutdowns. No machine without power tells anyone of such a sync.)
func (l *ledger) crashing(power bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.cut, l.dead, l.dark = time.Now(), time.Time{}, power
}

// died says that no sync can end well any more.
func (l *ledger) died() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.dead = time.Now()
}

// lit says that the next server is to be started.
func (l *ledger) lit() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.dark, l.dead = false, time.Time{}
}

// late tells whether an acknowledgement came when the power was gone; l.mu is held.
func (l *ledger) late(begun time.Time, id string) bool {
	if l.dark && !l.dead.IsZero() && begun.After(l.dead) {
		l.wrong("%s was sent and acknowledged after the disk had failed", id)
	}
	return l.dark
}
