package mta

import (
	"context"
	"fmt"
	"hash/fnv"
	"maps"
	"math/rand/v2"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"postel/internal/blob"
	"postel/internal/kv/kvtest"
	"postel/internal/mail"
	"postel/internal/observe"
	"postel/internal/queue"
	"postel/internal/route"
	"postel/internal/store"
)

// TestMonth lives through thirty days of queue with random outages: hosts that refuse, hang, close and change their mind,
// DNS and the directory away, operators at work, restarts. Each recipient of an accepted message ends exactly once. Time
// is virtual; POSTEL_MONTHS says how many months, POSTEL_SEED which is the first.
func TestMonth(t *testing.T) {
	t.Parallel()
	number := func(name string, or int) int {
		if n, err := strconv.Atoi(os.Getenv(name)); err == nil {
			return n
		}
		return or
	}
	seeds := 3
	if testing.Short() {
		seeds = 1
	}
	months := []int{48} // an operator drops what is delivered and waits for its report
	for i := range number("POSTEL_MONTHS", seeds) {
		months = append(months, number("POSTEL_SEED", 1)+i)
	}
	for _, seed := range months {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { newMonth(t, uint64(seed)).live() })
		})
	}
}

const (
	day         = 24 * time.Hour
	monthDays   = 30
	monthHosts  = 6
	afterwards  = 8 * day // what is left ends: 5 days, and 2 of holding
	messagesDay = 4
)

// month is one life of a queue.
type month struct {
	*fixture
	seed    uint64
	rnd     *rand.Rand // of the one goroutine that drives it
	outages map[string][]outage
	over    atomic.Bool // and none any more
	stop    func()

	mu       sync.Mutex
	queued   map[string]int      // recipients, by message and address
	ends     map[string][]string // the kinds of their ends
	accepted map[string]string   // the keys of what was accepted, by address
	senders  map[string]string   // of the addresses
}

// outage is a time in which something is out of order.
type outage struct {
	from, to time.Time
	kind     outageKind
}

type outageKind int

const (
	outRefuses  outageKind = iota // connections
	outHangs                      // connections, for five minutes
	outForGood                    // greets with 554, as a host that is being set up
	outBusy                       // 451 to MAIL
	outGreylist                   // 450 to recipients
	outCloses                     // in the middle
	outDNS                        // the domain cannot be looked up
	outageKinds
)

func newMonth(t *testing.T, seed uint64) *month {
	m := &month{
		seed: seed, rnd: rand.New(rand.NewPCG(seed, 30)), outages: map[string][]outage{},
		queued: map[string]int{}, ends: map[string][]string{}, accepted: map[string]string{}, senders: map[string]string{},
	}
	m.fixture = newFixtureOver(t, kvtest.Memory(), m.options)
	m.initAccounts(alice)
	begin := time.Now()
	for i := range monthHosts {
		m.outages["mx."+monthDomain(i)] = m.plan(begin, 8)
	}
	m.outages["directory"] = m.plan(begin, 3)
	m.world.refuse, m.world.reply = m.refuse, m.reply
	m.run()
	return m
}

func monthDomain(i int) string { return fmt.Sprintf("d%d.test", i) }

func (m *month) options(o *Options) {
	o.Router = m
	o.Journey = observe.NewJourney(nil, time.Now, m)
	if m.seed%2 == 1 { // hardly anything has room, so that most is read from the queue
		o.Concurrency = Concurrency{Window: 6, All: 3}
	}
	o.Schedule = Schedule{Warn: 4 * time.Hour}
}

// plan draws outages, from minutes to a week.
func (m *month) plan(begin time.Time, most int) (all []outage) {
	for range m.rnd.IntN(most) {
		from := begin.Add(time.Duration(m.rnd.Int64N(int64(monthDays * day))))
		long := time.Minute << m.rnd.IntN(14)
		all = append(all, outage{from, from.Add(long), outageKind(m.rnd.IntN(int(outageKinds)))})
	}
	return all
}

// out tells what is out of order of something now.
func (m *month) out(what string) (outageKind, bool) {
	now := time.Now()
	for _, o := range m.outages[what] {
		if m.over.Load() {
			break
		}
		if !now.Before(o.from) && now.Before(o.to) {
			return o.kind, true
		}
	}
	return 0, false
}

// chance is true once in n, decided by what is done and when: goroutines that run in another order change nothing.
func (m *month) chance(n uint64, what string) bool {
	h := fnv.New64a()
	_, _ = fmt.Fprint(h, m.seed, what, time.Now().UnixNano())
	return h.Sum64()%n == 0
}

