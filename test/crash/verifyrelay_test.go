package crash

import (
	"regexp"
	"strings"
	"time"

	"postel/internal/admin"
	"postel/test/harness"
)

// grace is how long before a crash the sink may have taken what is sent again behind it: the 250 was on its way.
const grace = 30 * time.Second

// took writes down what the sink took: whole, what it was to get, and twice only over a crash. It gives the ids of those.
func (l *ledger) took(ts []harness.Taken, crashes []time.Time) (twice []string) {
	for _, t := range ts {
		id, err := check(t.Text)
		if err != nil || len(t.To) != 1 || !strings.HasPrefix(t.To[0], "<"+id+"@") {
			l.wrong("the sink took %s for %v: %v", id, t.To, err)
			continue
		}
		r := l.relays[id]
		if r == nil {
			l.wrong("%s was sent, which was never taken or has ended", id)
			continue
		}
		for _, before := range r.taken {
			if !over(before, t, crashes) {
				l.wrong("%s was sent twice with no crash between, at %v and %v", id, before.At, t.At)
			}
		}
		if len(r.taken) > 0 {
			twice = append(twice, id)
		}
		r.taken = append(r.taken, t)
	}
	return twice
}

var namedRE = regexp.MustCompile(`it may arrive twice" queue=q-\S+ message=m-\S+ from=\S+ to=(c\d+)@`)

// checkNamed looks whether all that was sent twice was named by a process that started in between, and by each once.
func (l *ledger) checkNamed(twice []string, lives []func() string) {
	named := map[string]bool{}
	for _, log := range lives {
		here := map[string]bool{}
		for _, m := range namedRE.FindAllStringSubmatch(log(), -1) {
			if here[m[1]] {
				l.wrong("a start names %s twice", m[1])
			}
			here[m[1]], named[m[1]] = true, true
			l.total.named++
		}
	}
	for _, id := range twice {
		l.total.twice++
		if !named[id] {
			l.wrong("%s was sent twice, and no log says so", id)
		}
	}
}

// over tells whether a crash, soon behind the first, lies between two.
func over(first, second harness.Taken, crashes []time.Time) bool {
	for _, c := range crashes {
		if first.Connected.Before(c) && second.Connected.After(c) && c.Sub(first.At) < grace {
			return true
		}
	}
	return false
}

// checkRelays looks what became of mail for elsewhere.
func (l *ledger) checkRelays(f *findings) {
	queued := map[string]admin.QueueItem{}
	for _, it := range f.queue {
		id, _, _ := strings.Cut(it.Recipients[0].Address, "@")
		if _, twice := queued[id]; twice || l.relays[id] == nil {
			l.wrong("the queue has %s twice, or it was never taken", id)
		}
		queued[id] = it
	}
	for id, r := range l.relays {
		it, waits := queued[id]
		switch r.domain {
		case taken:
			if waits || r.acked && len(r.taken) == 0 {
				l.wrong("relay of %s: sent %d times, still waiting %v", id, len(r.taken), waits)
			}
		case bounced:
			if waits {
				l.wrong("%s waits and was to bounce", id)
			}
			if r.acked {
				l.bounds(owner{r.sender, report + id}, home).min++
				l.total.bounced++
			}
		default:
			l.checkWaiting(id, r, it, waits)
		}
	}
}

func (l *ledger) checkWaiting(id string, r *relay, it admin.QueueItem, waits bool) {
	sent := len(r.taken) > 0
	switch {
	case waits && (r.dropped == done || r.late == done):
		l.wrong("%s waits, dropped %d, let through %d", id, r.dropped, r.late)
	case r.late == done && !sent:
		l.wrong("%s was let through and is lost", id)
	case !waits && r.acked && !sent && r.dropped == no:
		l.wrong("%s waited and is lost", id)
	case waits && !r.holding && (it.State == "held") != r.held:
		l.wrong("%s: held is %v", id, !r.held)
	}
}

// settleRelays forgets what has ended; of what waits, what was in doubt is as it was found.
func (l *ledger) settleRelays(f *findings) {
	old := l.relays
	l.relays = map[string]*relay{}
	for _, it := range f.queue {
		id, domain, _ := strings.Cut(it.Recipients[0].Address, "@")
		r := &relay{domain: domain, acked: true, held: it.State == "held"}
		if o := old[id]; o != nil {
			r.sender = o.sender
		}
		l.relays[id] = r
	}
}
