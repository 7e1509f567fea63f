package dns

import (
	"context"
	"net"
	"net/netip"
	"time"

	wire "github.com/miekg/dns"
	"golang.org/x/sync/singleflight"

	"postel/internal/mail"
)

// Options configure a Client. The zero value asks the system's servers.
type Options struct {
	Servers    []string         // "192.0.2.1:53", "[::1]:53" or an address alone; none: those of resolv.conf
	ResolvConf string           // read when Servers is empty; empty is /etc/resolv.conf
	Trusted    []netip.Prefix   // where servers are whose AD bit is believed, besides loopback
	Timeout    time.Duration    // of one query to one server; 0 is 3 s
	Rounds     int              // how often all servers are tried; 0 is 2
	CacheBytes int              // what the cache may hold; 0 is 8 MiB, negative keeps nothing
	Now        func() time.Time // nil is time.Now
}

// maxServers bounds how many servers one question may visit in a round.
const maxServers = 4

// Client is a Resolver over UDP and TCP.
type Client struct {
	opts    Options
	servers *serverList
	cache   *cache
	flight  singleflight.Group
}

// New makes a Client. An error (Kind Invalid) names a server that is no address.
func New(o Options) (*Client, error) {
	if o.Timeout <= 0 {
		o.Timeout = 3 * time.Second
	}
	if o.Rounds <= 0 {
		o.Rounds = 2
	}
	if o.CacheBytes == 0 {
		o.CacheBytes = 8 << 20
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	servers, err := newServerList(o)
	if err != nil {
		return nil, err
	}
	return &Client{opts: o, servers: servers, cache: newCache(o.CacheBytes)}, nil
}

// Lookup is Resolver's.
func (c *Client) Lookup(ctx context.Context, name string, t Type) (Answer, error) {
	name, err := cleanName(name)
	if err != nil {
		return Answer{}, err
	}
	if neverAsked(name) {
		return Answer{Name: name, Canonical: name}, notFound(name)
	}
	k := question{name, t}
	if r, ok := c.cache.get(k, c.opts.Now()); ok {
		return r.answer, r.err
	}
	// The query outlives the caller that began it, because others may be waiting for it too.
	ch := c.flight.DoChan(name+" "+t.String(), func() (any, error) {
		own, cancel := context.WithTimeout(context.WithoutCancel(ctx), c.budget())
		defer cancel()
		r := c.resolve(own, k)
		c.cache.put(k, r, c.opts.Now())
		return r, nil
	})
	select {
	case got := <-ch:
		r := got.Val.(result)
		return r.answer, r.err
	case <-ctx.Done():
		return Answer{Name: name}, &mail.Error{Op: "dns.lookup", Kind: mail.Canceled, Code: mail.Enhanced{4, 4, 3}, Err: ctx.Err()}
	}
}

// Flush empties the cache.
func (c *Client) Flush() { c.cache.flush() }

// budget is the time that one question may take, all servers, rounds and CNAMEs together.
func (c *Client) budget() time.Duration {
	return c.opts.Timeout * time.Duration(2*c.opts.Rounds*maxServers)
}

// result is what is kept of a question.
type result struct {
	answer Answer
	err    error
}

// maxChase bounds the questions asked for one name whose CNAMEs the server does not follow itself.
const maxChase = 8

// resolve asks, and asks on when the server gave a CNAME without following it.
func (c *Client) resolve(ctx context.Context, q question) result {
	total := Answer{Name: q.name, Canonical: q.name, Authentic: true, TTL: maxTTL}
	for range maxChase {
		msg, trusted, err := c.exchange(ctx, total.Canonical, q.typ)
		if err != nil {
			return result{Answer{Name: q.name, TTL: failureTTL}, err}
		}
		part := readAnswer(msg, total.Canonical, q.typ)
		total.Canonical, total.Records = part.canonical, part.records
		total.Authentic = total.Authentic && trusted && msg.AuthenticatedData
		total.TTL = min(total.TTL, part.ttl)
		switch {
		case part.looped:
			return result{Answer{Name: q.name, TTL: failureTTL}, unavailable(q.name, "its CNAMEs lead in a circle")}
		case msg.Rcode == wire.RcodeNameError:
			total.Records = nil
			return result{total, notFound(q.name)}
		case part.chase:
			continue
		}
		return result{total, nil}
	}
	return result{Answer{Name: q.name, TTL: failureTTL}, unavailable(q.name, "too many CNAMEs")}
}

// exchange asks the servers in turn until one gives an answer that says something: NOERROR or NXDOMAIN.
// trusted tells whether that server's AD bit may be believed.
func (c *Client) exchange(ctx context.Context, name string, t Type) (msg *wire.Msg, trusted bool, err error) {
	servers := c.servers.get(c.opts.Now())
	var last error
	for range c.opts.Rounds {
		for _, s := range servers {
			msg, err := c.ask(ctx, s, name, t)
			switch {
			case err != nil:
				last = err
			case referral(msg):
				last = unavailable(name, "the DNS server does not look up for others")
			case msg.Rcode == wire.RcodeSuccess || msg.Rcode == wire.RcodeNameError:
				return msg, s.trusted, nil
			default:
				last = unavailable(name, "the DNS server answered "+wire.RcodeToString[msg.Rcode])
			}
			if ctx.Err() != nil {
				return nil, false, unavailableBy(name, ctx.Err())
			}
		}
	}
	return nil, false, unavailableBy(name, last)
}

// ask puts the question to one server: UDP, then TCP when the answer was cut off; without EDNS when the server
// does not know it (RFC 6891 §7).
func (c *Client) ask(ctx context.Context, s server, name string, t Type) (*wire.Msg, error) {
	msg, err := c.once(ctx, "udp", s, newQuery(name, t, true))
	if err == nil && (msg.Rcode == wire.RcodeFormatError || msg.Rcode == wire.RcodeNotImplemented) {
		msg, err = c.once(ctx, "udp", s, newQuery(name, t, false))
	}
	if err == nil && msg.Truncated {
		msg, err = c.once(ctx, "tcp", s, newQuery(name, t, true))
	}
	return msg, err
}

// udpSize is the UDP payload that we take: what passes without fragments nearly everywhere.
const udpSize = 1232

func newQuery(name string, t Type, edns bool) *wire.Msg {
	m := new(wire.Msg)
	m.SetQuestion(wire.Fqdn(name), uint16(t))
	m.RecursionDesired = true
	m.AuthenticatedData = true // asks for the AD bit without the records behind it (RFC 6840 §5.7)
	if edns {
		m.SetEdns0(udpSize, false)
	}
	return m
}

// once is one query over one transport. Over UDP replies that are not for this query are dropped and the wait
// goes on, so that a forger must guess id, port and question (RFC 5452 §9).
func (c *Client) once(ctx context.Context, network string, s server, q *wire.Msg) (*wire.Msg, error) {
	ctx, cancel := context.WithTimeout(ctx, c.opts.Timeout)
	defer cancel()
	raw, err := new(net.Dialer).DialContext(ctx, network, s.addr)
	if err != nil {
		return nil, err
	}
	defer raw.Close()
	stop := context.AfterFunc(ctx, func() { _ = raw.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	conn := &wire.Conn{Conn: raw, UDPSize: udpSize}
	if err := conn.WriteMsg(q); err != nil {
		return nil, err
	}
	for {
		msg, err := conn.ReadMsg()
		switch {
		case msg != nil && repeats(msg, q) && (err == nil || msg.Truncated):
			return msg, nil // one cut off within a record still says that it was cut off
		case network == "tcp" && err == nil:
			return nil, unavailable(q.Question[0].Name, "the DNS server's answer does not match the question")
		case ctx.Err() != nil:
			return nil, ctx.Err()
		case err != nil && (network == "tcp" || isNetError(err)):
			return nil, err
		}
	}
}