// Route is Router's.
func (m *month) Route(ctx context.Context, d mail.Domain, from mail.Address) (route.Plan, error) {
	if kind, out := m.out("mx." + string(d)); out && kind == outDNS {
		return route.Plan{}, &mail.Error{Kind: mail.Unavailable, Code: mail.Enhanced{4, 4, 3}, Text: "no DNS"}
	}
	return fakeRouter{}.Route(ctx, d, from)
}

// Limits is Router's.
func (m *month) Limits(mail.Domain, mail.Address) *route.Limits { return nil }

// Apart implements Router.
func (m *month) Apart(mail.Domain, mail.Address) string { return "" }

// Via is Router's.
func (m *month) Via(ctx context.Context, d mail.Domain, from mail.Address, _ string) (route.Plan, error) {
	return m.Route(ctx, d, from)
}

// refuse is world's.
func (m *month) refuse(host string) *mail.Result {
	kind, out := m.out(host)
	r := reply(mail.ScopeHost, 451, "connection refused")
	r.Host = host
	switch {
	case out && kind == outRefuses:
		return &r
	case out && kind == outForGood:
		r.Code, r.Enhanced = 554, mail.Enhanced{5, 3, 2}
		return &r
	case m.chance(50, host):
		return &r
	}
	return nil
}

// openOr is openLink, but for hosts that hang.
func (m *month) openOr(ctx context.Context, t target, addr netip.AddrPort) (link, *refusal) {
	if kind, out := m.out(t.Name); out && kind == outHangs {
		select {
		case <-ctx.Done():
		case <-time.After(5 * time.Minute):
		}
		r := reply(mail.ScopeHost, 451, "timed out")
		r.Host = t.Name
		return nil, &refusal{Result: r}
	}
	return m.world.openLink(ctx, t, addr)
}

// reply is world's. One user in ten does not exist.
func (m *month) reply(host string, _ mail.Envelope, rcpt mail.Address) mail.Result {
	kind, out := m.out(host)
	switch {
	case out && kind == outBusy && m.seed%2 == 1:
		r := reply(mail.ScopeHost, 421, "you send too much")
		r.Host = host
		return r
	case out && kind == outBusy:
		return reply(mail.ScopeHost, 451, "busy")
	case out && kind == outGreylist, m.chance(20, rcpt.String()):
		return reply(mail.ScopeRecipient, 450, "later")
	case out && kind == outCloses, m.chance(50, host+rcpt.String()):
		return reply(mail.ScopeSession, 451, "connection lost")
	case strings.HasPrefix(rcpt.Local, "no"):
		return reply(mail.ScopeRecipient, 550, "no such user")
	}
	return reply(mail.ScopeMessage, 250, "taken")
}

// KeepSession is Sink's.
func (m *month) KeepSession(observe.Transcript) {}

// KeepEvent is Sink's: it counts beginnings and ends.
func (m *month) KeepEvent(e observe.Event) {
	m.mu.Lock()
	defer m.mu.Unlock()
	key := e.Message.String() + " " + e.Recipient
	switch e.Kind {
	case observe.Queued:
		m.queued[key]++
	case observe.Relayed, observe.Bounced, observe.Dropped:
		m.ends[key] = append(m.ends[key], e.Kind)
	}
}

// run starts the MTA; m.stop ends it. It hardly polls the queue, so that what a scheduler forgets stays behind.
func (m *month) run() {
	m.sched.every = 100 * day
	m.MTA.open = m.openOr
	m.stop = m.start()
}

// restart ends it and begins anew with what was kept.
func (m *month) restart() {
	m.stop()
	m.blobs = blob.New(blob.Options{KV: m.kv})
	m.store = store.New(store.Options{KV: m.kv, Blobs: m.blobs})
	m.queue = queue.New(queue.Options{KV: m.kv, Blobs: m.blobs})
	o := m.o
	o.Store, o.Blobs, o.Queue = m.store, m.blobs, m.queue
	m.MTA = New(o)
	m.run()
}

// live is all of it.
func (m *month) live() {
	begin := time.Now()
	for n := 0; time.Since(begin) < monthDays*day; n++ {
		time.Sleep(time.Duration(m.rnd.ExpFloat64() * float64(day/(messagesDay+3))))
		_, down := m.out("directory")
		m.dir.fail(down)
		m.punctual()
		switch i := m.rnd.IntN(messagesDay + 3); {
		case i < messagesDay:
			m.send(n)
		case i == messagesDay && m.rnd.IntN(10) == 0:
			m.restart()
		default:
			m.operate()
		}
	}
	m.dir.fail(false)
	m.over.Store(true)
	for _, it := range m.items() {
		_ = m.queue.Release(m.t.Context(), it.ID) // whatever is held
	}
	pass(afterwards)
	if left := m.items(); len(left) > 0 {
		m.t.Errorf("%d items never ended, the first %+v", len(left), left[0].Recipients)
	}
	m.verify()
	m.stop()
	m.compare()
}

