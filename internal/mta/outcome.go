package mta

import (
	"context"
	"errors"
	"fmt"
	"time"

	"postel/internal/mail"
	"postel/internal/observe"
	"postel/internal/queue"
)

// attempt collects what came of an item's recipients.
type attempt struct {
	id      mail.ID // shown with a-
	results []verdict
	session mail.ID     // the last outbound session
	host    hostVerdict // what was learnt of the destination
	reason  mail.Result // why host failed, or how it asked for less
	slow    bool        // the last host asked for less
	parked  bool        // the verdicts to come are about mail that waits for its customer
}

// verdict is the result for one recipient of an item.
type verdict struct {
	n       int
	result  mail.Result
	session mail.ID // in which it was heard
	now     bool    // tried again at once, or reported at once
	owed    bool    // it was delivered before, and the sender is to be told
	// What the host that took it does not offer, so that the sender hears from us (RFC 3461 §5.2.2, RFC 2852 §4.1.3).
	noDSN, noBy bool
	parked      bool // it waits on for its customer, as ATRN wants it
}

type hostVerdict uint8

const (
	hostUnknown  hostVerdict = iota // nobody was asked
	hostAnswered                    // a host did its work, whatever it said
	hostFailed                      // no host could be spoken to
)

// begin gives the recipients of an item that are due, and an attempt that has the verdicts known beforehand.
func (m *MTA) begin(it *queue.Item, now time.Time) (todo []int, a attempt) {
	a.id = m.o.IDs.New(m.o.Clock())
	for n := range it.Recipients {
		r := &it.Recipients[n]
		switch {
		case r.State != queue.Waiting || r.Due.After(now):
		case final(r.Last), r.Last.Delivered():
			a.results = append(a.results, verdict{n: n, result: r.Last, session: r.Session, owed: r.Last.Delivered()})
		case it.By.Return && overdue(it.By, now): // RFC 2852 §4.1
			late := ours(mail.ScopeMessage, 550, mail.Enhanced{5, 4, 7}, "it could not be delivered by the time that its sender set")
			if r.Last.Code != 0 {
				late.Text += "; last: " + r.Last.String()
			}
			a.results = append(a.results, verdict{n: n, result: late})
		default:
			todo = append(todo, n)
		}
	}
	return todo, a
}

func (a *attempt) add(it *queue.Item, n int, r mail.Result) {
	r.Recipient = it.Recipients[n].Address
	a.results = append(a.results, verdict{n: n, result: r, session: a.session, parked: a.parked})
}

// all adds the same result for several recipients.
func (a *attempt) all(it *queue.Item, todo []int, r mail.Result) {
	for _, n := range todo {
		a.add(it, n, r)
	}
}

// decision is what follows from an attempt.
type decision struct {
	outs    []queue.Outcome
	failed  []int  // given up; reported where the sender wants it
	done    []int  // delivered, relayed or expanded; the sender is told
	delayed []int  // the sender is told that it takes longer
	dropped string // why the failed ones are not reported; set when the report proved impossible
}

// decide is the one place where results become states.
func (m *MTA) decide(it *queue.Item, results []verdict, now time.Time) (d decision) {
	schedule := m.schedule(it)
	for _, v := range results {
		o := queue.Outcome{N: v.n, Result: v.result, Session: v.session}
		rcpt := &it.Recipients[v.n]
		due, again := schedule.next(rcpt.Attempts+1, began(it), now)
		if v.parked {
			due = schedule.parked(began(it), now)
		}
		switch {
		case v.result.Delivered():
			o.State = queue.Delivered
			if m.tellsSuccess(it, v) {
				d.done = append(d.done, v.n)
			}
		case v.now:
			o.State, o.Due = queue.Waiting, now
		case final(v.result) || !again:
			o.State = queue.Failed
			d.failed = append(d.failed, v.n)
		default:
			o.State, o.Due = queue.Waiting, sooner(due, it.By.Deadline, now)
			if rcpt.Delayed || !m.wantsDelay(it, v.n) {
				break
			}
			if o.Delayed = m.late(it, now); o.Delayed {
				d.delayed = append(d.delayed, v.n)
			} else {
				o.Due = sooner(o.Due, began(it).Add(m.o.Schedule.Warn), now)
			}
		}
		d.outs = append(d.outs, o)
	}
	return d
}

