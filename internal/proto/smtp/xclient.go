package smtp

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"postel/internal/mail"
)

// XClient is what XCLIENT says of the client for whom its sender speaks: a server takes it as its own knowledge. XForward
// has the same form and is only told further. Postfix has both, in XCLIENT_README and XFORWARD_README.
type XClient struct {
	Name     string         // of the address in DNS; "" when not given or not known
	Addr     netip.AddrPort // not valid when not given; the port is 0 when not given
	Dest     netip.AddrPort // where the client connected to, likewise
	Protocol string         // "SMTP" or "ESMTP"; "" when not given
	Helo     string
	Login    string
	Ident    string // XFORWARD alone: the message's id in the sender's queue
	Source   string // XFORWARD alone: "LOCAL" or "REMOTE"
}

// The attributes of each, as EHLO lists them.
const (
	XClientAttributes  = "NAME ADDR PORT PROTO HELO LOGIN DESTADDR DESTPORT"
	XForwardAttributes = "NAME ADDR PORT PROTO HELO IDENT SOURCE"
)

// ParseXClient reads the argument of XCLIENT.
func ParseXClient(rest string) (XClient, error) { return parseX(rest, XClientAttributes) }

// ParseXForward reads the argument of XFORWARD.
func ParseXForward(rest string) (XClient, error) { return parseX(rest, XForwardAttributes) }

// maxAttribute is how long the value of an attribute may be, as in Postfix.
const maxAttribute = 255

func parseX(rest, attributes string) (XClient, error) {
	var x XClient
	known := strings.Fields(attributes)
	words := strings.Fields(rest)
	if len(words) == 0 || len(words) > len(known) {
		return x, argError("attribute=value, with some of %s", attributes)
	}
	var seen []string
	for _, w := range words {
		k, v, ok := strings.Cut(w, "=")
		k = strings.ToUpper(k)
		if !ok || !slices.Contains(known, k) || slices.Contains(seen, k) {
			return XClient{}, argError("attribute=value, each once, with some of %s", attributes)
		}
		seen = append(seen, k)
		value, ok := DecodeXtext(v)
		if !ok || len(value) > maxAttribute || !isPrintable(value) {
			return XClient{}, argError("attribute %s is not printable xtext", k)
		}
		if value == "[UNAVAILABLE]" || value == "[TEMPUNAVAIL]" {
			continue
		}
		if !x.set(k, value) {
			return XClient{}, argError("bad value of attribute %s", k)
		}
	}
	return x, nil
}

// set takes one attribute; false for a bad value.
func (x *XClient) set(k, v string) bool {
	switch k {
	case "NAME":
		d, err := mail.ParseDomain(v)
		x.Name = string(d)
		return err == nil
	case "ADDR":
		return setAddr(&x.Addr, v)
	case "DESTADDR":
		return setAddr(&x.Dest, v)
	case "PORT":
		return setPort(&x.Addr, v)
	case "DESTPORT":
		return setPort(&x.Dest, v)
	case "PROTO":
		x.Protocol = strings.ToUpper(v)
		return x.Protocol == "SMTP" || x.Protocol == "ESMTP"
	case "HELO":
		x.Helo = v
		_, err := ParseHello(v)
		return err == nil
	case "LOGIN":
		x.Login = v
	case "IDENT":
		x.Ident = v
	case "SOURCE":
		x.Source = strings.ToUpper(v)
		return x.Source == "LOCAL" || x.Source == "REMOTE"
	}
	return true
}

func setAddr(p *netip.AddrPort, v string) bool {
	if len(v) > 5 && strings.EqualFold(v[:5], "IPV6:") {
		v = v[5:]
	}
	a, err := netip.ParseAddr(v)
	*p = netip.AddrPortFrom(a.Unmap(), p.Port())
	return err == nil && a.Zone() == ""
}

func setPort(p *netip.AddrPort, v string) bool {
	n, err := strconv.ParseUint(v, 10, 16)
	*p = netip.AddrPortFrom(p.Addr(), uint16(n))
	return err == nil
}

// String gives the words that were set, for people.
func (x XClient) String() string {
	var words []string
	for _, w := range []struct{ k, v string }{
		{"client", x.Name},
		{"", addrText(x.Addr)},
		{"to", addrText(x.Dest)},
		{"with", x.Protocol},
		{"helo", x.Helo},
		{"login", x.Login},
		{"id", x.Ident},
		{"from", x.Source},
	} {
		if w.v != "" {
			words = append(words, strings.TrimPrefix(w.k+" "+w.v, " "))
		}
	}
	return strings.Join(words, " ")
}

func addrText(a netip.AddrPort) string {
	switch {
	case !a.Addr().IsValid():
		return ""
	case a.Port() == 0:
		return "[" + a.Addr().String() + "]"
	}
	return a.String()
}

// With gives x with what is set in more, which may come in several commands.
func (x XClient) With(more XClient) XClient {
	for _, f := range []struct {
		to   *string
		from string
	}{
		{&x.Name, more.Name},
		{&x.Protocol, more.Protocol},
		{&x.Helo, more.Helo},
		{&x.Login, more.Login},
		{&x.Ident, more.Ident},
		{&x.Source, more.Source},
	} {
		if f.from != "" {
			*f.to = f.from
		}
	}
	x.Addr, x.Dest = overlay(x.Addr, more.Addr), overlay(x.Dest, more.Dest)
	return x
}

func overlay(a, more netip.AddrPort) netip.AddrPort {
	if more.Addr().IsValid() {
		a = netip.AddrPortFrom(more.Addr(), a.Port())
	}
	if more.Port() != 0 {
		a = netip.AddrPortFrom(a.Addr(), more.Port())
	}
	return a
}
