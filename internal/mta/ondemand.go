package mta

import (
	"context"
	"time"

	"postel/internal/mail"
	"postel/internal/queue"
)

// Mail for a domain that its customer takes by ATRN (RFC 2645) goes nowhere by itself. It lies in the queue like any
// other, due when something about it has to be decided: the sender to be told of the delay, or its time to be over.

// onDemand tells whether an item is for such a domain.
func (m *MTA) onDemand(ctx context.Context, it *queue.Item) (bool, error) {
	if m.o.OnDemand == nil || it.Local() {
		return false, nil
	}
	return m.o.OnDemand(ctx, mail.Domain(it.Destination))
}

// park gives the items of a batch that wait for their customer the time when they are looked at next.
func (m *MTA) park(ctx context.Context, items []*queue.Item) error {
	for _, it := range items {
		waits, err := m.onDemand(ctx, it)
		if err != nil {
			return err
		}
		for n := range it.Recipients {
			if r := &it.Recipients[n]; waits && r.Last.Code == 0 {
				r.Last, r.LastTime = waitsForCustomer(), r.Due // so that whoever looks at the queue sees why
				r.Due = sooner(m.schedule(it).parked(began(it), r.Due), it.By.Deadline, r.Due)
			}
		}
	}
	return nil
}

// waitsForCustomer is what is said of mail of which nobody has tried to get rid.
func waitsForCustomer() mail.Result {
	return ours(mail.ScopeHost, 451, mail.Enhanced{4, 4, 7}, "nobody has taken it by ATRN")
}

// parked gives the time when mail that waits for its customer is looked at next: when a report of delay may be asked
// for, then when it has waited too long.
func (s Schedule) parked(began, now time.Time) time.Time {
	end := began.Add(s.GiveUp)
	if t := began.Add(s.Warn); t.After(now) && t.Before(end) {
		return t
	}
	return end
}

// parkedAgain decides about an item that became due though it waits for its customer; false when it does not.
func (s *scheduler) parkedAgain(it *queue.Item, todo []int, a *attempt) bool {
	waits, err := s.m.onDemand(s.work, it)
	switch {
	case err != nil:
		s.m.o.Log.Error("reading the directory failed", "queue", queueName(it), "err", err)
		a.all(it, todo, ours(mail.ScopeHost, 451, mail.Enhanced{4, 3, 0}, "the directory cannot be read"))
		return true
	case !waits:
		return false
	}
	a.parked = true
	a.all(it, todo, waitsForCustomer())
	return true
}

// Collect takes the mail of some domains for one customer, until Close. Kinds: NotFound when nothing waits, Busy when
// another collects one of them, here or at another node, Unavailable when the queue is not worked on.
func (m *MTA) Collect(ctx context.Context, domains []mail.Domain, customer string) (*Collection, error) {
	c := &Collection{m: m, domains: domains, customer: customer}
	if err := m.sched.collect(domains); err != nil {
		return nil, err
	}
	for _, d := range domains {
		n, more, err := m.o.Queue.Waiting(ctx, string(d), 1)
		if err != nil {
			c.Close()
			return nil, err
		}
		if n > 0 || more {
			return c, nil
		}
	}
	c.Close()
	return nil, mail.E("mta.collect", mail.NotFound, "nothing waits")
}

// collect notes that domains are being collected.
func (s *scheduler) collect(domains []mail.Domain) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.started || s.stopping {
		return mail.E("mta.collect", mail.Unavailable, "the queue is not worked on")
	}
	for _, d := range domains {
		if s.collecting[d] {
			return mail.E("mta.collect", mail.Busy, "another session takes the mail of %s", d)
		}
		if !s.m.o.Queue.Owns(&queue.Item{ID: s.m.o.Queue.NewID(string(d))}) {
			return mail.E("mta.collect", mail.Busy, "another node has the mail of %s", d)
		}
	}
	for _, d := range domains {
		s.collecting[d] = true
	}
	return nil
}

// Collection is mail that a customer takes.
type Collection struct {
	m        *MTA
	domains  []mail.Domain
	customer string // for results and people
}

// Close lets others collect.
func (c *Collection) Close() {
	s := c.m.sched
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, d := range c.domains {
		delete(s.collecting, d)
	}
}

// begin counts the collection as work that a stop waits for; false when there is a stop.
func (s *scheduler) begin() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopping {
		return false
	}
	s.running.Add(1)
	return true
}