// final tells whether a refusal counts for good. One of a session or host is a verdict on that host, which may mend
// itself, unless it says that it never takes mail (RFC 7504) or the route leads nowhere.
func final(r mail.Result) bool {
	if !r.Permanent() {
		return false
	}
	return r.Scope >= mail.ScopeMessage || r.Host == "" || r.Code == 521 || r.Code == 556 || r.Enhanced == noRequireTLS
}

// finish records what an attempt came to and gives the item back.
func (s *scheduler) finish(it *queue.Item, a attempt) {
	m := s.m
	ctx := context.WithoutCancel(s.work)
	if len(a.results) == 0 {
		s.returned(it, nextOf(it))
		return
	}
	d := m.decide(it, a.results, m.o.Clock())
	left, err := s.persist(func() (*queue.Item, error) { return m.settle(ctx, it, &d, a) })
	s.recorded(it, left, a, d, err)
}

// persist tries to record a result again while that fails, because a result that is not recorded is a message sent
// twice.
func (s *scheduler) persist(record func() (*queue.Item, error)) (left *queue.Item, err error) {
	const longest = 5 * time.Second
	for wait := 100 * time.Millisecond; ; wait *= 2 {
		left, err = record()
		if err == nil || mail.Is(err, mail.NotFound) || errors.Is(err, queue.ErrLost) || wait > longest && !mail.Is(err, mail.Full) {
			return left, err
		}
		wait = min(wait, longest) // a full disk has room again some time
		select {
		case <-s.work.Done():
			return left, err
		case <-time.After(wait):
		}
	}
}

// recorded tells what happened and gives the lease back. After an error that stays, the lease is kept: the message is
// not sent again before a restart.
func (s *scheduler) recorded(it, left *queue.Item, a attempt, d decision, err error) {
	if errors.Is(err, queue.ErrLost) {
		s.m.o.Log.Warn("an attempt ended after another node took its item over, which will try it again", "queue", queueName(it))
		s.m.o.Sending.End(it.ID)
		s.returned(it, time.Time{})
		return
	}
	if err != nil && !mail.Is(err, mail.NotFound) {
		s.m.o.Log.Error("recording an attempt failed", "queue", queueName(it), "err", err)
		return
	}
	s.m.o.Sending.End(it.ID)
	s.m.count(it, d)
	s.m.suppress(context.WithoutCancel(s.work), it, d)
	s.m.tell(it, a, d)
	s.handBack(it, left)
}

// handBack ends the lease; left is the item as it is now, nil when it has ended.
func (s *scheduler) handBack(it, left *queue.Item) {
	var next time.Time
	if left != nil {
		next, _ = left.Due()
	}
	s.m.o.Queue.Recorded(it)
	s.left(next)
}

// tell adds the events of an attempt to the journey.
func (m *MTA) tell(it *queue.Item, a attempt, d decision) {
	if m.o.Journey == nil {
		return
	}
	for _, o := range d.outs {
		e := observe.Event{
			Message: it.Blob, Attempt: "a-" + a.id.String(), From: pathOf(it.From), Queue: queueName(it),
			Recipient: it.Recipients[o.N].Address.String(), Host: o.Result.Host, Reply: o.Result.String(), Size: it.Size,
		}
		if !a.session.IsZero() {
			e.Session = "s-" + a.session.String()
		}
		switch {
		case o.State == queue.Delivered && it.Local():
			continue // Filed was told at the commit, and Reported is
		case o.State == queue.Delivered:
			e.Kind = observe.Relayed
		case o.State == queue.Waiting:
			e.Kind, e.Next = observe.Attempted, o.Due
		case d.dropped != "":
			e.Kind, e.Why = observe.Dropped, d.dropped
		case m.reports(it, o.N):
			e.Kind, e.Why = observe.Bounced, "a report goes to the sender"
		default:
			e.Kind, e.Why = observe.Dropped, m.silence(it, o.N)
		}
		m.o.Journey.Add(e)
	}
}

