package mta

import (
	"bytes"
	"context"
	"io"
	"net/netip"
	"slices"

	"postel/internal/mail"
	"postel/internal/proto/smtp"
	"postel/internal/queue"
	"postel/internal/route"
)

// Bounds of one attempt.
const (
	maxVisits   = 5   // addresses connected to; sessions beyond the first of a host that takes few messages over each are not counted
	maxMessages = 100 // over one session
)

// link is an open session with a host, greeted and secured.
type link interface {
	// send sends one message and gives a result for each recipient. The error says that the session is of no more
	// use; results are complete all the same.
	send(ctx context.Context, e mail.Envelope, body *lazyBody) ([]mail.Result, error)
	// offers tells whether the host's greeting named an extension.
	offers(extension string) bool
	// limit gives a limit that it told (RFC 9422), 0 when there is none.
	limit(name string) int
	// session is the id under which glass has it.
	session() mail.ID
	// close says QUIT where that is polite, and closes.
	close(polite bool)
}

// place is where a session leads.
type place struct {
	host string
	addr netip.AddrPort
}

// visit is one attempt on its way through the hosts of a destination.
type visit struct {
	*worker
	it      *queue.Item
	a       *attempt
	pending []int               // recipients without a verdict that stands
	last    map[int]mail.Result // what was heard for them
	visited int
	six     int  // of them, by IPv6
	full    bool // the session ended because the host takes no more messages over it (RFC 9422 §4.1)
}

// attempt tries to deliver to the recipients in todo, over the open session first, then to the hosts of the route in
// their order, until each has a verdict.
func (w *worker) attempt(it *queue.Item, todo []int, a *attempt) {
	v := &visit{worker: w, it: it, a: a, pending: todo, last: map[int]mail.Result{}}
	if it.RequireTLS && !w.strict || it.Via != w.via || w.expired() {
		w.drop(true)
	}
	w.via = it.Via
	if w.link != nil {
		v.overLink()
	}
	if len(v.pending) > 0 && w.s.work.Err() == nil {
		v.byRoute()
	}
	if w.s.work.Err() != nil {
		return // interrupted: no verdict on anyone
	}
	for _, n := range v.pending {
		r, ok := v.last[n]
		if !ok {
			r = ours(mail.ScopeHost, 451, mail.Enhanced{4, 4, 1}, "no attempt was made")
		}
		a.add(it, n, r)
	}
}

// ours is a result that we say ourselves.
func ours(scope mail.Scope, code int, e mail.Enhanced, text string) mail.Result {
	return mail.Result{Scope: scope, Code: code, Enhanced: e, Text: text}
}

// byRoute visits the hosts to which DNS or a rule sends the destination.
func (v *visit) byRoute() {
	m := v.s.m
	v.routed = m.routed.Load() // before it is asked
	plan, err := m.route(v.s.work, v.it)
	if err != nil {
		r := smtp.ReplyOf(err, false)
		v.heard(ours(mail.ScopeHost, route.ReplyCode(err), r.Enhanced, r.Text()))
		return
	}
	v.visitAll(plan)
}

// route plans the way of an item.
func (m *MTA) route(ctx context.Context, it *queue.Item) (route.Plan, error) {
	if it.Via != "" {
		return m.o.Router.Via(ctx, mail.Domain(it.Destination), it.From, it.Via)
	}
	return m.o.Router.Route(ctx, mail.Domain(it.Destination), it.From)
}

// heard notes a result for everyone who has no verdict yet.
func (v *visit) heard(r mail.Result) {
	for _, n := range v.pending {
		v.note(n, r)
	}
}

// note notes what was heard for one recipient. That one host lacks what REQUIRETLS wants counts only if no other may
// have it.
func (v *visit) note(n int, r mail.Result) {
	if last, ok := v.last[n]; !ok || r.Enhanced != noRequireTLS || last.Permanent() {
		v.last[n] = r
	}
}

// noRequireTLS is the status of RFC 8689 §7.
var noRequireTLS = mail.Enhanced{5, 7, 30}

// visit opens a session with one host and sends over it.
func (v *visit) visit(t target, addr netip.AddrPort) {
	v.drop(true)
	if v.strict = v.it.RequireTLS; v.strict {
		if t.TLS == route.Never {
			v.heard(ours(mail.ScopeHost, 550, noRequireTLS, "REQUIRETLS: the route to "+t.Name+" is in clear"))
			return
		}
		t.TLS = route.Must
	}
	l, refused := v.s.m.open(v.s.work, t, addr)
	if refused != nil && v.strict && isTLSFailure(refused.Result) {
		refused.Code, refused.Enhanced, refused.Text = 550, noRequireTLS, "REQUIRETLS: "+refused.Text
	}
	if refused != nil {
		v.a.session = refused.session
		v.failed(refused.Result)
		v.s.m.families.blocked(t.Name, addr)
		return
	}
	v.link, v.at, v.sent, v.since, v.lax = l, place{t.Name, addr}, 0, v.s.m.o.Clock(), t.waived()
	v.overLink()
	if len(v.pending) > 0 && !v.full { // the host itself was not willing
		v.s.m.families.blocked(t.Name, addr)
	} else {
		v.s.m.families.worked(t.Name, addr)
	}
}

