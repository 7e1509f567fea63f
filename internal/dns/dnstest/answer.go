package dnstest

import (
	"strings"
	"time"

	"github.com/miekg/dns"
)

// handler answers for one transport.
type handler struct {
	s         *Server
	transport string
}

// ServeDNS is dns.Handler's.
func (h handler) ServeDNS(w dns.ResponseWriter, q *dns.Msg) {
	if len(q.Question) != 1 {
		m := new(dns.Msg)
		_ = w.WriteMsg(m.SetRcode(q, dns.RcodeFormatError))
		return
	}
	f := h.s.note(q.Question[0], h.transport)
	time.Sleep(f.Delay)
	if f.Drop {
		return
	}
	m := h.s.reply(q, !f.NoFollow)
	switch {
	case f.NoEDNS && q.IsEdns0() != nil:
		m = new(dns.Msg).SetRcode(q, dns.RcodeFormatError)
	case f.Rcode != 0:
		m = new(dns.Msg).SetRcode(q, f.Rcode)
	case f.Refer:
		m.Answer, m.Ns = nil, []dns.RR{&dns.NS{
			Hdr: dns.RR_Header{Name: "test.", Rrtype: dns.TypeNS, Class: dns.ClassINET, Ttl: 60}, Ns: "ns.test.",
		}}
	case f.Extra != "":
		rrs, err := parseZone(f.Extra)
		if err != nil {
			panic(err) // of the test
		}
		m.Answer, m.Extra = append(rrs, m.Answer...), append(m.Extra, rrs...)
	case f.Truncate && h.transport == "udp":
		m.Answer, m.Ns, m.Truncated = nil, nil, true
	}
	if h.transport == "udp" {
		if f.Forge {
			forge(w, m)
		}
		size := dns.MinMsgSize
		if o := q.IsEdns0(); o != nil {
			size = int(o.UDPSize())
		}
		m.Truncate(size)
	}
	_ = w.WriteMsg(m)
}

// forge sends what an attacker who guesses would: a wrong id, and the right id with another question.
func forge(w dns.ResponseWriter, m *dns.Msg) {
	bad := m.Copy()
	bad.Id ^= 0x5555
	_ = w.WriteMsg(bad)
	bad = m.Copy()
	bad.Question[0].Name = "forged." + bad.Question[0].Name
	_ = w.WriteMsg(bad)
}

// note counts a question and gives the fault that holds for it.
func (s *Server) note(q dns.Question, transport string) Fault {
	typ := dns.TypeToString[q.Qtype]
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked[key(transport, "transport")]++
	var found Fault
	for _, k := range []string{key(q.Name, typ), key(q.Name, ""), key("", typ), key("", "")} {
		s.asked[k]++
		f := s.faults[k]
		if f == nil || found != (Fault{}) {
			continue
		}
		found = *f
		if f.Times > 0 {
			if f.Times--; f.Times == 0 {
				delete(s.faults, k)
			}
		}
	}
	return found
}

// reply answers from the zone, following CNAMEs as a recursive server does, or not.
func (s *Server) reply(q *dns.Msg, follow bool) *dns.Msg {
	s.mu.Lock()
	defer s.mu.Unlock()
	m := new(dns.Msg).SetReply(q)
	m.RecursionAvailable = true
	ad := q.AuthenticatedData || q.IsEdns0() != nil && q.IsEdns0().Do()
	name := q.Question[0].Name
	exists := false
	for range 20 {
		ad = ad && s.isAuthentic(name)
		var rrs []dns.RR
		rrs, exists = s.at(name, q.Question[0].Qtype)
		m.Answer = append(m.Answer, rrs...)
		if len(rrs) != 1 || rrs[0].Header().Rrtype != dns.TypeCNAME || q.Question[0].Qtype == dns.TypeCNAME {
			break
		}
		if !follow {
			return m
		}
		name = rrs[0].(*dns.CNAME).Target
	}
	if !exists {
		m.Rcode = dns.RcodeNameError
	}
	if !exists || len(m.Answer) == 0 || m.Answer[len(m.Answer)-1].Header().Rrtype != q.Question[0].Qtype {
		m.Ns = []dns.RR{&dns.SOA{
			Hdr: dns.RR_Header{Name: ".", Rrtype: dns.TypeSOA, Class: dns.ClassINET, Ttl: 60},
			Ns:  "ns.invalid.", Mbox: "hostmaster.invalid.", Serial: 1, Refresh: 60, Retry: 60, Expire: 60, Minttl: 60,
		}}
	}
	m.AuthenticatedData = ad
	return m
}

// at gives the records of a type, or the CNAME, at a name or at the wildcard that covers it, and whether the
// name exists.
func (s *Server) at(name string, typ uint16) (rrs []dns.RR, exists bool) {
	name = canonical(name)
	owner := name
	if !s.exists(name) {
		for parent := name; ; {
			_, rest, ok := strings.Cut(parent, ".")
			if !ok {
				return nil, false
			}
			if parent = rest; s.exists("*." + parent) {
				owner = "*." + parent
				break
			}
			if s.exists(parent) {
				return nil, false
			}
		}
	}
	for _, rr := range s.zone {
		h := rr.Header()
		if canonical(h.Name) == owner && (h.Rrtype == typ || h.Rrtype == dns.TypeCNAME) {
			c := dns.Copy(rr)
			c.Header().Name = dns.Fqdn(name)
			rrs = append(rrs, c)
		}
	}
	return rrs, true
}

// exists tells whether a name or anything below it has records.
func (s *Server) exists(name string) bool {
	for _, rr := range s.zone {
		if n := canonical(rr.Header().Name); n == name || strings.HasSuffix(n, "."+name) {
			return true
		}
	}
	return false
}

func (s *Server) isAuthentic(name string) bool {
	name = canonical(name)
	for _, a := range s.authentic {
		if a == "" || name == a || strings.HasSuffix(name, "."+a) {
			return true
		}
	}
	return false
}
