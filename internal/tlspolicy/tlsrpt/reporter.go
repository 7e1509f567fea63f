package tlsrpt

import (
	"context"
	"crypto/x509"
	"log/slog"
	"net"
	"sync"
	"time"

	"postel/internal/dns"
	"postel/internal/mail"
)

// Options of a Reporter. Ledger is needed.
type Options struct {
	Ledger Ledger
	// Resolver finds out who wants reports; nil: none can be sent.
	Resolver      dns.Resolver
	Daily         bool                                                              // reports are sent by themselves
	Hostname      string                                                            // of this server
	Organization  string                                                            // that tells; "" is the hostname
	Contact       string                                                            // its address
	AllowLoopback bool                                                              // who takes reports may be on this machine, or in a private network
	Roots         *x509.CertPool                                                    // nil is the system's
	Dial          func(ctx context.Context, network, addr string) (net.Conn, error) // nil is net.Dialer's
	// Only runs fn unless another node is at it; nil: there is none.
	Only  func(ctx context.Context, fn func())
	Clock func() time.Time // nil is time.Now
	Log   *slog.Logger     // nil is none
}

// Bounds of what is counted and not in the ledger yet.
const (
	flushEvery     = time.Minute
	pendingDomains = 1000 // of all days; at half of them they go to the ledger at once
	patience       = 10 * time.Second
)

// Reporter counts sessions, and reports them. Safe for concurrent use.
type Reporter struct {
	o Options

	mu      sync.Mutex
	pending map[Day]map[mail.Domain]Counts
	domains int // in pending
	lost    int // sessions that there was no room for, since that was told
	full    chan struct{}
	settled map[Day]bool // days whose reports all have come to an end; only daily's
	hand    func(ctx context.Context, address string, rep *Report) error
	writing sync.Mutex // one flush at a time, so that who waits for it finds all in the ledger
}

// New makes a Reporter.
func New(o Options) *Reporter {
	if o.Clock == nil {
		o.Clock = time.Now
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Only == nil {
		o.Only = func(_ context.Context, fn func()) { fn() }
	}
	if o.Organization == "" {
		o.Organization = o.Hostname
	}
	r := &Reporter{o: o, pending: map[Day]map[mail.Domain]Counts{}, full: make(chan struct{}, 1), settled: map[Day]bool{}}
	r.hand = r.post
	return r
}

// Note counts a session for the report to its domain. One that TLSA records had a say in is told to the owner of these,
// too, where that is another: the policy domain of DANE is the base domain of the records (RFC 8460 §1.1).
func (r *Reporter) Note(s Session) {
	d := DayOf(r.o.Clock())
	r.mu.Lock()
	defer r.mu.Unlock()
	r.note(d, s.Domain, s)
	if s.Policy.Type == TLSA && s.Policy.Domain != s.Domain && s.Policy.Domain != "" {
		r.note(d, s.Policy.Domain, s)
	}
}

// note counts for one domain. Under the lock.
func (r *Reporter) note(d Day, m mail.Domain, s Session) {
	c, known := r.pending[d][m]
	if !known && r.domains >= pendingDomains {
		r.lost++
		return
	}
	if !c.Note(s) {
		r.lost++
	}
	if r.pending[d] == nil {
		r.pending[d] = map[mail.Domain]Counts{}
	}
	r.pending[d][m] = c
	if known {
		return
	}
	if r.domains++; r.domains >= pendingDomains/2 {
		select {
		case r.full <- struct{}{}:
		default:
		}
	}
}

// Run brings what is counted to the ledger, and sends what is due, until ctx ends; Flush then brings the rest.
func (r *Reporter) Run(ctx context.Context) {
	if r.o.Daily && r.o.Resolver != nil {
		var sending sync.WaitGroup
		sending.Go(func() { r.daily(ctx) })
		defer sending.Wait()
	}
	t := time.NewTicker(flushEvery)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		case <-r.full:
		}
		if err := r.Flush(ctx); err != nil && ctx.Err() == nil {
			r.o.Log.Warn("what sessions' TLS came to cannot be kept", "err", err)
		}
	}
}

// Flush brings what is counted to the ledger. What cannot be kept now stays for the next time.
func (r *Reporter) Flush(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	r.writing.Lock()
	defer r.writing.Unlock()
	r.mu.Lock()
	days, lost := r.pending, r.lost
	r.pending, r.domains, r.lost = map[Day]map[mail.Domain]Counts{}, 0, 0
	r.mu.Unlock()
	var failed error
	for d, more := range days {
		refused, err := r.o.Ledger.Add(ctx, d, more)
		if lost += refused; err != nil {
			failed = err
			r.back(d, more)
		}
	}
	if lost > 0 {
		r.o.Log.Warn("sessions are missing in reports on TLS: there is room for a number of domains a day, and of policies of each", "lost", lost)
	}
	return failed
}

// Each gives what is kept of the days from one to another, and is counted by this node: the newest day first.
func (r *Reporter) Each(ctx context.Context, from, to Day, fn func(Day, mail.Domain, Row) error) error {
	if err := r.Flush(ctx); err != nil {
		return err
	}
	for d := to; d >= from && d <= to; d-- {
		if err := r.o.Ledger.Rows(ctx, d, func(m mail.Domain, row Row) error { return fn(d, m, row) }); err != nil {
			return err
		}
	}
	return nil
}

// Row gives what is kept of one domain and day. Kind NotFound.
func (r *Reporter) Row(ctx context.Context, d Day, m mail.Domain) (Row, error) {
	if err := r.Flush(ctx); err != nil {
		return Row{}, err
	}
	return r.o.Ledger.Row(ctx, d, m)
}

// Today is the day that is being counted.
func (r *Reporter) Today() Day { return DayOf(r.o.Clock()) }

// back counts again what could not be kept, as far as there is room.
func (r *Reporter) back(d Day, more map[mail.Domain]Counts) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for m, c := range more {
		now, known := r.pending[d][m]
		if !known && r.domains >= pendingDomains {
			r.lost++
			continue
		}
		if r.pending[d] == nil {
			r.pending[d] = map[mail.Domain]Counts{}
		}
		if !known {
			r.domains++
		}
		c.Add(now)
		r.pending[d][m] = c
	}
}
