package dns

import (
	"encoding/hex"
	"errors"
	"net"
	"net/netip"
	"strings"
	"time"

	wire "github.com/miekg/dns"

	"postel/internal/mail"
)

// How long answers are kept, whatever they say themselves.
const (
	maxTTL      = time.Hour
	maxNegative = 5 * time.Minute
	failureTTL  = time.Second
)

// maxRecords bounds what is kept of one answer; a server that sends more is not read further.
const maxRecords = 256

// part is what one reply says about one name.
type part struct {
	canonical string
	records   []Record
	ttl       time.Duration
	chase     bool // a CNAME leads to a name of which the reply says nothing
	looped    bool
}

// readAnswer follows the CNAMEs of a reply from name on and takes the records of type t where they end.
func readAnswer(msg *wire.Msg, name string, t Type) part {
	p := part{canonical: name, ttl: maxTTL}
	for hops := 0; t != CNAME; hops++ {
		to, ttl, ok := aliasOf(msg.Answer, p.canonical)
		if !ok {
			break
		}
		if hops == 16 || to == name {
			p.looped = true
			return p
		}
		p.canonical, p.ttl = to, min(p.ttl, ttl)
	}
	for _, rr := range msg.Answer {
		h := rr.Header()
		if h.Rrtype != uint16(t) || canonical(h.Name) != p.canonical || len(p.records) == maxRecords {
			continue
		}
		if r, ok := readRecord(rr); ok {
			p.records = append(p.records, r)
			p.ttl = min(p.ttl, r.TTL)
		}
	}
	if len(p.records) == 0 {
		soa, ok := negativeTTL(msg)
		p.ttl = min(p.ttl, soa)
		p.chase = p.canonical != name && !ok && msg.Rcode == wire.RcodeSuccess
	}
	return p
}

// aliasOf gives the target of the CNAME at a name.
func aliasOf(rrs []wire.RR, name string) (to string, ttl time.Duration, ok bool) {
	for _, rr := range rrs {
		if c, is := rr.(*wire.CNAME); is && canonical(c.Hdr.Name) == name {
			return canonical(c.Target), seconds(c.Hdr.Ttl), true
		}
	}
	return "", 0, false
}

// negativeTTL gives how long an empty answer holds (RFC 2308 §5), and whether the reply has the SOA that says so.
func negativeTTL(msg *wire.Msg) (time.Duration, bool) {
	for _, rr := range msg.Ns {
		if soa, ok := rr.(*wire.SOA); ok {
			return min(seconds(soa.Hdr.Ttl), seconds(soa.Minttl), maxNegative), true
		}
	}
	return failureTTL, false
}

func readRecord(rr wire.RR) (Record, bool) {
	r := Record{TTL: seconds(rr.Header().Ttl)}
	ok := true
	switch rr := rr.(type) {
	case *wire.A:
		r.Addr, ok = netip.AddrFromSlice(rr.A.To4())
	case *wire.AAAA:
		r.Addr, ok = netip.AddrFromSlice(rr.AAAA.To16())
	case *wire.MX:
		r.Host, r.Pref = canonical(rr.Mx), rr.Preference
	case *wire.PTR:
		r.Host = canonical(rr.Ptr)
	case *wire.NS:
		r.Host = canonical(rr.Ns)
	case *wire.CNAME:
		r.Host = canonical(rr.Target)
	case *wire.TXT:
		r.Text = unescape(strings.Join(rr.Txt, ""))
	case *wire.TLSA:
		data, err := hex.DecodeString(rr.Certificate)
		r.Cert, ok = CertRecord{rr.Usage, rr.Selector, rr.MatchingType, data}, err == nil
	default:
		ok = false
	}
	return r, ok
}

// unescape turns the presentation form in which the library gives TXT strings back into octets.
func unescape(s string) string {
	if !strings.Contains(s, `\`) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c != '\\' || i+1 == len(s) {
			b.WriteByte(c)
			continue
		}
		if n, ok := decimal(s[i+1:]); ok {
			b.WriteByte(n)
			i += 3
			continue
		}
		i++
		b.WriteByte(s[i])
	}
	return b.String()
}

// decimal reads three digits that stand for an octet.
func decimal(s string) (byte, bool) {
	if len(s) < 3 {
		return 0, false
	}
	n := 0
	for i := range 3 {
		if s[i] < '0' || s[i] > '9' {
			return 0, false
		}
		n = n*10 + int(s[i]-'0')
	}
	return byte(n), n < 256
}

// seconds reads a TTL; one with the top bit set counts as zero (RFC 2181 §8).
func seconds(ttl uint32) time.Duration {
	if ttl > 1<<31-1 {
		return 0
	}
	return time.Duration(ttl) * time.Second
}

// canonical gives a name in lower case without the final dot; the root is "".
func canonical(name string) string { return strings.ToLower(strings.TrimSuffix(name, ".")) }

// repeats tells whether a reply is one to our query.
func repeats(msg, q *wire.Msg) bool {
	if msg.Id != q.Id || !msg.Response || len(msg.Question) != 1 {
		return false
	}
	a, b := msg.Question[0], q.Question[0]
	return a.Qtype == b.Qtype && a.Qclass == b.Qclass && strings.EqualFold(a.Name, b.Name)
}

func isNetError(err error) bool {
	var ne net.Error
	return errors.As(err, &ne)
}

// cleanName checks that a name can be asked for: labels of letters, digits, hyphens and underscores (and the
// slash of RFC 2317 §4), 253 octets at most.
func cleanName(s string) (string, error) {
	s = canonical(s)
	bad := s == "" || len(s) > 253
	for label := range strings.SplitSeq(s, ".") {
		bad = bad || label == "" || len(label) > 63
	}
	for i := range len(s) {
		c := s[i]
		bad = bad || (c < 'a' || c > 'z') && (c < '0' || c > '9') && strings.IndexByte("-_./*", c) < 0
	}
	if bad {
		return "", mail.E("dns.lookup", mail.Invalid, "not a domain name")
	}
	return s, nil
}

// neverAsked tells of names that must not be asked for, since they exist outside of DNS only (RFC 7686 §2).
func neverAsked(name string) bool {
	return name[strings.LastIndexByte(name, '.')+1:] == "onion"
}

// referral tells of a reply that only names other servers: one from a server that does not recurse, and so no
// word on whether there are records.
func referral(msg *wire.Msg) bool {
	if len(msg.Answer) > 0 || msg.Rcode != wire.RcodeSuccess || msg.Authoritative {
		return false
	}
	ns := false
	for _, rr := range msg.Ns {
		switch rr.Header().Rrtype {
		case wire.TypeSOA:
			return false
		case wire.TypeNS:
			ns = true
		}
	}
	return ns
}

func notFound(name string) error {
	return mail.E("dns.lookup", mail.NotFound, "%s does not exist", name)
}

func unavailable(name, why string) error {
	return &mail.Error{
		Op: "dns.lookup", Kind: mail.Unavailable, Code: mail.Enhanced{4, 4, 3},
		Text: "cannot look up " + name + ": " + why,
	}
}

// unavailableBy keeps an Unavailable as it is and wraps any other cause.
func unavailableBy(name string, err error) error {
	if mail.Is(err, mail.Unavailable) {
		return err
	}
	why := "the DNS server does not answer"
	if err == nil {
		why = "no DNS server is configured"
	}
	e := unavailable(name, why).(*mail.Error)
	e.Err = err
	return e
}
