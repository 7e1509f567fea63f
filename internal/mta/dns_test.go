package mta

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"postel/internal/dns"
	"postel/internal/dns/dnstest"
	"postel/internal/kv/kvtest"
	"postel/internal/route"
)

// dnsCase is what DNS says of a domain, which is the name with .test behind it; in zone and faults, @ stands for it.
type dnsCase struct {
	name, what string
	zone       string
	faults     map[string]dnstest.Fault // by name and type
}

var (
	servfail = dnstest.Fault{Rcode: 2}
	silence  = dnstest.Fault{Drop: true}
)

func many(n int, line string) string {
	var b strings.Builder
	for i := range n {
		b.WriteString(strings.ReplaceAll(line, "#", fmt.Sprint(i)) + "\n")
	}
	return b.String()
}

// aliases is a chain of them, with an address at its end.
func aliases(n int) string {
	var b strings.Builder
	b.WriteString("@ CNAME c0.@\n")
	for i := range n {
		fmt.Fprintf(&b, "c%d.@ CNAME c%d.@\n", i, i+1)
	}
	return b.String() + fmt.Sprintf("c%d.@ A 192.0.2.6\n", n)
}

const oneMX = "@ MX 10 mx.@\nmx.@ A 192.0.2.1\n"

var dnsCases = []dnsCase{
	{name: "usual", what: "one MX, one address", zone: oneMX},
	{name: "address", what: "no MX, an address", zone: "@ A 192.0.2.2"},
	{name: "nxdomain", what: "the domain does not exist"},
	{name: "nodata", what: "it exists, with neither MX nor address", zone: `@ TXT "x"`},
	{name: "mxnxdomain", what: "its MX does not exist", zone: "@ MX 10 mx.@"},
	{name: "mxnodata", what: "its MX has no address", zone: "@ MX 10 mx.@\nmx.@ TXT x"},
	{name: "mxsecond", what: "its best MX does not exist, the second does", zone: "@ MX 5 gone.@\n" + oneMX},
	{name: "servfail", what: "SERVFAIL to the question for MX; an address is there", zone: "@ A 192.0.2.2", faults: map[string]dnstest.Fault{"@ MX": servfail}},
	{name: "refused", what: "REFUSED", zone: oneMX, faults: map[string]dnstest.Fault{"@ MX": {Rcode: 5}}},
	{name: "lame", what: "the server names others instead of answering", zone: oneMX, faults: map[string]dnstest.Fault{"@ MX": {Refer: true}}},
	{name: "mxservfail", what: "SERVFAIL to the addresses of its only MX", zone: oneMX, faults: map[string]dnstest.Fault{"mx.@ ": servfail}},
	{name: "mxservfail2", what: "SERVFAIL to those of its best MX, the second has one", zone: "@ MX 5 bad.@\n" + oneMX, faults: map[string]dnstest.Fault{"bad.@ ": servfail}},
	{name: "mxservfail3", what: "SERVFAIL to those of its best MX, the second does not exist", zone: "@ MX 5 bad.@\n@ MX 10 gone.@", faults: map[string]dnstest.Fault{"bad.@ ": servfail}},
	{name: "v6servfail", what: "SERVFAIL to AAAA, an A is there", zone: oneMX, faults: map[string]dnstest.Fault{"mx.@ AAAA": servfail}},
	{name: "timeout", what: "no answer to MX; an address is there", zone: "@ A 192.0.2.2", faults: map[string]dnstest.Fault{"@ MX": silence}},
	{name: "mxtimeout", what: "no answer to the addresses of its MX", zone: oneMX, faults: map[string]dnstest.Fault{"mx.@ ": silence}},
	{name: "lost", what: "the first question is lost", zone: oneMX, faults: map[string]dnstest.Fault{"@ MX": {Drop: true, Times: 1}}},
	{name: "noedns", what: "FORMERR to a question with EDNS", zone: oneMX, faults: map[string]dnstest.Fault{"@ ": {NoEDNS: true}}},
	{name: "truncated", what: "cut off over UDP, whole over TCP", zone: oneMX, faults: map[string]dnstest.Fault{"@ MX": {Truncate: true}, "mx.@ A": {Truncate: true}}},
	{name: "alias", what: "the domain is an alias of one with MX", zone: "@ CNAME other.@\nother.@ MX 10 mx.@\nmx.@ A 192.0.2.1"},
	{name: "aliasraw", what: "the same from a server that does not follow", zone: "@ CNAME other.@\nother.@ MX 10 mx.@\nmx.@ A 192.0.2.1", faults: map[string]dnstest.Fault{"@ ": {NoFollow: true}}},
	{name: "dangling", what: "the domain is an alias of nothing", zone: "@ CNAME gone.@"},
	{name: "loop", what: "the domain is an alias of an alias of itself", zone: "@ CNAME a.@\na.@ CNAME @"},
	{name: "chain", what: "thirty aliases one behind the other", zone: aliases(30)},
	{name: "mxalias", what: "its MX is an alias", zone: "@ MX 10 mx.@\nmx.@ CNAME real.@\nreal.@ A 192.0.2.3"},
	{name: "mxloop", what: "its MX is an alias of an alias of itself", zone: "@ MX 10 mx.@\nmx.@ CNAME a.@\na.@ CNAME mx.@"},
	{name: "nullmx", what: "null MX, and an address", zone: "@ MX 0 .\n@ A 192.0.2.2"},
	{name: "nullplus", what: "null MX beside another, which RFC 7505 forbids", zone: "@ MX 0 .\n" + oneMX},
	{name: "ipmx", what: "its MX is an address, written as a name", zone: "@ MX 10 192.0.2.77."},
	{name: "crowd", what: "500 MX", zone: many(500, "@ MX # mx.@") + "mx.@ A 192.0.2.1"},
	{name: "crowdgone", what: "500 MX that do not exist", zone: many(500, "@ MX # m#.@")},
	{name: "crowdlate", what: "500 MX, of which the first 40 do not exist", zone: many(40, "@ MX # m#.@") + many(460, "@ MX 50 n#.@") + "*.@ A 192.0.2.7\n" + many(40, "m#.@ TXT x")},
	{name: "crowdaddr", what: "an MX with 500 addresses", zone: "@ MX 10 mx.@\n" + many(250, "mx.@ A 192.0.2.#") + many(250, "mx.@ A 198.51.100.#")},
	{name: "loopback", what: "its MX is at 127.0.0.1 and ::1", zone: "@ MX 10 mx.@\nmx.@ A 127.0.0.1\nmx.@ AAAA ::1"},
	{name: "loopback2", what: "at 127.9.9.9, and at 127.0.0.1 as IPv6 has it", zone: "@ MX 10 mx.@\nmx.@ A 127.9.9.9\nmx.@ AAAA ::ffff:127.0.0.1"},
	{name: "zero", what: "at 0.0.0.0 and ::", zone: "@ MX 10 mx.@\nmx.@ A 0.0.0.0\nmx.@ AAAA ::"},
	{name: "multicast", what: "at 224.0.0.1, 255.255.255.255 and fe80::1", zone: "@ MX 10 mx.@\nmx.@ A 224.0.0.1\nmx.@ A 255.255.255.255\nmx.@ AAAA fe80::1"},
	{name: "mixed", what: "at 127.0.0.1 and at a usable address", zone: "@ MX 10 mx.@\nmx.@ A 127.0.0.1\nmx.@ A 192.0.2.4"},
	{name: "ours", what: "its only MX is this server", zone: "@ MX 10 mail.postel.test"},
	{name: "oursworse", what: "this server is its second MX", zone: oneMX + "@ MX 20 mail.postel.test"},
	{name: "ttlzero", what: "TTL 0", zone: "@ 0 MX 10 mx.@\nmx.@ 0 A 192.0.2.1"},
	{name: "ttlmost", what: "TTL 2147483647", zone: "@ 2147483647 MX 10 mx.@\nmx.@ A 192.0.2.1"},
	{name: "ttlnegative", what: "TTL with its top bit set, which counts as 0 (RFC 2181 §8)", zone: "@ 4294967295 MX 10 mx.@\nmx.@ A 192.0.2.1"},
	{name: "forged", what: "replies with a wrong id, and to another question, come first", zone: oneMX, faults: map[string]dnstest.Fault{"@ ": {Forge: true}, "mx.@ ": {Forge: true}}},
	{name: "evil", what: "the answer holds records of another domain, victim", zone: "@ MX 10 mx.@\nmx.@ A 192.0.2.66", faults: map[string]dnstest.Fault{
		"@ MX": {Extra: "victim.test MX 0 mx.evil.test\nmx.victim.test A 192.0.2.66\nvictim.test A 192.0.2.66"},
	}},
	{name: "extra", what: "the answer holds only records of others", zone: `@ TXT "x"`, faults: map[string]dnstest.Fault{"@ MX": {Extra: "other.test MX 0 mx.evil.test"}}},
}

