package mta

import (
	"context"
	"net"
	"time"

	"postel/internal/mail"
	"postel/internal/observe"
	"postel/internal/proto/smtp"
	"postel/internal/queue"
)

// Run sends the collection as the client of a session in which the customer is the server (RFC 2645 §5.3): all that
// waits, each message recorded before the next is begun. It ends behind a message when stopping says so, and closes
// conn. What is not sent waits on.
func (c *Collection) Run(ctx context.Context, conn net.Conn, stopping func() bool) {
	s := c.m.sched
	if !s.begin() {
		_ = conn.Close()
		return
	}
	defer s.running.Done()
	g := c.m.o.Glass.Begin(observe.SessionInfo{
		Protocol: "smtp", Outbound: true, Local: conn.LocalAddr().String(), Remote: conn.RemoteAddr().String(),
	})
	l := &session{glass: g, client: smtp.NewClient(conn, smtp.ClientOptions{Hello: string(c.m.o.Hostname), Host: c.customer, Trace: traceTo(g)})}
	g.Trace(observe.Note, []byte("the roles of a session are turned round by ATRN"), false)
	w := &worker{s: s, link: l, at: place{host: c.customer}, private: l.client.TLS() != nil}
	defer func() { w.drop(s.work.Err() == nil) }()
	if err := c.greet(ctx, l); err != nil {
		w.drop(false)
		return
	}
	for _, d := range c.domains {
		if !w.collect(ctx, string(d), stopping) {
			return
		}
	}
}

// greet hears the customer's greeting, and nothing but that, and says EHLO, or HELO.
func (c *Collection) greet(ctx context.Context, l *session) error {
	if _, err := l.client.Greet(ctx); err != nil {
		return err
	}
	if l.client.Early() {
		l.glass.Trace(observe.Note, []byte("the customer says more than a greeting before EHLO"), false)
		return net.ErrClosed
	}
	_, err := l.client.Hello(ctx)
	return err
}

// collect sends what waits for one domain; false when the session is over. What the scheduler is at for a moment is
// met in a second round.
func (w *worker) collect(ctx context.Context, domain string, stopping func() bool) bool {
	q := w.s.m.o.Queue
	most := w.link.limit("MAILMAX") // RFC 9422 §4.1
	tried := map[queue.ID]bool{}
	for range 2 {
		var last queue.ID
		missed := false
		for {
			items, busy, err := q.Take(ctx, domain, last)
			missed = missed || busy
			if err != nil {
				w.s.m.o.Log.Error("reading the queue for ATRN failed", "domain", domain, "err", err)
				return false
			}
			if len(items) == 0 {
				break
			}
			for i, it := range items {
				last = it.ID
				if w.link == nil || most > 0 && w.handed >= most || stopping() || ctx.Err() != nil || w.s.work.Err() != nil {
					for _, unsent := range items[i:] {
						w.s.returned(unsent, nextOf(unsent))
					}
					return false
				}
				if tried[it.ID] {
					w.s.returned(it, nextOf(it))
					continue
				}
				tried[it.ID] = true
				w.s.guard(it, func() { w.hand(it) }, func() { w.drop(false) })
			}
		}
		if !missed {
			break
		}
	}
	return w.link != nil
}

// hand sends one message to the customer and records what comes of it.
func (w *worker) hand(leased *queue.Item) {
	s := w.s
	it, err := s.m.o.Queue.Fresh(s.work, leased)
	if err != nil {
		s.giveBack(leased, err)
		return
	}
	todo, a := s.m.begin(it, everything)
	a.parked = true
	switch {
	case len(todo) == 0:
	case it.RequireTLS && !(w.private && w.link.offers("REQUIRETLS")): // RFC 8689 §4.2.1; another time perhaps
		a.all(it, todo, ours(mail.ScopeHost, 451, mail.Enhanced{4, 7, 30}, "REQUIRETLS: it is handed over under TLS only, to who offers it"))
	default:
		v := &visit{worker: w, it: it, a: &a, pending: todo, last: map[int]mail.Result{}}
		w.handed++
		w.sent = 0 // there is no other session to go on with
		v.overLink()
		for _, n := range v.pending {
			if s.work.Err() == nil { // interrupted: no verdict
				a.add(it, n, v.last[n])
			}
		}
	}
	s.finish(it, a)
}

// everything is when all that waits is due.
var everything = time.Unix(1<<40, 0)

// nextOf is when an item that nothing was done with is due.
func nextOf(it *queue.Item) time.Time {
	due, _ := it.Due()
	return due
}
