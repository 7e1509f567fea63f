package app

import (
	"context"

	"postel/internal/kv"
	"postel/internal/mail"
	"postel/internal/tlspolicy"
	"postel/internal/tlspolicy/mtasts"
	"postel/internal/tlspolicy/tlsrpt"
)

// tlsPolicy decides how sessions with other servers are secured.
func (n *node) tlsPolicy() *tlspolicy.Keeper {
	memory := tlsMemory{n.kv}
	o := mtasts.Options{Resolver: n.resolver, Cache: tlspolicy.PolicyCache(memory), Clock: n.clock, Log: n.Log}
	if n.Dev != nil {
		o.AllowLoopback, o.Port = true, n.Dev.HTTPSPort
	}
	n.policies = mtasts.New(o)
	n.tlsKeeper = tlspolicy.New(tlspolicy.Options{Resolver: n.resolver, Policies: n.policies, Memory: memory, Reports: n.reporter(), Clock: n.clock, Log: n.Log})
	return n.tlsKeeper
}

// reporter counts sessions for the reports on TLS, and sends these.
func (n *node) reporter() *tlsrpt.Reporter {
	c := n.Config
	n.tlsReports = tlsrpt.New(tlsrpt.Options{
		Ledger: tlsLedger{n.kv}, Resolver: n.resolver, Daily: c.TLSReports.Send == "on" && n.Dev == nil, Hostname: string(c.Hostname),
		Organization: c.TLSReports.Organization, Contact: n.contact(), AllowLoopback: n.Dev != nil,
		Only: func(ctx context.Context, fn func()) { n.only(ctx, "tlsrpt", fn) }, Clock: n.clock, Log: n.Log,
	})
	return n.tlsReports
}

// contact is the address for questions about our reports.
func (n *node) contact() string {
	c := n.Config
	switch {
	case c.TLSReports.Contact != (mail.Address{}):
		return c.TLSReports.Contact.String()
	case c.Admin != (mail.Address{}):
		return c.Admin.String()
	case len(c.Domains) > 0:
		return "postmaster@" + string(c.Domains[0].Name)
	}
	return "postmaster@" + string(c.Hostname)
}

// tlsMemory is a tlspolicy.Memory on rows, each under a lock of its own name.
type tlsMemory struct{ kv kv.Store }

func tlsKey(d mail.Domain) kv.Key { return kv.K(kv.TLSMemory).Text(string(d)) }

// Load implements tlspolicy.Memory.
func (m tlsMemory) Load(ctx context.Context, d mail.Domain) (r tlspolicy.Remembered, err error) {
	k := tlsKey(d)
	err = m.kv.View(ctx, []kv.Key{k}, func(rd kv.Reader) error {
		r, err = remembered(rd, k)
		return err
	})
	return r, err
}

// remembered reads a row.
func remembered(rd kv.Reader, k kv.Key) (tlspolicy.Remembered, error) {
	v, err := rd.Get(k)
	switch {
	case mail.Is(err, mail.NotFound):
		return tlspolicy.Remembered{}, nil
	case err != nil:
		return tlspolicy.Remembered{}, err
	}
	return tlspolicy.Decode(v)
}

// Change implements tlspolicy.Memory. A row that cannot be read begins anew.
func (m tlsMemory) Change(ctx context.Context, d mail.Domain, durable bool, fn func(*tlspolicy.Remembered)) error {
	k := tlsKey(d)
	return m.kv.Update(ctx, kv.Txn{Lock: []kv.Key{k}, Lazy: !durable}, func(tx kv.Tx) error {
		r, err := remembered(tx, k)
		if err != nil && !mail.Is(err, mail.Invalid) {
			return err
		}
		fn(&r)
		if r.Empty() {
			tx.Delete(k)
			return nil
		}
		v, err := r.Encode()
		if err != nil {
			return err
		}
		tx.Set(k, v)
		return nil
	})
}

// pageOfDomains is how many rows are read at once.
const pageOfDomains = 1000

// All implements tlspolicy.Memory. What it gives may not be synced yet: whoever changes something because of it looks
// again under the lock.
func (m tlsMemory) All(ctx context.Context, fn func(d mail.Domain, r tlspolicy.Remembered)) error {
	type row struct {
		d mail.Domain
		r tlspolicy.Remembered
	}
	from, end := kv.K(kv.TLSMemory), kv.K(kv.TLSMemory).End()
	for from != nil {
		var page []row
		err := m.kv.View(ctx, nil, func(rd kv.Reader) error {
			page = page[:0]
			n := 0
			next := kv.Key(nil)
			for r, err := range rd.Scan(from, end, kv.ScanOptions{Limit: pageOfDomains}) {
				if err != nil {
					return err
				}
				n++
				next = append(append(kv.Key(nil), r.Key...), 0)
				if v, err := tlspolicy.Decode(r.Value); err == nil {
					page = append(page, row{mail.Domain(r.Key[len(kv.TLSMemory):]), v})
				}
			}
			if from = nil; n == pageOfDomains {
				from = next
			}
			return nil
		})
		if err != nil {
			return err
		}
		for _, r := range page {
			fn(r.d, r.r)
		}
	}
	return nil
}