// victim is asked for behind evil.
var dnsVictim = dnsCase{name: "victim", what: "asked for behind evil", zone: "@ MX 10 mx.@\nmx.@ A 192.0.2.5"}

// TestDNS sends a message to each domain and compares what becomes of it at the first attempt with testdata/dns.txt.
func TestDNS(t *testing.T) {
	t.Parallel()
	all := append(dnsCases[:len(dnsCases):len(dnsCases)], dnsVictim)
	s := scriptedDNS(t, all)
	client, err := dns.New(dns.Options{Servers: []string{s.Addr}, Timeout: time.Second, Rounds: 2})
	if err != nil {
		t.Fatal(err)
	}
	router, err := route.New(route.Options{Resolver: client, Names: []string{"mail.postel.test"}})
	if err != nil {
		t.Fatal(err)
	}
	f := newFixtureOver(t, kvtest.Memory(), func(o *Options) {
		o.Router, o.Timeouts.Idle = router, time.Millisecond // no session serves two messages
	})
	reached := &reachedAddrs{f: f, at: map[string]string{}}
	f.MTA.open = reached.open
	f.initAccounts(alice)
	f.start()
	send := func(cases ...dnsCase) {
		for _, c := range cases {
			f.mustAccept("alice@postel.test", "a@"+c.name+".test")
		}
		attempted(f)
	}
	send(dnsCases...)
	first := waiting(f)
	send(dnsVictim, dnsCase{name: "ttlzero"}, dnsCase{name: "ttlmost"}, dnsCase{name: "ttlnegative"})
	for name, want := range map[string]int{"ttlzero": 2, "ttlmost": 1, "ttlnegative": 2} {
		if n := s.Asked(name+".test", "MX"); n != want {
			t.Errorf("%s was asked for %d times, want %d", name, n, want)
		}
	}
	if n := s.Asked("m96.crowdgone.test", "A"); n > 0 {
		t.Error("more than 96 MX were looked up")
	}
	reports := reportedFailures(t, f.mailbox(alice, "INBOX"))
	rows := [][]string{{"domain", "outcome", "what DNS says"}}
	for _, c := range all {
		rcpt := "a@" + c.name + ".test"
		end := "relayed to " + reached.to(c.name+".test")
		if r := reports[rcpt]; len(r) > 0 {
			end = "bounced " + strings.Join(r, ", ")
		} else if last, waits := first[rcpt]; waits {
			end = "deferred " + last
		}
		rows = append(rows, []string{c.name, end, c.what})
	}
	compareTable(t, "testdata/dns.txt", "\n"+columns(rows))
}

