package look

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"postel/internal/mail"
	"postel/internal/route"
	"postel/internal/tlspolicy"
	"postel/internal/tlspolicy/mtasts"
	"postel/internal/tool"
)

func mx(env *tool.Env) *cobra.Command {
	var from string
	c := command("mx", "where mail for a domain or an address goes, and why", func(cmd *cobra.Command, d mail.Domain, resolver string) error {
		e, err := open(env, resolver)
		if err != nil {
			return err
		}
		var sender mail.Address
		if from != "" {
			if sender, err = mail.ParseAddress(from); err != nil {
				return tool.Fail(tool.Usage, "%q is no address", from)
			}
		}
		plan, err := e.router.Route(cmd.Context(), d, sender)
		shown := planShown{plan, e.secured(cmd.Context(), plan)}
		if perr := env.Print(shown, "%s", strings.Join(explain(shown), "\n")); perr != nil {
			return perr
		}
		if err != nil {
			return tool.Fail(tool.Found, "mail for %s cannot be delivered: %s", d, why(err))
		}
		return nil
	})
	c.Flags().StringVar(&from, "from", "", "`address` of the sender, whose route may be another (none: the null sender)")
	return c
}

// planShown is what `postel mx` prints.
type planShown struct {
	route.Plan
	Security []security `json:"security,omitempty"` // of each host; none where a route has the word
}

// security is how a session with a host is secured by one who remembers nothing of it.
type security struct {
	Level string           `json:"level"`
	Steps []tlspolicy.Step `json:"steps,omitempty"`
}

// secured asks what DNS and policies say of the hosts of a plan.
func (e eyes) secured(ctx context.Context, p route.Plan) (all []security) {
	if p.Ruled || len(p.Hosts) == 0 {
		return nil
	}
	memory := new(tlspolicy.Volatile)
	policies := mtasts.New(mtasts.Options{Resolver: e.resolver, Cache: tlspolicy.PolicyCache(memory), AllowLoopback: e.loopback})
	defer policies.Close()
	keeper := tlspolicy.New(tlspolicy.Options{Resolver: e.resolver, Policies: policies, Memory: memory})
	d := keeper.Destination(ctx, p.Domain, p.Canonical, p.Authentic)
	for _, h := range p.Hosts {
		dec := d.Host(ctx, h.Name)
		if dec.Refused != nil {
			dec.Steps = append(dec.Steps, tlspolicy.Step{Text: "it is not used: " + dec.Refused.Text})
		}
		all = append(all, security{dec.Level.String(), dec.Steps})
	}
	return all
}

// explain tells a plan in lines: what was found and why, then the hosts in the order in which they are tried.
func explain(p planShown) []string {
	var out []string
	for _, s := range p.Steps {
		line := "  " + s.Text
		if s.Clause != "" {
			line += " (" + s.Clause + ")"
		}
		out = append(out, line)
	}
	for i, h := range p.Hosts {
		out = append(out, fmt.Sprintf("%d. %s (preference %d)", i+1, h.Name, h.Pref))
		for _, line := range h.Lines() {
			out = append(out, "     "+line)
		}
		if i < len(p.Security) {
			out = append(out, "     TLS: "+p.Security[i].Level)
			for _, s := range p.Security[i].Steps {
				out = append(out, strings.TrimSuffix("     TLS: "+s.Text+" ("+s.Clause+")", " ()"))
			}
		} else {
			out = append(out, "     TLS: "+string(h.TLS)+", as the route says")
		}
	}
	return out
}
