package route

import (
	"cmp"
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"

	"postel/internal/dns"
	"postel/internal/mail"
)

// Bounds on what a stranger's DNS can make us do.
const (
	maxHosts  = 16 // MXs with addresses that are kept, and how many are looked up at a time
	maxLooked = 96 // MXs looked up in search of such
	maxAddrs  = 16 // addresses of one host that are tried
	lookups   = 4  // at once
)

const clauseMX = "RFC 5321 §5.1"

// planner builds one plan.
type planner struct {
	*Router
	Plan
	rule Rule // by which it goes; of DNS alone the zero one
}

func (p *planner) say(clause, format string, args ...any) {
	p.Steps = append(p.Steps, Step{fmt.Sprintf(format, args...), clause})
}

func (p *planner) plan(ctx context.Context, from mail.Address) error {
	if rule, ok := p.ruleFor(p.Domain, from); ok {
		if rule.Host != "" {
			return p.byRule(ctx, rule, rule.named())
		}
		p.rule = rule
		p.say("", "%s leaves its host to DNS", rule.named())
		p.bounds()
	}
	if ip, ok := p.Domain.Literal(); ok {
		p.say("RFC 5321 §4.1.3", "%s is an address literal: straight to that address, no look-up", p.Domain)
		return p.finish(p.usable([]found{{Host: p.host(ip.String(), 0), v4v6: []netip.Addr{ip}}}), false)
	}
	return p.byDNS(ctx)
}

// bounds tells what else the rule says.
func (p *planner) bounds() {
	if bounds := p.rule.Limits.say(); bounds != "" {
		p.say("", "bounds of that route: %s", bounds)
	}
	for _, s := range p.rule.Source {
		p.say("", "its connections come from %s", s)
	}
}

// byRule goes to the rule's host; which says whose rule it is.
func (p *planner) byRule(ctx context.Context, rule Rule, which string) error {
	p.Ruled, p.rule = true, rule
	if at, ok := rule.socket(); ok {
		return p.bySocket(at, which)
	}
	p.say("", "%s says %s, port %d, by %s", which, rule.Host, rule.Port, strings.ToUpper(string(rule.Proto)))
	p.bounds()
	h := p.host(rule.Host, 0)
	f := found{Host: h}
	if ip, ok := hostAddr(rule.Host); ok {
		f.Name, f.v4v6 = ip.String(), []netip.Addr{ip}
	} else {
		f = p.lookup(ctx, h)
	}
	p.Authentic = f.Authentic
	for _, ip := range f.v4v6 {
		switch ap := netip.AddrPortFrom(ip, rule.Port); {
		case p.o.Own(ap):
			p.say("RFC 5321 §6.3", "%s is %s, one of our own listeners", f.Name, ap)
			f.own = true
		case unusable(ip):
			p.say("", "%s is left out: nothing can be reached there", ip)
		case !rule.reaches(ip):
			p.unreached(&f, ip)
		default:
			f.Addrs = append(f.Addrs, ap)
		}
	}
	switch {
	case f.own:
		return loop(p.Domain, "the route leads back to this server")
	case f.err != nil:
		return f.failure(p.Domain)
	case len(f.Addrs) == 0 && f.apart:
		return sourceless(p.Domain)
	case len(f.Addrs) == 0:
		return nowhere(p.Domain, "the host of its route has no usable address")
	}
	p.Hosts = []Host{f.Host}
	return nil
}

// unreached leaves out an address of a family that the rule has no source for.
func (p *planner) unreached(f *found, ip netip.Addr) {
	p.say("", "%s: %s is left out: the route has no source of its family", f.Name, ip)
	f.apart = true
}

// bySocket goes to a socket of this machine.
func (p *planner) bySocket(at, which string) error {
	p.say("", "%s says the socket %s, by %s", which, at, strings.ToUpper(string(p.rule.Proto)))
	p.bounds()
	if slices.Contains(p.o.OwnSockets, at) {
		p.say("RFC 5321 §6.3", "that is one of our own listeners")
		return loop(p.Domain, "the route leads back to this server")
	}
	h := p.host("localhost", 0)
	h.Socket = at
	p.Hosts = []Host{h}
	return nil
}

