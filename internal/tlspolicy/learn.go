package tlspolicy

import (
	"context"
	"time"

	"postel/internal/mail"
)

// Outcome is what became of a session's TLS.
type Outcome uint8

// The outcomes.
const (
	Secured Outcome = iota // the session is under TLS, as the decision wants it
	InClear                // it is in clear, as the decision allows
	Broke                  // TLS did not come about, or was not offered where it was demanded
)

// Learn remembers what became of a session with the host of a decision.
func (k *Keeper) Learn(ctx context.Context, d Decision, o Outcome) {
	if d.waived {
		return // a session for one message tells little of the host
	}
	now := k.o.Clock()
	switch o {
	case Secured:
		verified := d.Level == TLSA && now.Sub(d.verified) > daneAgain
		if verified || now.Sub(d.seen.Encrypted) > seenAgain || !d.seen.Failed.IsZero() {
			k.change(ctx, d, verified, func(r *Remembered) {
				if d.Level == TLSA {
					r.DANE = now
				}
				r.host(d.Host, func(s *Seen) { *s = Seen{Encrypted: now} })
			})
		}
	case InClear:
		if d.before || d.fallback && now.Sub(d.seen.Failed) > seenAgain {
			k.o.Log.Warn("downgrade: a host is spoken to in clear, which spoke TLS or offered it", "domain", d.Domain, "host", d.Host)
			k.change(ctx, d, false, func(r *Remembered) { r.host(d.Host, func(s *Seen) { *s = Seen{Failed: now} }) })
		}
	case Broke:
		if d.Level == May && !d.fallback {
			k.o.Log.Warn("TLS failed where it may be done without: in clear at the next attempt at the earliest", "domain", d.Domain, "host", d.Host)
			k.change(ctx, d, false, func(r *Remembered) { r.host(d.Host, func(s *Seen) { s.Failed = now }) })
		}
	}
}

func (k *Keeper) change(ctx context.Context, d Decision, durable bool, fn func(*Remembered)) {
	if err := k.o.Memory.Change(ctx, d.Domain, durable, fn); err != nil {
		k.o.Log.Warn("what a session's TLS came to cannot be remembered", "domain", d.Domain, "err", err)
	}
}

// Bounds of one Tend.
const (
	maxForgotten = 1000
	maxRenewed   = 50
)

// Tend forgets what does not count any more and renews policies that are about to lapse, of domains that had mail
// lately (RFC 8461 §3.3). To be called every hour or so.
func (k *Keeper) Tend(ctx context.Context) error {
	now := k.o.Clock()
	var stale, lapsing []mail.Domain
	err := k.o.Memory.All(ctx, func(d mail.Domain, r Remembered) {
		recent := false
		for _, s := range r.Hosts {
			recent = recent || now.Sub(s.Encrypted) < keepSeen
		}
		end := r.STS.Fetched.Add(r.STS.Policy.MaxAge)
		if recent && r.STS.Holds(now) && end.Sub(now) < lapsesSoon && len(lapsing) < maxRenewed {
			lapsing = append(lapsing, d)
		}
		if r.prune(now) && len(stale) < maxForgotten {
			stale = append(stale, d)
		}
	})
	for _, d := range stale {
		if err != nil {
			break
		}
		err = k.o.Memory.Change(ctx, d, false, func(r *Remembered) { r.prune(now) })
	}
	for _, d := range lapsing {
		if ctx.Err() == nil {
			k.o.Policies.Policy(ctx, d)
		}
	}
	return err
}

// lapsesSoon is how near its end a policy is renewed though no mail asks for it.
const lapsesSoon = 24 * time.Hour
