package route

import (
	"context"
	"math/rand/v2"
	"net"
	"net/netip"
	"strconv"
	"strings"

	"postel/internal/dns"
	"postel/internal/mail"
)

// Proto is what is spoken to a host.
type Proto string

// The protocols.
const (
	SMTP Proto = "smtp"
	LMTP Proto = "lmtp"
)

// TLS is what a rule asks of the connection.
type TLS string

// The demands. A host that DNS names has May: TLS when offered, unverified.
const (
	May   TLS = "may"
	Must  TLS = "must"  // TLS with a certificate that verifies for the host's name, else no delivery
	Never TLS = "never" // in clear
)

// Rule sends a domain's mail to a given host, whatever DNS says.
type Rule struct {
	Domain   mail.Domain `json:"domain"` // "" is every domain without a rule of its own
	Host     string      `json:"host"`   // a name, looked up by A and AAAA only, or an address, in brackets or not
	Port     uint16      `json:"port"`   // 0 is 25, with LMTP 24
	Proto    Proto       `json:"proto"`  // "" is SMTP
	TLS      TLS         `json:"tls"`    // "" is May
	User     string      `json:"user,omitempty"`
	Password string      `json:"-"`
	Tokens   Tokens      `json:"-"` // log in with bearer tokens, not with the password; nil does not
	Limits   *Limits     `json:"-"` // nil is none
}

// Options configure a Router.
type Options struct {
	Resolver dns.Resolver
	Names    []string // our own host names: an MX with one of them is ourselves
	Port     uint16   // where hosts that DNS names are spoken to; 0 is 25
	Rules    []Rule
	// AllowLoopback lets DNS lead to addresses of this machine; Own is checked all the same.
	AllowLoopback bool
	// Own tells whether an address is one of our listeners; nil is never. OwnListeners makes one.
	Own func(netip.AddrPort) bool
	// Shuffle puts hosts of equal preference into random order; nil is rand.Shuffle.
	Shuffle func(n int, swap func(i, j int))
}

// Host is one place to try. Its addresses are tried in their order.
type Host struct {
	Name      string           `json:"name"` // as the MX or rule names it, for TLS; of a literal the address
	Pref      uint16           `json:"preference"`
	Addrs     []netip.AddrPort `json:"addresses"` // IPv6 and IPv4 in turn
	Authentic bool             `json:"authentic"` // its addresses are validated by DNSSEC; its name is when the Plan is
	Proto     Proto            `json:"proto"`
	TLS       TLS              `json:"tls"`
	User      string           `json:"user,omitempty"` // log in with these when set
	Password  string           `json:"-"`
	Tokens    Tokens           `json:"-"` // in place of the password when not nil
}

// Tokens gives the bearer tokens of one login (RFC 6750). Safe for concurrent use.
type Tokens interface {
	// Token gives a token; refused is one that the host did not take, "" is none. Kind Unavailable.
	Token(ctx context.Context, refused string) (string, error)
}

// Plan is where a domain's mail goes.
type Plan struct {
	Domain    mail.Domain `json:"domain"`
	Canonical string      `json:"canonical,omitempty"` // where the domain's CNAMEs lead, when it has some
	Hosts     []Host      `json:"hosts"`               // in the order to try
	Ruled     bool        `json:"ruled"`               // by a rule, not by DNS
	Authentic bool        `json:"authentic"`           // the MX answer is validated by DNSSEC
	Steps     []Step      `json:"steps"`
}

// Named tells whether the names of the hosts are what the domain's owner said: by DNSSEC, or by our own rule. Without that
// a verified certificate says little (RFC 8689 §4.2.1, which also takes a policy of MTA-STS for it).
func (p *Plan) Named() bool { return p.Ruled || p.Authentic }

// Step is one part of the explanation of a plan.
type Step struct {
	Text   string `json:"text"`
	Clause string `json:"clause,omitempty"` // "RFC 5321 §5.1"
}

// Router plans routes. Safe for concurrent use.
type Router struct {
	o     Options
	names map[string]bool
	rules map[mail.Domain]Rule
}

