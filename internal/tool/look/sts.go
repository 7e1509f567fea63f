package look

import (
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"postel/internal/mail"
	"postel/internal/tlspolicy"
	"postel/internal/tlspolicy/mtasts"
	"postel/internal/tool"
)

// policyShown is what `postel sts` prints.
type policyShown struct {
	Domain mail.Domain `json:"domain"`
	ID     string      `json:"id,omitempty"`
	Mode   mtasts.Mode `json:"mode,omitempty"`
	MX     []string    `json:"mx,omitempty"`
	MaxAge int64       `json:"max_age,omitempty"` // seconds
	Hosts  []stsHost   `json:"hosts,omitempty"`
	Fault  string      `json:"fault,omitempty"` // why there is no policy, or what is amiss with it
}

// stsHost is one of the domain's MX hosts.
type stsHost struct {
	Name  string `json:"name"`
	Named bool   `json:"named"` // by the policy
}

func sts(env *tool.Env) *cobra.Command {
	var port uint16
	c := command("sts", "a domain's policy of MTA-STS, and what it means for its MX hosts", func(cmd *cobra.Command, d mail.Domain, resolver string) error {
		e, err := open(env, resolver)
		if err != nil {
			return err
		}
		client := mtasts.New(mtasts.Options{
			Resolver: e.resolver, Cache: tlspolicy.PolicyCache(new(tlspolicy.Volatile)), Port: port, AllowLoopback: e.loopback,
		})
		defer client.Close()
		shown := policyOf(client.Policy(cmd.Context(), d), d)
		plan, err := e.router.Route(cmd.Context(), d, mail.Address{})
		switch {
		case shown.Mode == "":
		case err != nil:
			shown.Fault = "mail for the domain cannot be delivered: " + why(err)
		case plan.Ruled:
			shown.Fault = "a route of the configuration sends the domain's mail, so that its policy is not asked for"
		}
		for _, h := range plan.Hosts {
			named := mtasts.Policy{MX: shown.MX}.Covers(h.Name)
			shown.Hosts = append(shown.Hosts, stsHost{h.Name, named})
			if !named && shown.Fault == "" && shown.Mode != mtasts.None {
				shown.Fault = "the policy does not name the MX " + h.Name
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
	c.Flags().Uint16Var(&port, "https-port", 443, "`port` of the policy host")
	return c
}

func policyOf(f mtasts.Found, d mail.Domain) policyShown {
	if !f.Valid {
		return policyShown{Domain: d, Fault: "no policy of MTA-STS: " + f.Why}
	}
	return policyShown{Domain: d, ID: f.ID, Mode: f.Policy.Mode, MX: f.Policy.MX, MaxAge: int64(f.Policy.MaxAge / time.Second)}
}

func (p policyShown) lines() []string {
	if p.Mode == "" {
		return []string{fmt.Sprintf("%s has no policy: TLS is used where it is offered, and not verified, unless TLSA records say more", p.Domain)}
	}
	means := map[mtasts.Mode]string{
		mtasts.Enforce: "mail goes only to hosts that it names and whose certificates verify (RFC 8461 §5)",
		mtasts.Testing: "what does not fit is logged, and mail goes there all the same (RFC 8461 §5)",
		mtasts.None:    "there is no policy any more (RFC 8461 §5)",
	}[p.Mode]
	out := []string{fmt.Sprintf("%s: %s: %s", p.Domain, p.Mode, means), fmt.Sprintf("  id %s, kept for %s", p.ID, time.Duration(p.MaxAge)*time.Second)}
	for _, mx := range p.MX {
		out = append(out, "  mx "+mx)
	}
	for i, h := range p.Hosts {
		out = append(out, fmt.Sprintf("%d. %s: %s", i+1, h.Name, map[bool]string{true: "named by the policy", false: "not named by the policy"}[h.Named]))
	}
	return out
}
