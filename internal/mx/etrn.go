package mx

import (
	"context"
	"strings"
	"sync"
	"time"

	"postel/internal/directory"
	"postel/internal/mail"
	"postel/internal/proto/smtp"
)

// FlusherOptions is what a Flusher needs.
type FlusherOptions struct {
	Directory Domains
	Queue     Queue
	Clock     func() time.Time
}

// Domains is what ETRN asks of the directory.
type Domains interface {
	Domain(ctx context.Context, d mail.Domain) (directory.Domain, error)
	Domains(ctx context.Context) ([]directory.Domain, error)
}

// Queue is what ETRN asks of the queue.
type Queue interface {
	// Waiting counts up to most items that wait for a destination.
	Waiting(ctx context.Context, destination string, most int) (n int, more bool, err error)
	// Kick makes them due now.
	Kick(ctx context.Context, destination string) (int, error)
}

// Flusher starts queue runs for those who may have them (RFC 1985). Safe for concurrent use.
type Flusher struct {
	o FlusherOptions

	mu      sync.Mutex
	running map[mail.Domain]bool // one run a domain at a time
	asked   []directory.Domain   // those that anyone may flush
	at      time.Time            // when they were read
}

// NewFlusher makes a Flusher.
func NewFlusher(o FlusherOptions) *Flusher {
	return &Flusher{o: o, running: map[mail.Domain]bool{}}
}

const (
	// maxCounted is how many items are counted before a run is started: more cost a flood of ETRN too much.
	maxCounted = 1000
	// askedFor is how long the list of domains that may be flushed is good for.
	askedFor = 2 * time.Second
	// AllQueues names all that a peer may flush: ETRN #all.
	AllQueues = "all"
)

// Flush makes all that waits for the node's domains due now, as far as the peer may have that. Kinds: Denied where it
// may flush none of them, NotFound for a queue that there is not. It is an smtpd.Flush.
func (f *Flusher) Flush(ctx context.Context, p smtp.Peer, n smtp.Node) (smtp.Flushed, error) {
	domains, err := f.domains(ctx, p, n)
	if err != nil {
		return smtp.Flushed{}, err
	}
	var out smtp.Flushed
	for _, d := range domains {
		one, err := f.run(ctx, d)
		if err != nil {
			return smtp.Flushed{}, err
		}
		out.Pending += one.Pending
		out.More = out.More || one.More
		out.Running = out.Running || one.Running
	}
	out.Running = out.Running && out.Pending == 0
	return out, nil
}

// domains gives what a node stands for, of which the peer may flush each. A stranger learns nothing of what is there.
func (f *Flusher) domains(ctx context.Context, p smtp.Peer, n smtp.Node) ([]mail.Domain, error) {
	denied := mail.E("mx.etrn", mail.Denied, "neither your address nor your account is listed for it")
	if n.Option == '#' && !strings.EqualFold(n.Name, AllQueues) || n.Option == 0 { // queues are called as their domains
		name, err := mail.ParseDomain(n.Name)
		if err != nil {
			return nil, denied
		}
		d, err := f.o.Directory.Domain(ctx, name)
		switch {
		case mail.Is(err, mail.NotFound):
			return nil, denied
		case err != nil:
			return nil, err
		case !may(p, d):
			return nil, denied
		}
		return []mail.Domain{name}, nil
	}
	all, err := f.askable(ctx)
	if err != nil {
		return nil, err
	}
	var out []mail.Domain
	for _, d := range all {
		below := string(d.Name) == n.Name || strings.HasSuffix(string(d.Name), "."+n.Name)
		if (n.Option == '#' || below) && may(p, d) {
			out = append(out, d.Name)
		}
	}
	if len(out) == 0 {
		return nil, denied
	}
	return out, nil
}

// may tells whether a peer may flush a domain. Mail that is taken by ATRN goes nowhere by itself.
func may(p smtp.Peer, d directory.Domain) bool {
	login := p.Login
	if p.Anyone {
		login = "" // it proved nothing
	}
	return len(d.ODMR) == 0 && d.ETRN.Has(p.Remote.Addr(), login)
}

// askable gives the domains that someone may flush, read once in a while whatever is asked.
func (f *Flusher) askable(ctx context.Context) ([]directory.Domain, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	now := f.o.Clock()
	if age := now.Sub(f.at); !f.at.IsZero() && age >= 0 && age < askedFor {
		return f.asked, nil
	}
	all, err := f.o.Directory.Domains(ctx)
	if err != nil {
		return nil, err
	}
	f.asked = nil
	for _, d := range all {
		if !d.ETRN.IsZero() {
			f.asked = append(f.asked, d)
		}
	}
	f.at = now
	return f.asked, nil
}

// run makes what waits for a domain due, unless another is at it.
func (f *Flusher) run(ctx context.Context, d mail.Domain) (out smtp.Flushed, err error) {
	f.mu.Lock()
	out.Running = f.running[d]
	f.running[d] = true
	f.mu.Unlock()
	if out.Running {
		return out, nil
	}
	defer func() {
		f.mu.Lock()
		delete(f.running, d)
		f.mu.Unlock()
	}()
	if out.Pending, out.More, err = f.o.Queue.Waiting(ctx, string(d), maxCounted); err != nil || out.Pending == 0 {
		return out, err
	}
	_, err = f.o.Queue.Kick(ctx, string(d))
	return out, err
}
