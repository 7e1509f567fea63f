package route

import (
	"cmp"
	"net"
	"net/netip"
	"path"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"postel/internal/mail"
)

// Rule says how a domain's, or a sender's, mail goes.
type Rule struct {
	Domain mail.Domain `json:"domain"`           // "" is every domain without a rule of its own
	Sender string      `json:"sender,omitempty"` // whose mail: an address, a domain; "" is everybody's
	// Host is a name, looked up by A and AAAA only, an address, in brackets or not, or "unix:" and the path of a
	// socket; "" leaves it to DNS.
	Host     string       `json:"host"`
	Port     uint16       `json:"port"`             // 0 is 25, with LMTP 24
	Proto    Proto        `json:"proto"`            // "" is SMTP
	TLS      TLS          `json:"tls"`              // "" is May
	Source   []netip.Addr `json:"source,omitempty"` // to bind to, one a family; addresses of other families are not used
	User     string       `json:"user,omitempty"`
	Password string       `json:"-"`
	Tokens   Tokens       `json:"-"` // log in with bearer tokens, not with the password; nil does not
	Limits   *Limits      `json:"-"` // nil is none
}

// maxSocket is the longest path of a Unix socket that the system takes.
const maxSocket = 107

// socket gives the path of a Unix socket.
func (r Rule) socket() (string, bool) { return strings.CutPrefix(r.Host, "unix:") }

// named says whose rule it is.
func (r Rule) named() string {
	switch {
	case r.Domain == "" && r.Sender == "":
		return "the route for all domains"
	case r.Domain == "":
		return "the route for mail from " + r.Sender
	case r.Sender == "":
		return "a route for " + string(r.Domain)
	}
	return "a route for " + string(r.Domain) + " and mail from " + r.Sender
}

// Check gives a rule as it is kept, with what it leaves to defaults; an error (Kind Invalid) says what makes no sense.
func (r Rule) Check() (Rule, error) { return r.complete() }

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
	if r.Port == 0 && r.Host != "" {
		r.Port = map[Proto]uint16{SMTP: 25, LMTP: 24}[r.Proto]
	}
	if r.Proto != SMTP && r.Proto != LMTP || r.TLS != May && r.TLS != Must && r.TLS != Never {
		return r, r.bad("proto is smtp or lmtp, tls is may, must or never")
	}
	if strings.ContainsFunc(r.User, unicode.IsControl) { // OAUTHBEARER and XOAUTH2 part their fields by one
		return r, r.bad("its user has a control character")
	}
	var err error
	if r.Sender, err = parseSender(r.Sender); err != nil {
		return r, r.bad("its sender is neither a domain nor an address")
	}
	if err := r.checkSource(); err != nil {
		return r, err
	}
	return r, r.checkHost()
}

func (r Rule) bad(why string) error {
	return mail.E("route.rule", mail.Invalid, "%s: %s", r.named(), why)
}

// parseSender gives a sender as it is compared.
func parseSender(s string) (string, error) {
	if strings.Contains(s, "@") {
		a, err := mail.ParseAddress(s)
		return a.Fold().String(), err
	}
	if s == "" {
		return "", nil
	}
	d, err := mail.ParseDomain(s)
	return string(d), err
}

func (r Rule) checkSource() error {
	for i, a := range r.Source {
		if !a.IsValid() || a.Is4In6() || a.Zone() != "" || a.IsUnspecified() || a.IsMulticast() {
			return r.bad("its source is one IPv4 address, one IPv6 address, or both")
		}
		if i > 1 || i == 1 && a.Is4() == r.Source[0].Is4() {
			return r.bad("its source is one address a family")
		}
	}
	return nil
}

// checkHost completes the host.
func (r *Rule) checkHost() error {
	at, isSocket := r.socket()
	_, isAddr := hostAddr(r.Host)
	switch {
	case r.Host == "" && (r.Domain == "" && r.Sender == "" || r.Proto != SMTP || r.User != "" || r.Port != 0):
		return r.bad("a route by DNS has a domain or a sender, and neither a port, a login nor LMTP")
	case isSocket && (!path.IsAbs(at) || len(at) > maxSocket || strings.ContainsRune(at, 0)):
		return r.bad("unix: stands before the absolute path of a socket, of 107 octets at most")
	case isSocket && (len(r.Source) > 0 || r.TLS == Must):
		return r.bad("a socket has neither a source nor TLS")
	case isSocket:
		r.Host, r.Port, r.TLS = "unix:"+path.Clean(at), 0, Never
	case r.Host != "" && !isAddr:
		d, err := mail.ParseDomain(r.Host)
		if err != nil {
			return r.bad("its host is neither a name nor an address")
		}
		r.Host = string(d)
	}
	return nil
}

// reaches tells whether an address can be connected to from the rule's source.
func (r Rule) reaches(ip netip.Addr) bool {
	return len(r.Source) == 0 || slices.ContainsFunc(r.Source, func(s netip.Addr) bool { return s.Is4() == ip.Unmap().Is4() })
}

