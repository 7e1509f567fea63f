package look

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"postel/internal/mail"
	"postel/internal/route"
	"postel/internal/tool"
)

func mx(env *tool.Env) *cobra.Command {
	return command("mx", "where mail for a domain or an address goes, and why", func(cmd *cobra.Command, d mail.Domain, resolver string) error {
		e, err := open(env, resolver)
		if err != nil {
			return err
		}
		plan, err := e.router.Route(cmd.Context(), d, mail.Address{})
		if perr := env.Print(plan, "%s", strings.Join(explain(plan), "\n")); perr != nil {
			return perr
		}
		if err != nil {
			return tool.Fail(tool.Found, "mail for %s cannot be delivered: %s", d, why(err))
		}
		return nil
	})
}

// explain tells a plan in lines: what was found and why, then the hosts in the order in which they are tried.
func explain(p route.Plan) []string {
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
		for _, a := range h.Addrs {
			out = append(out, "     "+a.String())
		}
	}
	return out
}