// punctual checks that nothing lies there that should have been tried long ago; hosts that hang take their time.
func (m *month) punctual() {
	for _, it := range m.items() {
		due, ok := it.Due()
		if due.Before(it.Received) { // urgent mail is due days before it came, to be first in line
			due = it.Received
		}
		if ok && time.Since(due) > 40*time.Minute {
			m.t.Errorf("an item for %s was due %v ago", it.Destination, time.Since(due))
		}
	}
}

// send has a message accepted for up to five recipients, from here, from elsewhere or from nobody.
func (m *month) send(n int) {
	from := []string{"alice@postel.test", "alice@postel.test", fmt.Sprintf("s%d@%s", n, monthDomain(m.rnd.IntN(monthHosts))), ""}[m.rnd.IntN(4)]
	var to []string
	for i := range 1 + m.rnd.IntN(5) {
		user := []string{"u", "u", "u", "u", "no"}[m.rnd.IntN(5)]
		to = append(to, fmt.Sprintf("%s%d-%d@%s", user, n, i, monthDomain(m.rnd.IntN(monthHosts))))
	}
	e := envelope(from, to...)
	for i := range e.Recipients {
		e.Recipients[i].Notify = []mail.Notify{0, 0, mail.NotifyNever, mail.NotifyFailure | mail.NotifyDelay, mail.NotifySuccess}[m.rnd.IntN(5)]
	}
	switch m.rnd.IntN(8) {
	case 0:
		e.Hold = time.Now().Add(time.Duration(m.rnd.Int64N(int64(2 * day))))
	case 1:
		e.By = mail.DeliverBy{Deadline: time.Now().Add(time.Duration(m.rnd.Int64N(int64(day)))), Return: m.rnd.IntN(2) == 0}
	case 2:
		e.Priority = int8(m.rnd.IntN(19) - 9)
	}
	msg, errs, err := m.accept(e)
	if err != nil {
		return // it was not accepted
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for i, r := range to {
		if errs == nil || errs[i] == nil {
			m.accepted[r], m.senders[r] = msg.ID().String()+" "+r, from
		}
	}
}

// operate does what operators and customers do to the queue.
func (m *month) operate() {
	items, ctx := m.items(), m.t.Context()
	if len(items) == 0 {
		return
	}
	it := items[m.rnd.IntN(len(items))]
	switch m.rnd.IntN(9) { // what is gone meanwhile is an error, and no concern of ours
	case 0:
		_, _ = m.queue.Drop(ctx, it.ID)
	case 1, 2:
		_ = m.queue.Hold(ctx, it.ID)
	case 3, 4, 5:
		_ = m.queue.Release(ctx, it.ID)
	case 6:
		_, _ = m.queue.Kick(ctx, it.Destination)
	default:
		_ = m.queue.Retry(ctx, it.ID)
	}
}

// compare checks that everyone who was accepted ended once, and that the end is what the world and the sender saw.
func (m *month) compare() {
	for key, n := range m.queued {
		if len(m.ends[key]) != n {
			m.t.Errorf("%s was queued %d times and ended as %v", key, n, m.ends[key])
		}
	}
	got := counts(m.world.deliveries())
	reports := reportedFailures(m.t, m.mailbox(alice, "INBOX"))
	var relayed, bounced int
	for _, rcpt := range slices.Sorted(maps.Keys(m.accepted)) {
		ends := m.ends[m.accepted[rcpt]]
		copies, told := 0, 0
		switch {
		case len(ends) != 1:
			m.t.Errorf("%s ended as %v", rcpt, ends)
			continue
		case ends[0] == observe.Relayed:
			copies = 1
			relayed++
		case ends[0] == observe.Bounced && m.senders[rcpt] == "alice@postel.test":
			told = 1
			bounced++
		}
		if got[rcpt] != copies || len(reports[rcpt]) != told {
			m.t.Errorf("%s, %v: %d copies and %d reports", rcpt, ends, got[rcpt], len(reports[rcpt]))
		}
	}
	m.t.Logf("%d recipients accepted, %d relayed, %d reported to alice", len(m.accepted), relayed, bounced)
	if relayed < 20 {
		m.t.Error("hardly anything happened")
	}
}