// overLink sends the message over the open session and sorts the results: in as many transactions as the host's limit
// of recipients wants (RFC 9422 §4.2), and in another when it took some recipients and said 452 to others (RFC 5321
// §4.5.3.1.10).
func (v *visit) overLink() {
	w := v.worker
	v.a.session, v.full = w.link.session(), false
	var left []int // for the next host
	for w.link != nil && len(v.pending) > 0 {
		fresh := v.sent == 0
		now, later := v.split()
		results, err := v.send(now)
		s := v.sort(now, results)
		left = append(left, s.left...)
		v.pending = append(s.again, later...)
		switch {
		case s.answered:
			v.a.host = hostAnswered
		case s.lost && fresh && v.a.host == hostUnknown: // an old session may just have grown too old
			v.a.host = hostFailed
			v.a.reason = results[len(results)-1]
		}
		v.full = err == nil && v.sent >= v.most()
		if err != nil || v.full {
			w.drop(err == nil)
		}
		if !s.answered {
			break
		}
	}
	v.pending = append(left, v.pending...)
}

// split gives the recipients of the next transaction, and those for whom it has no room: with VERP each has one alone.
func (v *visit) split() (now, later []int) {
	n := v.link.limit("RCPTMAX")
	if v.it.VERP {
		n = 1
	}
	if n > 0 && n < len(v.pending) {
		return v.pending[:n:n], slices.Clone(v.pending[n:])
	}
	return v.pending, nil
}

// most is how many messages the session takes.
func (v *visit) most() int {
	if n := v.link.limit("MAILMAX"); n > 0 && n < maxMessages {
		return n
	}
	return maxMessages
}

// send sends the message to some of the recipients.
func (v *visit) send(rcpts []int) ([]mail.Result, error) {
	body := &lazyBody{ctx: v.s.work, blobs: v.s.m.o.Blobs, prefix: v.it.Prefix, blob: v.it.Blob, begin: func() { v.s.m.o.Sending.Begin(v.it.ID) }}
	defer body.close()
	v.sent++
	e := v.it.Envelope(rcpts)
	e.From = v.s.m.sender(v.s.work, v.it, e.Recipients)
	results, err := v.link.send(v.s.work, e, body)
	if smtp.Unanswered(err) {
		v.s.m.o.Log.Warn("a message was sent and its answer never came: it may arrive twice", "queue", queueName(v.it), "host", v.at.host)
	}
	return results, err
}

func isTooMany(r mail.Result) bool {
	return r.Code == 452 && (r.Enhanced == mail.Enhanced{} || r.Enhanced == mail.Enhanced{4, 5, 3})
}

// sorted is what came of one transaction.
type sorted struct {
	left     []int // recipients for the next host
	again    []int // that the host wants in another transaction
	answered bool  // the host gave a verdict on the message or a recipient
	lost     bool  // the session broke
}

// sort keeps results that stand: deliveries, and whatever is about the message or a recipient. Those about the session
// or host leave their recipients to the next host.
func (v *visit) sort(rcpts []int, results []mail.Result) (s sorted) {
	delivered := slices.ContainsFunc(results, mail.Result.Delivered)
	for i, n := range rcpts {
		if i >= len(results) {
			s.left = append(s.left, n)
			continue
		}
		v.a.hears(results[i])
		switch r := results[i]; {
		case delivered && isTooMany(r):
			s.again = append(s.again, n)
		case r.Delivered() || r.Scope >= mail.ScopeMessage:
			v.a.add(v.it, n, r)
			if a := &v.a.results[len(v.a.results)-1]; r.Delivered() {
				a.noDSN, a.noBy = !v.link.offers("DSN"), !v.link.offers("DELIVERBY")
			}
			s.answered = true
		default:
			v.note(n, r)
			s.left = append(s.left, n)
			s.lost = r.Scope == mail.ScopeSession
		}
	}
	return s
}

// drop closes the worker's session.
func (w *worker) drop(polite bool) {
	if w.link != nil {
		w.link.close(polite)
		w.link = nil
	}
}

// lazyBody is a stored message, prefix and blob; the blob is opened by the first read beyond the prefix.
type lazyBody struct {
	ctx    context.Context
	blobs  Blobs
	prefix []byte
	blob   mail.ID
	begin  func() // called by the first read, before which nothing of the message can have gone; may be nil

	r    io.Reader
	body io.ReadCloser
	err  error
}

// Read implements io.Reader.
func (b *lazyBody) Read(p []byte) (int, error) {
	if b.r == nil && b.err == nil {
		if b.begin != nil {
			b.begin()
		}
		b.body, b.err = b.blobs.Open(b.ctx, b.blob, 0, -1)
		if b.err == nil {
			b.r = io.MultiReader(bytes.NewReader(b.prefix), b.body)
		}
	}
	if b.err != nil {
		return 0, b.err
	}
	return b.r.Read(p)
}

// again gives the message from its beginning.
func (b *lazyBody) again() (io.ReadCloser, error) {
	return &lazyBody{ctx: b.ctx, blobs: b.blobs, prefix: b.prefix, blob: b.blob, begin: b.begin}, nil
}

// Close implements io.Closer.
func (b *lazyBody) Close() error {
	b.close()
	return nil
}

func (b *lazyBody) close() {
	if b.body != nil {
		_ = b.body.Close() // only read
	}
}
