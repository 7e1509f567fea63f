package tlspolicy

import (
	"context"
	"encoding/json"
	"maps"
	"time"

	"postel/internal/mail"
	"postel/internal/tlspolicy/mtasts"
)

// How long what was seen counts.
const (
	keepDANE   = 48 * time.Hour      // that TLSA records verified a host
	keepSeen   = 30 * 24 * time.Hour // that a host spoke TLS
	keepFailed = 7 * 24 * time.Hour  // that its TLS failed

	seenAgain = 24 * time.Hour // what is remembered is not written anew before it is as old
	daneAgain = 6 * time.Hour
)

// maxRemembered bounds the hosts that are remembered of a domain.
const maxRemembered = 32

// Memory keeps what is remembered of domains. Safe for concurrent use.
type Memory interface {
	// Load gives what is remembered of a domain; the zero value when nothing is.
	Load(ctx context.Context, d mail.Domain) (Remembered, error)
	// Change changes it in one step; what is Empty afterwards is forgotten. durable says that it outlives a crash. fn may
	// run more than once.
	Change(ctx context.Context, d mail.Domain, durable bool, fn func(*Remembered)) error
	// All gives everything that is remembered, in no order; fn may call Change.
	All(ctx context.Context, fn func(d mail.Domain, r Remembered)) error
}

// Remembered is what is known of a domain.
type Remembered struct {
	STS   mtasts.Entry    `json:"sts,omitzero"`
	DANE  time.Time       `json:"dane,omitzero"`   // the last session that TLSA records verified
	Hosts map[string]Seen `json:"hosts,omitempty"` // by the name of the MX
}

// Seen is what is known of a host.
type Seen struct {
	Encrypted time.Time `json:"encrypted,omitzero"` // the last session under TLS
	Failed    time.Time `json:"failed,omitzero"`    // the last TLS that did not come about, where it may be done without
}

// Empty tells whether nothing is remembered.
func (r Remembered) Empty() bool {
	return r.STS.Fetched.IsZero() && r.STS.Failed.IsZero() && r.DANE.IsZero() && len(r.Hosts) == 0
}

const version = 1

type row struct {
	V int `json:"v"`
	Remembered
}

// Encode gives the value of a row.
func (r Remembered) Encode() ([]byte, error) { return json.Marshal(row{version, r}) }

// Decode reads the value of a row. Kind Invalid.
func Decode(b []byte) (Remembered, error) {
	var v row
	if err := json.Unmarshal(b, &v); err != nil || v.V != version {
		return Remembered{}, &mail.Error{Op: "tlspolicy.decode", Kind: mail.Invalid, Text: "what is remembered of TLS cannot be read", Err: err}
	}
	return v.Remembered, nil
}

// host changes what is known of a host; the one that was heard of least lately makes room.
func (r *Remembered) host(name string, fn func(*Seen)) {
	hosts := maps.Clone(r.Hosts)
	if hosts == nil {
		hosts = map[string]Seen{}
	}
	s := hosts[name]
	fn(&s)
	hosts[name] = s
	if len(hosts) > maxRemembered {
		oldest := name
		for n, s := range hosts {
			if s.last().Before(hosts[oldest].last()) {
				oldest = n
			}
		}
		delete(hosts, oldest)
	}
	r.Hosts = hosts
}

func (s Seen) last() time.Time {
	if s.Failed.After(s.Encrypted) {
		return s.Failed
	}
	return s.Encrypted
}

// prune forgets what does not count any more, and tells whether there was any.
func (r *Remembered) prune(now time.Time) (changed bool) {
	known := !r.STS.Fetched.IsZero() || !r.STS.Failed.IsZero()
	if known && !r.STS.Holds(now) && now.Sub(r.STS.Failed) > seenAgain {
		r.STS, changed = mtasts.Entry{}, true
	}
	if !r.DANE.IsZero() && now.Sub(r.DANE) > keepDANE {
		r.DANE, changed = time.Time{}, true
	}
	hosts := maps.Clone(r.Hosts)
	maps.DeleteFunc(hosts, func(_ string, s Seen) bool {
		return now.Sub(s.Encrypted) > keepSeen && now.Sub(s.Failed) > keepFailed
	})
	changed = changed || len(hosts) != len(r.Hosts)
	r.Hosts = hosts
	return changed
}

// PolicyCache is the part of a Memory that mtasts keeps its policies in.
func PolicyCache(m Memory) mtasts.Cache { return policyCache{m} }

type policyCache struct{ m Memory }

func (c policyCache) Policy(ctx context.Context, d mail.Domain) (mtasts.Entry, error) {
	r, err := c.m.Load(ctx, d)
	return r.STS, err
}

func (c policyCache) KeepPolicy(ctx context.Context, d mail.Domain, e mtasts.Entry) error {
	return c.m.Change(ctx, d, true, func(r *Remembered) { r.STS = e })
}
