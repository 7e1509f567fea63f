package dane

import (
	"context"
	"slices"

	"postel/internal/dns"
	"postel/internal/mail"
)

// Found is what DNS vouches for at one host.
type Found struct {
	Base     string           // the TLSA base domain, "" without one (RFC 7672 §2.2.3)
	Records  []dns.CertRecord // the usable ones
	Unusable int              // how many others there are
	Insecure bool             // the host's addresses are not protected by DNSSEC
	Err      error            // the look-up failed: the host must not be used
}

// Applies tells whether there are records, so that TLS is a must.
func (f Found) Applies() bool { return len(f.Records)+f.Unusable > 0 }

// Lookup asks for the TLSA records of the SMTP service of a host whose name is authentic: whoever got it from an MX
// answer without DNSSEC has no use for them.
func Lookup(ctx context.Context, r dns.Resolver, host string) Found {
	bases, err := baseDomains(ctx, r, host)
	if err != nil {
		return Found{Err: err}
	}
	if len(bases) == 0 {
		return Found{Insecure: true}
	}
	for _, base := range bases {
		a, err := r.Lookup(ctx, "_25._tcp."+base, dns.TLSA)
		switch {
		case mail.Is(err, mail.NotFound):
			continue
		case err != nil:
			return Found{Base: base, Err: err}
		case len(a.Records) == 0 || !a.Authentic: // RFC 7672 §2.2: insecure records are none
			continue
		}
		f := Found{Base: base}
		for _, rec := range a.Records {
			if Usable(rec.Cert) {
				f.Records = append(f.Records, rec.Cert)
			} else {
				f.Unusable++
			}
		}
		return f
	}
	return Found{}
}

// baseDomains gives the names under which TLSA records are looked for, in order: the end of the host's CNAMEs when all
// of the way is authentic, then the host itself (RFC 7672 §2.2.3); none when the addresses are not (§2.2.2). An error
// means that nobody can tell.
func baseDomains(ctx context.Context, r dns.Resolver, host string) ([]string, error) {
	var canonical string
	var failed error
	secure, answered := false, false
	for _, t := range []dns.Type{dns.A, dns.AAAA} {
		a, err := r.Lookup(ctx, host, t)
		switch {
		case err != nil && !mail.Is(err, mail.NotFound):
			failed = err
		case a.Authentic:
			secure, canonical = true, a.Canonical
		default:
			answered, canonical = true, a.Canonical
		}
	}
	switch {
	case secure && canonical != host && canonical != "":
		return []string{canonical, host}, nil
	case secure:
		return []string{host}, nil
	case !answered: // what one address type's answer lacks, the other's lacks too
		return nil, failed
	case canonical != host && canonical != "":
		// The way out of the zone is authentic, though not what lies behind it.
		a, err := r.Lookup(ctx, host, dns.CNAME)
		if err != nil && !mail.Is(err, mail.NotFound) {
			return nil, err
		}
		if err == nil && a.Authentic {
			return []string{host}, nil
		}
	}
	return nil, nil
}

// Usable tells whether a record can verify a certificate in mail: usage 2 or 3, a selector and matching type that are
// known, and data of the right length (RFC 7672 §3.1.3, RFC 6698 §2.1).
func Usable(r dns.CertRecord) bool {
	if r.Usage != usageTA && r.Usage != usageEE || r.Selector > selectorKey {
		return false
	}
	switch r.Matching {
	case matchFull:
		return len(r.Data) > 0
	case matchSHA256:
		return len(r.Data) == 32
	case matchSHA512:
		return len(r.Data) == 64
	}
	return false
}

// Names gives the names of which one must stand in the certificate when its authority is vouched for, not itself: the
// TLSA base domain, the host as the MX record names it, the domain that the mail is for, and where that one's CNAMEs lead
// (RFC 7672 §3.2.2); empty ones do not count.
func Names(all ...string) []string {
	var names []string
	for _, n := range all {
		if n != "" && !slices.Contains(names, n) {
			names = append(names, n)
		}
	}
	return names
}
