package dnstest

import (
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// Fault is how a question goes wrong. The zero value changes nothing.
type Fault struct {
	Rcode    int           // answered instead: dns.RcodeServerFailure (2), RcodeRefused (5), …
	Drop     bool          // no answer at all
	Truncate bool          // over UDP: an empty answer with TC
	Delay    time.Duration // before the answer
	Forge    bool          // over UDP: first a reply with a wrong id, then one to another question
	NoEDNS   bool          // FORMERR to a query with EDNS
	Refer    bool          // names another server in place of an answer
	NoFollow bool          // CNAMEs are given, not followed
	Extra    string        // a zone whose records nobody asked for: they stand in the answer too
	Times    int           // how many questions it holds for; 0 is all
}

// Server is a running fake. Its methods may be called while it serves.
type Server struct {
	Addr string // "127.0.0.1:port", both UDP and TCP

	mu        sync.Mutex
	zone      []dns.RR
	faults    map[string]*Fault
	asked     map[string]int
	authentic []string
}

// Start serves a zone until the test ends. The text is a master file (RFC 1035 §5) whose names need no final
// dot: "example.test 300 IN MX 10 mx.example.test"; TTL and class may be left out, the TTL is then 300. Names
// that begin with "*." are wildcards (RFC 4592).
func Start(t testing.TB, zone string) *Server {
	t.Helper()
	s, err := Serve("127.0.0.1:0", zone)
	if err != nil {
		t.Fatalf("dnstest: %v", err)
	}
	t.Cleanup(s.stop)
	return s.Server
}

// Running is a Server and the way to end it, for programs that are no test.
type Running struct {
	*Server
	stop func()
}

// Stop ends the server.
func (r Running) Stop() { r.stop() }

// Serve serves a zone at an address with port, 0 for any.
func Serve(addr, zone string) (Running, error) {
	s := &Server{faults: map[string]*Fault{}, asked: map[string]int{}}
	if err := s.setZone(zone); err != nil {
		return Running{}, err
	}
	udp, tcp, err := listenBoth(addr)
	if err != nil {
		return Running{}, err
	}
	s.Addr = udp.LocalAddr().String()
	us := &dns.Server{PacketConn: udp, Handler: handler{s, "udp"}}
	ts := &dns.Server{Listener: tcp, Handler: handler{s, "tcp"}}
	var started, done sync.WaitGroup
	for _, srv := range []*dns.Server{us, ts} {
		started.Add(1)
		srv.NotifyStartedFunc = started.Done
		done.Go(func() { _ = srv.ActivateAndServe() })
	}
	started.Wait()
	return Running{s, func() {
		_ = us.Shutdown()
		_ = ts.Shutdown()
		done.Wait()
	}}, nil
}

// listenBoth opens UDP and TCP on one port.
func listenBoth(addr string) (net.PacketConn, net.Listener, error) {
	for try := 0; ; try++ {
		udp, err := net.ListenPacket("udp", addr)
		if err != nil {
			return nil, nil, err
		}
		tcp, err := net.Listen("tcp", udp.LocalAddr().String())
		if err == nil {
			return udp, tcp, nil
		}
		_ = udp.Close()
		if try == 20 {
			return nil, nil, err
		}
	}
}

// SetZone replaces the zone.
func (s *Server) SetZone(t testing.TB, zone string) {
	t.Helper()
	if err := s.setZone(zone); err != nil {
		t.Fatalf("dnstest: %v", err)
	}
}

func (s *Server) setZone(zone string) error {
	rrs, err := parseZone(zone)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.zone = rrs
	return nil
}

func parseZone(zone string) (rrs []dns.RR, err error) {
	p := dns.NewZoneParser(strings.NewReader(zone), ".", "")
	p.SetDefaultTTL(300)
	for rr, ok := p.Next(); ok; rr, ok = p.Next() {
		rrs = append(rrs, rr)
	}
	return rrs, p.Err()
}

// Fail makes questions for a name and type go wrong; type "" is every type, name "" every name. A zero Fault
// mends it.
func (s *Server) Fail(name, typ string, f Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if f == (Fault{}) {
		delete(s.faults, key(name, typ))
		return
	}
	s.faults[key(name, typ)] = &f
}

// Authentic calls everything at and below the names authentic: answers get the AD bit when it is asked for.
func (s *Server) Authentic(names ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, n := range names {
		s.authentic = append(s.authentic, canonical(n))
	}
}

// Asked gives how many queries came for a name and type, over both transports; type "" counts all types,
// name "" all names.
func (s *Server) Asked(name, typ string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.asked[key(name, typ)]
}

// AskedTCP gives how many of all queries came over TCP.
func (s *Server) AskedTCP() int { return s.Asked("tcp", "transport") }

func key(name, typ string) string { return canonical(name) + " " + strings.ToUpper(typ) }

func canonical(name string) string { return strings.ToLower(strings.TrimSuffix(name, ".")) }
