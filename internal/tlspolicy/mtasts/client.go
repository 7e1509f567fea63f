package mtasts

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"log/slog"
	"net"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"

	"postel/internal/dns"
	"postel/internal/mail"
)

// Entry is what is kept of a domain.
type Entry struct {
	Policy  Policy    `json:"policy"`
	ID      string    `json:"id"`                // of the record that announced it
	Fetched time.Time `json:"fetched"`           // zero: there is no policy, only a fetch that failed
	Failed  time.Time `json:"failed"`            // the last fetch, if it failed
	Failure Cause     `json:"failure,omitempty"` // of that
}

// Cause is in which way a policy that a record announces cannot be had.
type Cause string

// The causes.
const (
	Unfetched  Cause = "fetch"  // its host cannot be reached, or answers otherwise
	Untrusted  Cause = "webpki" // the certificate of its host does not verify
	Unreadable Cause = "policy" // it is there, and none
)

// Holds tells whether the entry has a policy whose time is not over.
func (e Entry) Holds(now time.Time) bool {
	return !e.Fetched.IsZero() && now.Before(e.Fetched.Add(e.Policy.MaxAge))
}

// Cache keeps entries. Safe for concurrent use.
type Cache interface {
	// Policy gives what is kept of a domain, the zero Entry when nothing is.
	Policy(ctx context.Context, d mail.Domain) (Entry, error)
	// KeepPolicy replaces it.
	KeepPolicy(ctx context.Context, d mail.Domain, e Entry) error
}

// Options of a Client. Resolver and Cache are needed.
type Options struct {
	Resolver      dns.Resolver
	Cache         Cache
	Dial          func(ctx context.Context, network, addr string) (net.Conn, error) // nil is net.Dialer's
	Roots         *x509.CertPool                                                    // nil is the system's
	Port          uint16                                                            // of policy hosts; 0 is 443
	AllowLoopback bool                                                              // policy hosts may be on this machine
	Clock         func() time.Time                                                  // nil is time.Now
	Log           *slog.Logger                                                      // nil is none
}

// Client gives the policies of domains. Safe for concurrent use.
type Client struct {
	o      Options
	flight singleflight.Group

	life    context.Context // of what goes on beside the calls
	end     context.CancelFunc
	running sync.WaitGroup
}

