package mta

import (
	"context"
	"crypto/tls"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"sync/atomic"
	"time"

	"postel/internal/bus"
	"postel/internal/directory"
	"postel/internal/kv"
	"postel/internal/mail"
	"postel/internal/mda"
	"postel/internal/observe"
	"postel/internal/queue"
	"postel/internal/route"
	"postel/internal/store"
	"postel/internal/tlspolicy"
)

// Router says where a domain's mail goes, by its sender; *route.Router is one.
type Router interface {
	Route(ctx context.Context, d mail.Domain, from mail.Address) (route.Plan, error)
	// Via is Route for mail that an operator sends by a given host.
	Via(ctx context.Context, d mail.Domain, from mail.Address, via string) (route.Plan, error)
	// Limits gives the bounds of the route that Route takes, the same pointer for all its mail; nil is none.
	Limits(d mail.Domain, from mail.Address) *route.Limits
	// Apart gives what parts mail that goes another way than other mail for the domain; "" where all goes one way.
	Apart(d mail.Domain, from mail.Address) string
}

// Blobs opens bodies; *blob.Store does.
type Blobs interface {
	Open(ctx context.Context, id mail.ID, off, n int64) (io.ReadCloser, error)
}

// Options are what an MTA is built from.
type Options struct {
	Hostname  mail.Domain // how we greet, and who reports
	KV        kv.Store
	Store     *store.Store
	Blobs     Blobs
	Queue     *queue.Queue
	Sending   *queue.Sending // may be nil
	Directory directory.Directory
	Router    Router
	OnDemand  func(ctx context.Context, d mail.Domain) (bool, error) // whether a domain's mail waits to be taken by ATRN; nil is never
	// Forward gives the sender under which a domain of ours forwards mail of another (SRS), false where that cannot be; nil:
	// the sender stays.
	Forward     func(from mail.Address, by mail.Domain) (mail.Address, bool)
	Suppress    directory.Suppressions                                            // hears of bulk senders' hard bounces; may be nil
	Bus         bus.Bus                                                           // may be nil
	Dial        func(ctx context.Context, network, addr string) (net.Conn, error) // nil is net.Dialer's, from the route's source
	TLSPolicy   *tlspolicy.Keeper                                                 // nil: TLS where it is offered, not verified
	TLS         *tls.Config                                                       // for what verification does not decide; may be nil
	Schedule    Schedule
	Concurrency Concurrency
	Timeouts    Timeouts
	Languages   []string         // of reports, as dsn.Report has them
	MaxHeader   int              // octets of the header section of what Take takes; 0 is message.MaxHeader
	Glass       *observe.Glass   // may be nil
	Journey     *observe.Journey // may be nil
	// Attempted hears of each recipient's part in an attempt, when it is recorded, and how long after the mail was accepted;
	// may be nil.
	Attempted func(fate string, after time.Duration)
	IDs       *mail.IDs        // nil is a source of its own
	Clock     func() time.Time // nil is time.Now
	Log       *slog.Logger     // nil is none
}

// Timeouts bound an attempt. The zero value is the default.
type Timeouts struct {
	Connect time.Duration // to one address; 0 is 30 s
	Idle    time.Duration // a session without a message is kept this long for the next; 0 is 2 s
	Stop    time.Duration // what is under way when Run is to end has this long; 0 is 5 s
}

func (t Timeouts) withDefaults() Timeouts {
	for _, f := range []struct {
		v   *time.Duration
		def time.Duration
	}{{&t.Connect, 30 * time.Second}, {&t.Idle, 2 * time.Second}, {&t.Stop, 5 * time.Second}} {
		if *f.v <= 0 {
			*f.v = f.def
		}
	}
	return t
}

// MTA takes mail and delivers what is queued. Safe for concurrent use.
type MTA struct {
	o      Options
	mda    *mda.MDA
	sched  *scheduler
	resume tls.ClientSessionCache

	chunkless addrSet       // hosts that offer CHUNKING and do not know BDAT
	families  families      // of addresses, by host
	routed    atomic.Uint64 // how often routes changed

	open func(ctx context.Context, t target, addr netip.AddrPort) (link, *refusal) // openSession but in tests
}

// New makes an MTA. It delivers nothing before Run.
func New(o Options) *MTA {
	o.Schedule = o.Schedule.withDefaults()
	o.Concurrency = o.Concurrency.withDefaults()
	o.Timeouts = o.Timeouts.withDefaults()
	if o.IDs == nil {
		o.IDs = new(mail.IDs)
	}
	if o.Clock == nil {
		o.Clock = time.Now
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	m := &MTA{o: o, mda: mda.New(o.Directory, o.Store), resume: tls.NewLRUClientSessionCache(256)}
	m.open = m.openSession
	m.sched = newScheduler(m)
	if o.Journey != nil {
		o.Queue.Follow(m.tellDeed)
	}
	return m
}

// Rerouted says that the Router answers otherwise than before: no open session is used on without asking it.
func (m *MTA) Rerouted() { m.routed.Add(1) }

// Run names what a process that was killed may have sent, and delivers what is queued until ctx ends; what is under way then may finish for Timeouts.Stop. Call it once.
func (m *MTA) Run(ctx context.Context) error {
	m.tellDoubtful(ctx)
	return m.sched.run(ctx)
}