// byDNS goes where the domain's MX records lead, or to the domain itself when it has none.
func (p *planner) byDNS(ctx context.Context) error {
	a, err := p.o.Resolver.Lookup(ctx, string(p.Domain), dns.MX)
	switch {
	case mail.Is(err, mail.NotFound):
		p.say(clauseMX, "%s does not exist in DNS (NXDOMAIN)", p.Domain)
		return noDomain(p.Domain, "does not exist")
	case mail.Is(err, mail.Invalid):
		return noDomain(p.Domain, "is not a name that can be looked up")
	case err != nil:
		p.say(clauseMX, "the look-up of MX failed: try again later, and never fall back to addresses")
		return failed(p.Domain, err)
	}
	p.Authentic = a.Authentic
	if a.Canonical != a.Name {
		p.Canonical = a.Canonical
		p.say(clauseMX, "%s is an alias (CNAME) of %s", a.Name, a.Canonical)
	}
	if len(a.Records) == 0 {
		p.say(clauseMX, "no MX record: the domain's own addresses count as an MX of preference 0")
		return p.finish(p.usable([]found{p.lookup(ctx, p.host(string(p.Domain), 0))}), false)
	}
	mxs, err := p.sorted(a)
	if err != nil {
		return err
	}
	all, cut := p.search(ctx, mxs)
	return p.finish(all, cut)
}

// search looks up the MXs by their order until enough of them have addresses; cut tells that some were not looked up
// though not enough were found.
func (p *planner) search(ctx context.Context, mxs []Host) (all []found, cut bool) {
	good := 0
	for part := range slices.Chunk(mxs, maxHosts) {
		if good >= maxHosts || len(all)+len(part) > maxLooked {
			p.say("", "only the first %d of its %d MXs are looked up", len(all), len(mxs))
			return all, good == 0
		}
		got := p.usable(p.lookupAll(ctx, part))
		all = append(all, got...)
		if slices.ContainsFunc(got, func(f found) bool { return f.own || p.names[f.canonical] }) {
			break // what follows is no better than ourselves
		}
		for i := range got {
			good += min(len(got[i].Addrs), 1)
		}
	}
	return all, false
}

// usable fills in the addresses of hosts that were looked up.
func (p *planner) usable(all []found) []found {
	for i := range all {
		p.addresses(&all[i])
	}
	return all
}

// sorted gives the MXs by preference, equal ones shuffled, those cut off that are no better than ourselves.
func (p *planner) sorted(a dns.Answer) ([]Host, error) {
	var hosts []Host
	for _, r := range a.Records {
		if r.Host != "" {
			hosts = append(hosts, p.host(r.Host, r.Pref))
		}
	}
	if len(hosts) == 0 {
		p.say("RFC 7505 §3", "the only MX is %q: the domain takes no mail (null MX)", ".")
		return nil, &mail.Error{
			Op: "route", Kind: mail.Denied, Code: nullMX,
			Text: fmt.Sprintf("domain %s takes no mail (null MX)", p.Domain),
		}
	}
	p.o.Shuffle(len(hosts), func(i, j int) { hosts[i], hosts[j] = hosts[j], hosts[i] })
	slices.SortStableFunc(hosts, func(a, b Host) int { return cmp.Compare(a.Pref, b.Pref) })
	p.say(clauseMX, "MX: %s", list(hosts))
	for _, h := range hosts {
		if p.names[h.Name] {
			hosts = p.cut(hosts, h)
			break
		}
	}
	if len(hosts) == 0 {
		return nil, loop(p.Domain, "its best MX is this server, which does not know it")
	}
	return hosts, nil
}

// cut drops every host that is no better than self.
func (p *planner) cut(hosts []Host, self Host) []Host {
	p.say(clauseMX, "%s is this server: hosts of preference %d and above are dropped, so that mail does not go in a circle",
		self.Name, self.Pref)
	return slices.DeleteFunc(slices.Clone(hosts), func(h Host) bool { return h.Pref >= self.Pref })
}

func (p *planner) host(name string, pref uint16) Host {
	r := &p.rule
	return Host{
		Name: name, Pref: pref, Proto: cmp.Or(r.Proto, SMTP), TLS: cmp.Or(r.TLS, May), Source: r.Source,
		User: r.User, Password: r.Password, Tokens: r.Tokens,
	}
}

// found is a host with what its look-up gave.
type found struct {
	Host
	v4v6      []netip.Addr
	canonical string
	err       error
	own       bool
	apart     bool // it has addresses that cannot be reached from the rule's source
}

func (p *planner) lookup(ctx context.Context, h Host) found {
	f := found{Host: h, canonical: h.Name}
	a, err := dns.LookupAddrs(ctx, p.o.Resolver, h.Name)
	if err != nil {
		f.err = err
		return f
	}
	if a.Canonical != "" {
		f.canonical = a.Canonical
	}
	f.v4v6 = interleave(a.IPv6, a.IPv4)
	f.Authentic = a.Authentic
	return f
}

// lookupAll looks all hosts up, a few at once.
func (p *planner) lookupAll(ctx context.Context, hosts []Host) []found {
	all := make([]found, len(hosts))
	slots := make(chan struct{}, lookups)
	var wg sync.WaitGroup
	for i, h := range hosts {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			all[i] = p.lookup(ctx, h)
		})
	}
	wg.Wait()
	return all
}

