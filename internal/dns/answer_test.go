package dns

import (
	"testing"

	wire "github.com/miekg/dns"
)

// FuzzReadAnswer reads any packet as the reply to a question. What comes out keeps the limits, and reading the
// packet again as the library writes it gives the same.
func FuzzReadAnswer(f *testing.F) {
	for _, zone := range []string{
		"a.test. 5 IN CNAME b.test.", "a.test. 4294967295 IN MX 1 .", `a.test. 1 IN TXT "\255\\" "x"`,
		"a.test. 1 IN A 192.0.2.1", "a.test. 1 IN AAAA ::1", "a.test. 1 IN TLSA 3 1 1 00ff", "a.test. 1 IN PTR b.test.",
	} {
		rr, err := wire.NewRR(zone)
		if err != nil {
			f.Fatal(err)
		}
		m := new(wire.Msg)
		m.SetQuestion("a.test.", rr.Header().Rrtype)
		m.Response, m.Answer = true, []wire.RR{rr}
		raw, err := m.Pack()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(raw)
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		m := new(wire.Msg)
		if m.Unpack(raw) != nil || len(m.Question) == 0 {
			return
		}
		name, typ := canonical(m.Question[0].Name), Type(m.Question[0].Qtype)
		p := readAnswer(m, name, typ)
		if len(p.records) > maxRecords || p.ttl < 0 || p.ttl > maxTTL || p.looped && p.chase {
			t.Fatalf("%+v", p)
		}
		for _, r := range p.records {
			if (typ == A || typ == AAAA) != r.Addr.IsValid() || typ == A && !r.Addr.Is4() || r.TTL < p.ttl {
				t.Fatalf("a %s: %+v", typ, r)
			}
		}
		again := new(wire.Msg)
		if raw, err := m.Pack(); err != nil || again.Unpack(raw) != nil {
			return
		}
		if q := readAnswer(again, name, typ); q.canonical != p.canonical || len(q.records) != len(p.records) || q.ttl != p.ttl {
			t.Fatalf("%+v then %+v", p, q)
		}
	})
}
