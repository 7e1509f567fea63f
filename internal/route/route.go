package route

import (
	"context"
	"math/rand/v2"
	"net/netip"
	"strings"
	"sync/atomic"

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
	// OwnSockets are the paths of our listeners on Unix sockets.
	OwnSockets []string
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
	Socket    string           `json:"socket,omitempty"` // the path of a Unix socket; then there are no addresses
	Source    []netip.Addr     `json:"source,omitempty"` // bound to by those of the same family; none is any
	User      string           `json:"user,omitempty"`   // log in with these when set
	Password  string           `json:"-"`
	Tokens    Tokens           `json:"-"` // in place of the password when not nil
}

// Lines tells where a host is spoken to, from where and as whom, a line each.
func (h *Host) Lines() (out []string) {
	for _, a := range h.Addrs {
		out = append(out, a.String())
	}
	if h.Socket != "" {
		out = append(out, "socket "+h.Socket)
	}
	for _, s := range h.Source {
		out = append(out, "from "+s.String())
	}
	if h.User != "" {
		out = append(out, "as "+h.User)
	}
	return out
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
	rules atomic.Pointer[rules]
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
	r := &Router{o: o, names: map[string]bool{}}
	for _, n := range o.Names {
		r.names[strings.ToLower(strings.TrimSuffix(n, "."))] = true
	}
	if err := r.SetRules(nil); err != nil {
		return nil, err
	}
	return r, nil
}

// Via plans for mail that an operator sends by a given host, "host" or "host:port", or by LMTP into a socket, "unix:/path",
// as a rule would. To the host of a rule it goes as that rule says, of several the one that is for such mail. The errors
// are Route's, and Invalid for what is no host.
func (r *Router) Via(ctx context.Context, d mail.Domain, from mail.Address, via string) (Plan, error) {
	rule, err := parseVia(via)
	if err != nil {
		return Plan{Domain: d}, err
	}
	p := &planner{Router: r, Plan: Plan{Domain: d}}
	err = p.byRule(ctx, r.known(rule, d, from), "an operator")
	return p.Plan, err
}

// Route plans where mail for a domain goes that has this sender. The Plan has its Steps even with an error, whose Code says
// what the sender is told: 5.1.2 NotFound (no such domain, or one that takes no mail), 5.1.10 Denied (null MX), 5.4.4
// NotFound (its MXs lead nowhere), 5.4.6 Loop (they lead to us, or to loopback), 4.4.3 Unavailable (DNS does not
// answer), 4.4.4 Unavailable (no address can be reached from the route's source), Canceled.
func (r *Router) Route(ctx context.Context, d mail.Domain, from mail.Address) (Plan, error) {
	p := &planner{Router: r, Plan: Plan{Domain: d}}
	err := p.plan(ctx, from)
	return p.Plan, err
}