// finish turns look-ups into hosts: those without usable addresses are left out, and everything that is no better than
// ourselves is dropped. Where there are none it matters whether the look-ups were cut short.
func (p *planner) finish(all []found, cut bool) error {
	var hosts []Host
	var worst *found // the look-up that says most about why nothing is left
	looped := false
	for i := range all {
		f := &all[i]
		if f.own || p.names[f.canonical] {
			looped = true
			hosts = p.cut(hosts, f.Host)
			break
		}
		if len(f.Addrs) > 0 {
			hosts = append(hosts, f.Host)
		}
		if worst == nil || f.worse(worst) {
			worst = f
		}
	}
	p.Hosts = hosts[:min(len(hosts), maxHosts)]
	switch {
	case len(hosts) > 0:
		return nil
	case cut:
		return failed(p.Domain, mail.E("route", mail.TooMany, "too many MXs without addresses"))
	case worst != nil && worst.temporary(): // a better host may be up again later
		return failed(p.Domain, worst.err)
	case slices.ContainsFunc(all, func(f found) bool { return f.apart }):
		return sourceless(p.Domain)
	case looped:
		return loop(p.Domain, "its mail leads back to this server")
	case worst != nil && worst.err != nil:
		return worst.failure(p.Domain)
	case worst != nil && len(worst.v4v6) > 0:
		return loop(p.Domain, "its DNS leads to addresses that no mail may go to")
	case len(all) == 1 && all[0].Name == string(p.Domain):
		return noDomain(p.Domain, "has neither MX nor address records, so it takes no mail")
	}
	return nowhere(p.Domain, "its MX hosts have no addresses")
}

// addresses fills in a host's addresses from its look-up and says what became of them.
func (p *planner) addresses(f *found) {
	if f.canonical != "" && f.canonical != f.Name && len(f.v4v6) > 0 {
		p.say("RFC 2181 §10.3", "%s is an alias of %s, which an MX should not be; it is followed all the same", f.Name, f.canonical)
	}
	for _, ip := range f.v4v6 {
		ip = ip.Unmap()
		switch ap := netip.AddrPortFrom(ip, p.o.Port); {
		case p.o.Own(ap):
			f.own = true
		case unusable(ip) || ip.IsLoopback() && !p.o.AllowLoopback:
			p.say("", "%s: %s is left out, because mail from outside may not be led there", f.Name, ip)
		case !p.rule.reaches(ip):
			p.unreached(f, ip)
		case len(f.Addrs) < maxAddrs:
			f.Addrs = append(f.Addrs, ap)
		}
	}
	switch {
	case f.err != nil && mail.Is(f.err, mail.NotFound):
		p.say(clauseMX, "%s does not exist", f.Name)
	case f.err != nil:
		p.say(clauseMX, "the addresses of %s cannot be looked up now", f.Name)
	case len(f.v4v6) == 0:
		p.say(clauseMX, "%s has no addresses", f.Name)
	case len(f.Addrs) > 0:
		p.say("", "%s has %s", f.Name, joined(f.Addrs))
	}
	if _, err := netip.ParseAddr(f.Name); err == nil && f.err != nil {
		p.say(clauseMX, "an MX names a host, not an address, as %s seems to be", f.Name)
	}
}

// temporary tells whether the look-up may come to something later.
func (f *found) temporary() bool {
	return f.err != nil && !mail.Is(f.err, mail.NotFound) && !mail.Is(f.err, mail.Invalid)
}

// worse ranks the causes for having no address: temporary ones first, then ones that were refused.
func (f *found) worse(g *found) bool {
	rank := func(f *found) int {
		switch {
		case f.temporary():
			return 3
		case len(f.v4v6) > 0:
			return 2
		case f.err != nil:
			return 1
		}
		return 0
	}
	return rank(f) > rank(g)
}

// failure is the error when this look-up was the last hope.
func (f *found) failure(d mail.Domain) error {
	switch {
	case f.temporary():
		return failed(d, f.err)
	case f.Name == string(d):
		return noDomain(d, "has neither MX nor address records, so it takes no mail")
	}
	return nowhere(d, "host "+f.Name+" does not exist")
}

func list(hosts []Host) string {
	var parts []string
	for _, h := range hosts[:min(len(hosts), maxHosts)] {
		parts = append(parts, fmt.Sprintf("%d %s", h.Pref, h.Name))
	}
	if len(hosts) > maxHosts {
		parts = append(parts, fmt.Sprintf("and %d more", len(hosts)-maxHosts))
	}
	return strings.Join(parts, ", ")
}

func joined(addrs []netip.AddrPort) string {
	var parts []string
	for _, a := range addrs {
		parts = append(parts, a.String())
	}
	return strings.Join(parts, ", ")
}
