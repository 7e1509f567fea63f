package look

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"postel/internal/dns"
	"postel/internal/mail"
	"postel/internal/tlspolicy/dane"
	"postel/internal/tool"
)

// tlsaShown is what `postel tlsa` prints.
type tlsaShown struct {
	Domain    mail.Domain `json:"domain"`
	Authentic bool        `json:"authentic"` // the MX records, by DNSSEC
	Hosts     []tlsaHost  `json:"hosts"`
	Fault     string      `json:"fault,omitempty"`
}

// tlsaHost is one of the domain's MX hosts.
type tlsaHost struct {
	Name     string   `json:"name"`
	Base     string   `json:"base,omitempty"` // where the records stand, below _25._tcp
	Records  []string `json:"records"`        // the usable ones
	Unusable int      `json:"unusable"`
	Means    string   `json:"means"`
	Clause   string   `json:"clause"`
}

func tlsa(env *tool.Env) *cobra.Command {
	return command("tlsa", "the TLSA records (DANE) of a domain's MX hosts, and what they mean", func(cmd *cobra.Command, d mail.Domain, resolver string) error {
		e, err := open(env, resolver)
		if err != nil {
			return err
		}
		plan, err := e.router.Route(cmd.Context(), d, mail.Address{})
		shown := tlsaShown{Domain: d, Authentic: plan.Authentic, Hosts: []tlsaHost{}}
		for _, h := range plan.Hosts {
			shown.Hosts = append(shown.Hosts, tlsaOf(h.Name, plan.Authentic, dane.Lookup(cmd.Context(), e.resolver, h.Name)))
		}
		switch {
		case err != nil:
			shown.Fault = "mail for the domain cannot be delivered: " + why(err)
		case plan.Ruled:
			shown.Fault = "a route of the configuration sends the domain's mail, so that TLSA records are not asked for"
		case !plan.Authentic:
			shown.Fault = "no DNSSEC for the domain's MX records, as the resolver sees it (dns.trusted): TLSA records do not count"
		}
		for _, h := range shown.Hosts {
			if shown.Fault == "" && len(h.Records) == 0 {
				shown.Fault = h.Name + " has no TLSA record that can be used"
			}
		}
		if err := env.Print(shown, "%s", strings.Join(shown.lines(), "\n")); err != nil {
			return err
		}
		if shown.Fault != "" {
			return tool.Fail(tool.Found, "%s: %s", d, shown.Fault)
		}
		return nil
	})
}

func tlsaOf(name string, authentic bool, f dane.Found) tlsaHost {
	h := tlsaHost{Name: name, Base: f.Base, Records: []string{}, Unusable: f.Unusable}
	for _, r := range f.Records {
		h.Records = append(h.Records, record(r))
	}
	switch {
	case !authentic:
		h.Means, h.Clause = "nothing vouches for the name of this host: its records do not count", "RFC 7672 §2.2.1"
	case f.Err != nil:
		h.Means, h.Clause = "its records cannot be looked up: no mail goes there", "RFC 7672 §2.1.2"
	case len(f.Records) > 0:
		h.Means, h.Clause = "its certificate must fit one of the records", "RFC 7672 §2.2"
	case f.Unusable > 0:
		h.Means, h.Clause = "none of its records is usable: TLS is a must, without verification", "RFC 7672 §2.2"
	case f.Insecure:
		h.Means, h.Clause = "no DNSSEC for its addresses: TLSA records do not count", "RFC 7672 §2.2.2"
	default:
		h.Means, h.Clause = "no TLSA records", "RFC 7672 §2.2"
	}
	return h
}

// record writes a TLSA record with the names of RFC 7218.
func record(r dns.CertRecord) string {
	usage := map[uint8]string{2: "DANE-TA", 3: "DANE-EE"}[r.Usage]
	selector := map[uint8]string{0: "Cert", 1: "SPKI"}[r.Selector]
	matching := map[uint8]string{0: "Full", 1: "SHA2-256", 2: "SHA2-512"}[r.Matching]
	data := fmt.Sprintf("%x", r.Data)
	if r.Matching == 0 && len(data) > 64 {
		data = fmt.Sprintf("%s… (%d octets)", data[:64], len(r.Data))
	}
	return fmt.Sprintf("%s(%d) %s(%d) %s(%d) %s", usage, r.Usage, selector, r.Selector, matching, r.Matching, data)
}

func (t tlsaShown) lines() []string {
	out := []string{map[bool]string{
		true:  "DNSSEC vouches for the MX records of " + string(t.Domain),
		false: "DNSSEC does not vouch for the MX records of " + string(t.Domain) + ", as the resolver sees it",
	}[t.Authentic]}
	for i, h := range t.Hosts {
		out = append(out, fmt.Sprintf("%d. %s: %s (%s)", i+1, h.Name, h.Means, h.Clause))
		for _, r := range h.Records {
			out = append(out, "     "+r)
		}
		if h.Unusable > 0 {
			out = append(out, fmt.Sprintf("     and %d that cannot be used", h.Unusable))
		}
	}
	return out
}
