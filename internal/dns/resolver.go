package dns

import (
	"context"
	"net/netip"
	"time"

	wire "github.com/miekg/dns"
)

// Type is a record type by its number.
type Type uint16

// The types that mail asks for.
const (
	A     = Type(wire.TypeA)
	NS    = Type(wire.TypeNS)
	CNAME = Type(wire.TypeCNAME)
	PTR   = Type(wire.TypePTR)
	MX    = Type(wire.TypeMX)
	TXT   = Type(wire.TypeTXT)
	AAAA  = Type(wire.TypeAAAA)
	TLSA  = Type(wire.TypeTLSA)
)

// String gives the type's name, "MX".
func (t Type) String() string { return wire.Type(t).String() }

// Resolver answers questions. Safe for concurrent use.
type Resolver interface {
	// Lookup gives the records of one type at a name, behind any CNAMEs. The name is in A-labels, in any case,
	// with or without the final dot. A name that exists without such records is an Answer without Records.
	// Errors: NotFound (the name does not exist; the Answer still tells Authentic and TTL), Unavailable (nobody
	// could tell; 4.4.3), Invalid (no such name can be asked for), Canceled (ctx ended first).
	Lookup(ctx context.Context, name string, t Type) (Answer, error)
}

// Answer is what came back. Do not change it: it is shared.
type Answer struct {
	Name      string        // the name asked for, lower case, no final dot
	Canonical string        // the name at the end of the CNAMEs; equal to Name without any
	Records   []Record      // in the server's order; only those of the type asked for
	Authentic bool          // validated by DNSSEC, all steps of it
	TTL       time.Duration // how long it holds, as far as the cache may keep it
}

// Record is one record. Only the fields of its type are set. Names are lower case without the final dot; the
// root is the empty string.
type Record struct {
	TTL  time.Duration
	Addr netip.Addr // A, AAAA
	Host string     // MX, PTR, CNAME, NS: the name pointed at
	Pref uint16     // MX: lower is tried first
	Text string     // TXT: its strings joined without a space (RFC 7208 §3.3)
	Cert CertRecord // TLSA
}

// CertRecord is the data of a TLSA record (RFC 6698 §2.1).
type CertRecord struct {
	Usage, Selector, Matching uint8
	Data                      []byte
}

// Addrs gives the addresses of an answer to A or AAAA.
func (a Answer) Addrs() []netip.Addr {
	addrs := make([]netip.Addr, 0, len(a.Records))
	for _, r := range a.Records {
		if r.Addr.IsValid() {
			addrs = append(addrs, r.Addr)
		}
	}
	return addrs
}