// New makes a Router. An error (Kind Invalid) names a rule that makes no sense.
func New(o Options) (*Router, error) {
	if o.Port == 0 {
		o.Port = 25
	}
	if o.Own == nil {
		o.Own = func(netip.AddrPort) bool { return false }
	}
	if o.Shuffle == nil {
		o.Shuffle = rand.Shuffle
	}
	r := &Router{o: o, names: map[string]bool{}, rules: map[mail.Domain]Rule{}}
	for _, n := range o.Names {
		r.names[strings.ToLower(strings.TrimSuffix(n, "."))] = true
	}
	for _, rule := range o.Rules {
		rule, err := rule.complete()
		if err != nil {
			return nil, err
		}
		if _, twice := r.rules[rule.Domain]; twice {
			return nil, mail.E("route.rule", mail.Invalid, "two routes for %q", rule.Domain)
		}
		r.rules[rule.Domain] = rule
	}
	return r, nil
}

// complete fills in defaults and checks.
func (r Rule) complete() (Rule, error) {
	if r.Proto == "" {
		r.Proto = SMTP
	}
	if r.TLS == "" {
		r.TLS = May
	}
	if r.Limits == nil {
		r.Limits = new(Limits)
	}
	if r.Port == 0 {
		r.Port = map[Proto]uint16{SMTP: 25, LMTP: 24}[r.Proto]
	}
	if _, isAddr := hostAddr(r.Host); !isAddr {
		d, err := mail.ParseDomain(r.Host)
		if err != nil {
			return r, mail.E("route.rule", mail.Invalid, "route for %q: %q is neither a host name nor an address", r.Domain, r.Host)
		}
		r.Host = string(d)
	}
	if r.Proto != SMTP && r.Proto != LMTP || r.TLS != May && r.TLS != Must && r.TLS != Never {
		return r, mail.E("route.rule", mail.Invalid, "route for %q: proto is smtp or lmtp, tls is may, must or never", r.Domain)
	}
	return r, nil
}

// Via plans for a domain whose mail an operator sends by a given host, "host" or "host:port", as a rule would. To the
// host of a rule it goes as that rule says. The errors are Route's, and Invalid for what is no host.
func (r *Router) Via(ctx context.Context, d mail.Domain, via string) (Plan, error) {
	rule, err := parseVia(via)
	if err != nil {
		return Plan{Domain: d}, err
	}
	for _, known := range r.rules {
		if sameHost(known.Host, rule.Host) && known.Port == rule.Port {
			rule = known
		}
	}
	p := &planner{Router: r, Plan: Plan{Domain: d}}
	err = p.byRule(ctx, rule, "an operator")
	return p.Plan, err
}

func sameHost(a, b string) bool {
	x, isAddr := hostAddr(a)
	y, alsoAddr := hostAddr(b)
	return a == b || isAddr && alsoAddr && x == y
}

// CheckVia gives a host as Via takes it in its full form, host:port; Kind Invalid.
func CheckVia(via string) (string, error) {
	rule, err := parseVia(via)
	if err != nil {
		return "", err
	}
	return net.JoinHostPort(strings.Trim(rule.Host, "[]"), strconv.Itoa(int(rule.Port))), nil
}

// parseVia reads "host", "host:port", and addresses in their place, in brackets or not.
func parseVia(via string) (Rule, error) {
	rule := Rule{Host: via}
	if _, isAddr := hostAddr(via); !isAddr {
		if host, port, err := net.SplitHostPort(via); err == nil {
			n, err := strconv.ParseUint(port, 10, 16)
			if err != nil || n == 0 {
				return rule, mail.E("route.via", mail.Invalid, "%.100q has no port from 1 to 65535", via)
			}
			rule.Host, rule.Port = host, uint16(n)
		}
	}
	rule, err := rule.complete()
	if err != nil {
		return rule, mail.E("route.via", mail.Invalid, "%.100q is neither a host name nor an address, with or without a port", via)
	}
	if ip, ok := hostAddr(rule.Host); ok {
		rule.Host = ip.String()
	}
	return rule, nil
}

// Route plans where mail for a domain goes. The Plan has its Steps even with an error, whose Code says what the
// sender is told: 5.1.2 NotFound (no such domain, or one that takes no mail), 5.1.10 Denied (null MX), 5.4.4
// NotFound (its MXs lead nowhere), 5.4.6 Loop (they lead to us, or to loopback), 4.4.3 Unavailable (DNS does not
// answer), Canceled.
func (r *Router) Route(ctx context.Context, d mail.Domain) (Plan, error) {
	p := &planner{Router: r, Plan: Plan{Domain: d}}
	err := p.plan(ctx)
	return p.Plan, err
}