// New makes a Client; Close ends it.
func New(o Options) *Client {
	if o.Clock == nil {
		o.Clock = time.Now
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	c := &Client{o: o}
	c.life, c.end = context.WithCancel(context.Background())
	return c
}

// Close ends fetches that are under way and waits for them.
func (c *Client) Close() {
	c.end()
	c.running.Wait()
}

// Found is what is known of a domain's policy.
type Found struct {
	Entry
	Valid bool   // there is a policy, and it holds
	Why   string // in a few words: where it comes from, or why there is none
	Fault bool   // something is amiss with what the domain publishes, or it could not be asked
	Cause Cause  // why the policy that the record announces cannot be had now; "" where it can, or there is none
}

const (
	retryAfter = 5 * time.Minute // a fetch that failed (RFC 8461 §3.3)
	daily      = 24 * time.Hour  // how old a policy gets before it is fetched anew beside its use
)

// Policy gives the policy that holds for a domain now; it asks for the record, and fetches the policy when that is
// new. Nothing that goes wrong is an error: what was kept holds on until its time is over (RFC 8461 §5.1).
func (c *Client) Policy(ctx context.Context, d mail.Domain) Found {
	if _, literal := d.Literal(); literal {
		return Found{Why: "an address has no policy"}
	}
	now := c.o.Clock()
	kept, err := c.o.Cache.Policy(ctx, d)
	if err != nil {
		c.o.Log.Warn("what is kept of a policy cannot be read", "domain", d, "err", err)
	}
	f := Found{Entry: kept, Valid: kept.Holds(now), Why: "kept"}
	id, why, fault := c.record(ctx, d)
	switch {
	case id == "":
		f.Why, f.Fault = why, fault
		if f.Valid {
			f.Why = "kept, though " + why
		}
		return f
	case f.Valid && id == kept.ID:
		if now.Sub(kept.Fetched) > min(daily, kept.Policy.MaxAge/2) && now.Sub(kept.Failed) > retryAfter {
			c.refresh(d, id, kept)
		}
		return f
	case now.Sub(kept.Failed) < retryAfter && !kept.Failed.IsZero():
		f.Fault, f.Why, f.Cause = true, "the last fetch failed; the next is not before five minutes are over", kept.Failure
		return f
	}
	return c.renew(ctx, d, id, kept)
}

// record asks for the TXT record.
func (c *Client) record(ctx context.Context, d mail.Domain) (id, why string, fault bool) {
	a, err := c.o.Resolver.Lookup(ctx, "_mta-sts."+string(d), dns.TXT)
	switch {
	case mail.Is(err, mail.NotFound):
		return "", "_mta-sts." + string(d) + " has no TXT record", false
	case err != nil:
		return "", "_mta-sts." + string(d) + " cannot be looked up", true
	case len(a.Records) == 0:
		return "", "_mta-sts." + string(d) + " has no TXT record", false
	}
	texts := make([]string, len(a.Records))
	for i, r := range a.Records {
		texts[i] = r.Text
	}
	id, why = ParseRecord(texts)
	return id, why, id == ""
}

// renew fetches the policy and keeps it; calls for one domain at one time are one fetch, which outlives the caller that
// began it. When it fails, what was kept holds on.
func (c *Client) renew(ctx context.Context, d mail.Domain, id string, kept Entry) Found {
	ch := make(chan Found, 1)
	c.running.Go(func() {
		f, _, _ := c.flight.Do(string(d), func() (any, error) { return c.replace(d, id, kept), nil })
		ch <- f.(Found)
	})
	select {
	case f := <-ch:
		return f
	case <-ctx.Done():
		return Found{Entry: kept, Valid: kept.Holds(c.o.Clock()), Why: "the policy could not be fetched in time", Fault: true}
	}
}

// replace is the fetch of renew, and the keeping of what came of it.
func (c *Client) replace(d mail.Domain, id string, kept Entry) Found {
	policy, err := c.fetch(c.life, d)
	now := c.o.Clock()
	f := Found{Entry: Entry{Policy: policy, ID: id, Fetched: now}, Valid: true, Why: "fetched"}
	if c.life.Err() != nil {
		return Found{Entry: kept, Valid: kept.Holds(now), Why: "interrupted", Fault: true}
	}
	if err != nil {
		kept.Failed, kept.Failure = now, causeOf(err)
		f = Found{Entry: kept, Valid: kept.Holds(now), Why: why(err), Fault: true, Cause: kept.Failure}
		c.o.Log.Warn("a policy of MTA-STS cannot be had", "domain", d, "kept", f.Valid, "err", err)
	}
	if err := c.o.Cache.KeepPolicy(c.life, d, f.Entry); err != nil {
		c.o.Log.Warn("a policy cannot be kept", "domain", d, "err", err)
	}
	return f
}

// refresh is renew beside the call.
func (c *Client) refresh(d mail.Domain, id string, kept Entry) {
	if c.life.Err() == nil {
		c.running.Go(func() { c.renew(c.life, d, id, kept) })
	}
}

func causeOf(err error) Cause {
	var cert *tls.CertificateVerificationError
	switch {
	case errors.As(err, &cert):
		return Untrusted
	case mail.Is(err, mail.Invalid):
		return Unreadable
	}
	return Unfetched
}

func why(err error) string {
	if e, ok := err.(*mail.Error); ok && e.Text != "" { //nolint:errorlint // fetch and ParsePolicy give it as it is
		return e.Text
	}
	return err.Error()
}