// reports tells whether the sender is told that a recipient failed (RFC 3461 §4.1, §6.1 of RFC 5321).
func (m *MTA) reports(it *queue.Item, n int) bool {
	notify := it.Recipients[n].Notify
	return !it.From.IsNull() && (notify == 0 || notify&mail.NotifyFailure != 0)
}

// tellsSuccess tells whether the sender is told that a recipient was delivered to, or relayed to a host that will not
// tell (RFC 3461 §5.2.2 and §6.2).
func (m *MTA) tellsSuccess(it *queue.Item, v verdict) bool {
	notify := it.Recipients[v.n].Notify
	switch {
	case it.From.IsNull() || notify&mail.NotifyNever != 0:
		return false
	case v.owed:
		return true
	}
	if it.By.Trace || !it.By.Deadline.IsZero() && !it.By.Return && v.noBy { // RFC 2852 §4.1.4.2, §4.2
		return it.Recipients[v.n].Notify == 0 || notify&(mail.NotifySuccess|mail.NotifyDelay) != 0
	}
	return notify&mail.NotifySuccess != 0 && v.noDSN
}

// wantsDelay tells whether the sender is to be told once that a recipient waits. Unasked it is told to our own users
// alone, of mail that a person wrote (RFC 3461 §4.1 leaves it to us): a stranger's address may be anybody's, and a program
// reads no such news. Who set a time by which the mail should be there is told too (RFC 2852 §4.1).
func (m *MTA) wantsDelay(it *queue.Item, n int) bool {
	notify := it.Recipients[n].Notify
	switch {
	case it.From.IsNull():
		return false
	case notify != 0:
		return notify&mail.NotifyDelay != 0
	}
	return !it.By.Deadline.IsZero() || it.Submitted && !it.Automatic && !m.o.Schedule.OnlyAsked
}

// late tells whether an item has waited for so long that its sender is told, or beyond the time that the sender set.
func (m *MTA) late(it *queue.Item, now time.Time) bool {
	return m.o.Schedule.warns(began(it), now) || overdue(it.By, now)
}

// silence says why no report is made.
func (m *MTA) silence(it *queue.Item, n int) string {
	if it.From.IsNull() {
		return "the sender is null: there is nobody to report to"
	}
	return fmt.Sprintf("the sender wants no report (NOTIFY=%d)", it.Recipients[n].Notify)
}

// tellDeed adds what an operator did to the journey.
func (m *MTA) tellDeed(d queue.Deed, it *queue.Item) {
	for i := range it.Recipients {
		r := &it.Recipients[i]
		e := observe.Event{
			Message: it.Blob, From: pathOf(it.From), Recipient: r.Address.String(), Queue: queueName(it),
			Next: r.Due, Why: "by an operator",
		}
		switch {
		case d == queue.Holding && r.State == queue.Held:
			e.Kind = observe.Held
		case d == queue.Releasing && r.State == queue.Waiting:
			e.Kind = observe.Released
		case d == queue.Rerouting && !r.State.Final():
			e.Kind, e.Host = observe.Rerouted, it.Via
		case d == queue.Dropping && !r.State.Final() && r.Last.Delivered(): // only a report was owed
			e.Kind, e.Next, e.Host, e.Reply = observe.Relayed, time.Time{}, r.Last.Host, r.Last.String()
		case d == queue.Dropping && !r.State.Final():
			e.Kind, e.Next = observe.Dropped, time.Time{}
		default:
			continue
		}
		m.o.Journey.Add(e)
	}
}
