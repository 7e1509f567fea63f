package mx

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"postel/internal/directory"
	"postel/internal/mail"
	"postel/internal/proto/smtp"
)

// flushRig is a Flusher between a directory and a queue of the test's own.
type flushRig struct {
	*Flusher
	mu      sync.Mutex
	domains []directory.Domain
	listed  int
	waiting map[string]int
	kicked  []string
	block   chan struct{} // Kick waits for it
	inKick  chan string
	broken  error
	now     time.Time
}

func newFlushRig(t *testing.T) *flushRig {
	t.Helper()
	r := &flushRig{waiting: map[string]int{}, now: time.Unix(1e9, 0)}
	r.Flusher = NewFlusher(FlusherOptions{Directory: r, Queue: r, Clock: func() time.Time { return r.now }})
	for name, callers := range map[string]string{
		"example.org": "192.0.2.0/24", "sub.example.org": "192.0.2.0/24", "other.example.org": "198.51.100.1",
		"account.test": "bob@postel.test", "open.test": "",
	} {
		d := directory.Domain{Name: mail.Domain(name), Kind: directory.Relay}
		if callers != "" {
			d.ETRN, _ = mail.ParseCallers([]string{callers})
		}
		r.domains = append(r.domains, d)
	}
	odmr := directory.Domain{Name: "odmr.example.org", Kind: directory.Relay, ODMR: []mail.Address{{Local: "bob", Domain: "postel.test"}}}
	odmr.ETRN, _ = mail.ParseCallers([]string{"192.0.2.0/24"})
	r.domains = append(r.domains, odmr)
	return r
}

func (r *flushRig) Domain(_ context.Context, name mail.Domain) (directory.Domain, error) {
	i := slices.IndexFunc(r.domains, func(d directory.Domain) bool { return d.Name == name })
	if i < 0 {
		return directory.Domain{}, mail.E("test", mail.NotFound, "not ours")
	}
	return r.domains[i], r.broken
}

func (r *flushRig) Domains(context.Context) ([]directory.Domain, error) {
	r.listed++
	return r.domains, r.broken
}

func (r *flushRig) Waiting(_ context.Context, d string, most int) (int, bool, error) {
	n := r.waiting[d]
	return min(n, most), n > most, nil
}

func (r *flushRig) Kick(_ context.Context, d string) (int, error) {
	r.mu.Lock()
	r.kicked = append(r.kicked, d)
	r.mu.Unlock()
	if r.block != nil {
		r.inKick <- d
		<-r.block
	}
	return r.waiting[d], nil
}

func peerAt(ip, login string) smtp.Peer {
	return smtp.Peer{Remote: netip.AddrPortFrom(netip.MustParseAddr(ip), 1025), Login: login}
}

// Who may flush what: a caller by its address, an account by its login, and nobody what ATRN takes (RFC 1985 §5, §7).
func TestFlush(t *testing.T) {
	t.Parallel()
	customer, stranger := peerAt("192.0.2.9", ""), peerAt("203.0.113.1", "")
	bob := peerAt("203.0.113.1", "bob@postel.test")
	anyone := bob
	anyone.Anyone = true
	for _, x := range []struct {
		peer   smtp.Peer
		node   smtp.Node
		kind   mail.Kind // of the error
		n      int
		kicked string
	}{
		{customer, smtp.Node{Name: "example.org"}, 0, 2, "[example.org]"},
		{customer, smtp.Node{Name: "sub.example.org"}, 0, 0, "[]"},
		{customer, smtp.Node{Option: '@', Name: "example.org"}, 0, 2, "[example.org]"},
		{customer, smtp.Node{Option: '#', Name: "ALL"}, 0, 2, "[example.org]"},
		{customer, smtp.Node{Option: '#', Name: "example.org"}, 0, 2, "[example.org]"},
		{customer, smtp.Node{Option: '#', Name: "fast"}, mail.Denied, 0, "[]"},
		{customer, smtp.Node{Option: '#', Name: "no domain"}, mail.Denied, 0, "[]"},
		{customer, smtp.Node{Name: "odmr.example.org"}, mail.Denied, 0, "[]"},
		{customer, smtp.Node{Name: "other.example.org"}, mail.Denied, 0, "[]"},
		{customer, smtp.Node{Name: "open.test"}, mail.Denied, 0, "[]"},
		{customer, smtp.Node{Option: '@', Name: "org"}, 0, 2, "[example.org]"},
		{customer, smtp.Node{Option: '@', Name: "xexample.org"}, mail.Denied, 0, "[]"},
		{customer, smtp.Node{Name: "elsewhere.test"}, mail.Denied, 0, "[]"},
		{stranger, smtp.Node{Name: "example.org"}, mail.Denied, 0, "[]"},
		{stranger, smtp.Node{Option: '#', Name: "all"}, mail.Denied, 0, "[]"},
		{stranger, smtp.Node{Name: "account.test"}, mail.Denied, 0, "[]"},
		{bob, smtp.Node{Name: "account.test"}, 0, 5000, "[account.test]"},
		{anyone, smtp.Node{Name: "account.test"}, mail.Denied, 0, "[]"},
	} {
		r := newFlushRig(t)
		r.waiting = map[string]int{"example.org": 2, "other.example.org": 3, "account.test": 5000, "odmr.example.org": 1}
		f, err := r.Flush(t.Context(), x.peer, x.node)
		if (x.kind == 0) != (err == nil) || x.kind != 0 && !mail.Is(err, x.kind) {
			t.Errorf("%s of %v: %v", x.node, x.peer.Remote, err)
		}
		if f.Pending != min(x.n, maxCounted) || f.More != (x.n > maxCounted) || fmt.Sprint(r.kicked) != x.kicked {
			t.Errorf("%s of %v: %+v, kicked %v", x.node, x.peer.Remote, f, r.kicked)
		}
	}
}

// A directory that does not answer is 458, not 459.
func TestFlushBroken(t *testing.T) {
	t.Parallel()
	for _, n := range []smtp.Node{{Name: "example.org"}, {Option: '@', Name: "example.org"}} {
		r := newFlushRig(t)
		r.broken = errors.New("down")
		if _, err := r.Flush(t.Context(), peerAt("192.0.2.9", ""), n); !errors.Is(err, r.broken) {
			t.Error(err)
		}
	}
}

// A flood costs one run a domain at a time and one look at all domains in two seconds.
func TestFlushFlood(t *testing.T) {
	t.Parallel()
	r := newFlushRig(t)
	r.waiting["example.org"] = 1
	r.block, r.inKick = make(chan struct{}), make(chan string)
	customer := peerAt("192.0.2.9", "")
	done := make(chan smtp.Flushed)
	go func() {
		f, _ := r.Flush(t.Context(), customer, smtp.Node{Name: "example.org"})
		done <- f
	}()
	<-r.inKick
	for range 100 {
		f, err := r.Flush(t.Context(), customer, smtp.Node{Option: '@', Name: "example.org"})
		if err != nil || !f.Running || f.Pending != 0 {
			t.Fatalf("%+v, %v", f, err)
		}
	}
	close(r.block)
	if f := <-done; f.Running || f.Pending != 1 {
		t.Errorf("%+v", f)
	}
	if len(r.kicked) != 1 || r.listed != 1 {
		t.Errorf("%d runs, %d lists", len(r.kicked), r.listed)
	}
	r.now = r.now.Add(askedFor)
	r.block = nil
	if f, err := r.Flush(t.Context(), customer, smtp.Node{Option: '#', Name: AllQueues}); err != nil || f.Running || f.Pending != 1 || r.listed != 2 {
		t.Errorf("%+v, %v", f, err)
	}
}