// rules are those that hold now.
type rules struct {
	all     map[key]Rule
	senders bool // some are for a sender
}

// key is whose mail a rule is for.
type key struct {
	domain mail.Domain
	sender string
}

// SetRules sets the rules besides those of Options, which come first: others for the same domain and sender are left out.
// An error (Kind Invalid) names one that makes no sense, and leaves what was. A rule that is there already keeps its
// Limits, and what was counted against them.
func (r *Router) SetRules(more []Rule) error {
	now := &rules{all: map[key]Rule{}}
	for i, rule := range slices.Concat(r.o.Rules, more) {
		rule, err := rule.complete()
		if err != nil {
			return err
		}
		k := key{rule.Domain, rule.Sender}
		if _, twice := now.all[k]; twice {
			if i < len(r.o.Rules) {
				return rule.bad("there are two")
			}
			continue
		}
		if was := r.rules.Load(); was != nil {
			if old, ok := was.all[k]; ok && *old.Limits == *rule.Limits {
				rule.Limits = old.Limits
			}
		}
		now.all[k] = rule
		now.senders = now.senders || rule.Sender != ""
	}
	r.rules.Store(now)
	return nil
}

// ruleFor gives the rule for mail to a domain from a sender: the one that says more wins, and what is said of the domain
// more than what is said of the sender.
func (r *Router) ruleFor(d mail.Domain, from mail.Address) (Rule, bool) {
	now := r.rules.Load()
	senders := []string{""}
	if now.senders && !from.IsNull() {
		senders = []string{from.Fold().String(), string(from.Domain), ""}
	}
	for _, domain := range [...]mail.Domain{d, ""} {
		for _, sender := range senders {
			if rule, ok := now.all[key{domain, sender}]; ok {
				return rule, true
			}
		}
	}
	return Rule{}, false
}

// Limits gives the bounds of the rule by which mail goes, the same pointer for all that goes by it; nil where no rule
// bounds it. It asks nobody.
func (r *Router) Limits(d mail.Domain, from mail.Address) *Limits {
	rule, ok := r.ruleFor(d, from)
	if !ok || *rule.Limits == (Limits{}) {
		return nil
	}
	return rule.Limits
}

// Apart gives what parts mail to a domain from other mail to it that goes another way: the sender of its rule; "" where
// its sender does not matter. It asks nobody.
func (r *Router) Apart(d mail.Domain, from mail.Address) string {
	rule, _ := r.ruleFor(d, from)
	return rule.Sender
}

// known gives the rule with the host of via, or that itself.
func (r *Router) known(via Rule, d mail.Domain, from mail.Address) Rule {
	same := func(rule Rule) bool { return rule.Port == via.Port && sameHost(rule.Host, via.Host) }
	if rule, ok := r.ruleFor(d, from); ok && same(rule) {
		return rule
	}
	first, found := key{}, false
	all := r.rules.Load().all
	for k, rule := range all {
		if same(rule) && (!found || cmp.Or(cmp.Compare(k.domain, first.domain), cmp.Compare(k.sender, first.sender)) < 0) {
			first, found = k, true
		}
	}
	if found {
		return all[first]
	}
	return via
}

func sameHost(a, b string) bool {
	x, isAddr := hostAddr(a)
	y, alsoAddr := hostAddr(b)
	return a == b || isAddr && alsoAddr && x == y
}

// CheckVia gives a host as Via takes it in its full form, host:port or unix:/path; Kind Invalid.
func CheckVia(via string) (string, error) {
	rule, err := parseVia(via)
	if err != nil {
		return "", err
	}
	if _, isSocket := rule.socket(); isSocket {
		return rule.Host, nil
	}
	return net.JoinHostPort(strings.Trim(rule.Host, "[]"), strconv.Itoa(int(rule.Port))), nil
}

// parseVia reads "host", "host:port", and addresses in their place, in brackets or not.
func parseVia(via string) (Rule, error) {
	rule := Rule{Host: via}
	if _, isSocket := rule.socket(); isSocket {
		rule.Proto = LMTP
	} else if _, isAddr := hostAddr(via); !isAddr {
		if host, port, err := net.SplitHostPort(via); err == nil {
			n, err := strconv.ParseUint(port, 10, 16)
			if err != nil || n == 0 {
				return rule, mail.E("route.via", mail.Invalid, "%.100q has no port from 1 to 65535", via)
			}
			rule.Host, rule.Port = host, uint16(n)
		}
	}
	rule, err := rule.complete()
	if err != nil || via == "" {
		return rule, mail.E("route.via", mail.Invalid, "%.100q is neither a host name nor an address, with or without a port, nor unix: and a path", via)
	}
	if ip, ok := hostAddr(rule.Host); ok {
		rule.Host = ip.String()
	}
	return rule, nil
}
