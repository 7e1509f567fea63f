package tlspolicy

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"postel/internal/dns"
	"postel/internal/mail"
	"postel/internal/tlspolicy/dane"
	"postel/internal/tlspolicy/mtasts"
	"postel/internal/tlspolicy/tlsrpt"
)

// Policies gives the policies of MTA-STS; *mtasts.Client does.
type Policies interface {
	Policy(ctx context.Context, d mail.Domain) mtasts.Found
}

// Options of a Keeper. Resolver, Policies and Memory are needed.
type Options struct {
	Resolver dns.Resolver
	Policies Policies
	Memory   Memory
	Reports  Reports          // nil: nothing is counted
	Clock    func() time.Time // nil is time.Now
	Log      *slog.Logger     // nil is none
}

// Keeper decides, and remembers. Safe for concurrent use.
type Keeper struct{ o Options }

// New makes a Keeper.
func New(o Options) *Keeper {
	if o.Clock == nil {
		o.Clock = time.Now
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return &Keeper{o}
}

// Destination is a domain that mail is to go to; it belongs to one attempt.
type Destination struct {
	k         *Keeper
	domain    mail.Domain
	canonical string // where its CNAMEs lead; "" without any
	authentic bool   // the answer that named its hosts
	known     Remembered
	sts       *mtasts.Found // nil until it is asked for
}

// Destination begins decisions about the hosts of a domain. canonical is where its CNAMEs lead, "" without any; authentic
// tells that DNSSEC vouches for them and for the MX answer, or for there being none.
func (k *Keeper) Destination(ctx context.Context, d mail.Domain, canonical string, authentic bool) *Destination {
	known, err := k.o.Memory.Load(ctx, d)
	if err != nil {
		k.o.Log.Warn("what is remembered of a domain's TLS cannot be read", "domain", d, "err", err)
	}
	return &Destination{k: k, domain: d, canonical: canonical, authentic: authentic, known: known}
}

// Host decides about one of the hosts, named as the MX record does.
func (d *Destination) Host(ctx context.Context, host string) Decision {
	dec := Decision{Domain: d.domain, Host: host, Vouched: d.authentic, counted: tlsrpt.Policy{Type: tlsrpt.NoPolicy, Domain: d.domain}}
	now := d.k.o.Clock()
	dec.seen, dec.verified = d.known.Hosts[host], d.known.DANE
	dec.before = dec.seen.Encrypted.After(now.Add(-keepSeen))
	dec.fallback = dec.seen.Failed.After(now.Add(-keepFailed))
	if _, literal := d.domain.Literal(); literal {
		dec.say("", "an address literal has neither TLSA records nor a policy")
		return dec.opportunistic()
	}
	if d.byTLSA(ctx, &dec, now) || d.byPolicy(ctx, &dec) || dec.Level > May {
		return dec
	}
	return dec.opportunistic()
}

func (d *Decision) say(clause, format string, args ...any) {
	d.Steps = append(d.Steps, Step{fmt.Sprintf(format, args...), clause})
}

func (d *Decision) refuse(code mail.Enhanced, format string, args ...any) {
	d.Refused = &mail.Error{Op: "tlspolicy", Kind: mail.Unavailable, Code: code, Text: fmt.Sprintf(format, args...)}
}

// opportunistic is the last resort.
func (d Decision) opportunistic() Decision {
	switch {
	case d.fallback:
		d.say("RFC 7435 §3", "TLS failed in an earlier attempt: when it fails again, in clear")
	case d.before:
		d.say("RFC 7435 §3", "TLS was spoken lately: in clear at the next attempt at the earliest")
	default:
		d.say("RFC 7435 §3", "TLS where it is offered, not verified")
	}
	return d
}

// byTLSA is what DNSSEC says.
func (d *Destination) byTLSA(ctx context.Context, dec *Decision, now time.Time) (settled bool) {
	if !d.authentic {
		if until := d.known.DANE.Add(keepDANE); now.Before(until) {
			dec.say("RFC 7672 §2.2", "TLSA records verified a host of this domain lately, and DNSSEC does not protect it any more: a downgrade")
			dec.refuse(mail.Enhanced{4, 7, 5}, "%s was protected by DNSSEC and TLSA records until lately and is not now; nothing is sent to it before %s",
				d.domain, until.UTC().Format("2006-01-02 15:04 UTC"))
			dec.amiss(tlsrpt.Policy{Type: tlsrpt.TLSA, Domain: mail.Domain(dec.Host)}, tlsrpt.DANERequired, "no DNSSEC for the MX records, where there was until lately")
			d.k.o.Log.Warn("downgrade: a domain was protected by DNSSEC and TLSA records and is not now", "domain", d.domain, "until", until)
			return true
		}
		dec.say("RFC 7672 §2.2.1", "no DNSSEC for the domain's MX records, as the resolver sees it: TLSA records do not count")
		return false
	}
	f := dane.Lookup(ctx, d.k.o.Resolver, dec.Host)
	switch {
	case f.Err != nil:
		dec.say("RFC 7672 §2.1.2", "the TLSA records of %s cannot be looked up: it must not be used", dec.Host)
		dec.refuse(mail.Enhanced{4, 4, 3}, "the TLSA records of %s cannot be looked up", dec.Host)
		dec.amiss(tlsrpt.Policy{Type: tlsrpt.TLSA, Domain: mail.Domain(dec.Host)}, tlsrpt.DNSSECInvalid, "the TLSA records cannot be looked up")
		return true
	case len(f.Records) > 0:
		dec.Level, dec.Records, dec.Base = TLSA, f.Records, f.Base
		dec.Names = dane.Names(f.Base, dec.Host, string(d.domain), d.canonical)
		dec.counted = tlsaPolicy(f)
		dec.say("RFC 7672 §2.2", "the certificate must fit one of the TLSA records at _25._tcp.%s (%d usable)", f.Base, len(f.Records))
		return true
	case f.Unusable > 0:
		dec.Level = Encrypted
		dec.amiss(tlsaPolicy(f), tlsrpt.TLSAInvalid, "none of the TLSA records is usable")
		dec.say("RFC 7672 §2.2", "none of the TLSA records at _25._tcp.%s is usable: TLS is a must, without verification", f.Base)
	case f.Insecure:
		dec.say("RFC 7672 §2.2.2", "no DNSSEC for the addresses of %s", dec.Host)
	default:
		dec.say("RFC 7672 §2.2", "%s has no TLSA records, as DNSSEC proves or its zone leaves open", dec.Host)
	}
	return false
}

// byPolicy is what MTA-STS says.
func (d *Destination) byPolicy(ctx context.Context, dec *Decision) (settled bool) {
	if d.sts == nil {
		f := d.k.o.Policies.Policy(ctx, d.domain)
		d.sts = &f
	}
	f := d.sts
	if f.Cause != "" {
		dec.amiss(stsPolicy(d.domain, *f), causes[f.Cause], f.Why)
	}
	if !f.Valid || f.Policy.Mode == mtasts.None {
		if why := f.Why; f.Valid {
			dec.say("RFC 8461 §5", "the policy of MTA-STS is none (%s)", why)
		} else {
			dec.say("RFC 8461 §3.1", "no policy of MTA-STS: %s", why)
		}
		return false
	}
	covered := f.Policy.Covers(dec.Host)
	dec.Vouched = dec.Vouched || covered
	switch {
	case f.Policy.Mode == mtasts.Enforce && covered:
		dec.Level, dec.counted = WebPKI, stsPolicy(d.domain, *f)
		dec.say("RFC 8461 §5", "the policy of MTA-STS (%s) is enforce and names %s: its certificate must verify for that name", f.Why, dec.Host)
		return true
	case f.Policy.Mode == mtasts.Enforce:
		dec.say("RFC 8461 §5", "the policy of MTA-STS (%s) is enforce and does not name %s: it must not be used", f.Why, dec.Host)
		dec.amiss(stsPolicy(d.domain, *f), tlsrpt.Invalid, notNamed)
		dec.refuse(mail.Enhanced{4, 7, 0}, "the policy of %s (MTA-STS) does not name its MX %s", d.domain, dec.Host)
		return true
	case covered:
		dec.Testing, dec.counted = true, stsPolicy(d.domain, *f)
		dec.say("RFC 8461 §5", "the policy of MTA-STS (%s) is testing and names %s: what does not verify is told, and delivered to all the same", f.Why, dec.Host)
	default:
		dec.say("RFC 8461 §5", "the policy of MTA-STS (%s) is testing and does not name %s", f.Why, dec.Host)
		dec.amiss(stsPolicy(d.domain, *f), tlsrpt.Invalid, notNamed)
		d.k.o.Log.Warn("a policy in testing does not name a host", "domain", d.domain, "host", dec.Host)
	}
	return false
}