func scriptedDNS(t *testing.T, cases []dnsCase) *dnstest.Server {
	t.Helper()
	var zone strings.Builder
	for _, c := range cases {
		zone.WriteString(strings.ReplaceAll(c.zone, "@", c.name+".test") + "\n")
	}
	s := dnstest.Start(t, zone.String())
	for _, c := range cases {
		for at, fault := range c.faults {
			name, typ, _ := strings.Cut(strings.ReplaceAll(at, "@", c.name+".test"), " ")
			s.Fail(name, typ, fault)
		}
	}
	return s
}

// attempted waits until each recipient has ended or waits for another attempt.
func attempted(f *fixture) {
	f.t.Helper()
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		left := 0
		for _, it := range f.items() {
			if it.Recipients[0].Attempts == 0 {
				left++
			}
		}
		if left == 0 {
			return
		}
		if time.Now().After(end) {
			f.t.Fatal(left, "were never attempted")
		}
	}
}

// reachedAddrs notes the address at which each domain's host was reached.
type reachedAddrs struct {
	f  *fixture
	mu sync.Mutex
	at map[string]string
}

func (r *reachedAddrs) open(ctx context.Context, h target, addr netip.AddrPort) (link, *refusal) {
	r.mu.Lock()
	_, domain, _ := strings.Cut(h.Name, ".")
	if strings.Count(h.Name, ".") == 1 {
		domain = h.Name
	}
	r.at[domain] = addr.Addr().String()
	r.mu.Unlock()
	return r.f.world.openLink(ctx, h, addr)
}

func (r *reachedAddrs) to(domain string) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.at[domain]
}
