package watch

import (
	"context"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"postel/internal/admin"
	"postel/internal/tool"
)

func why(env *tool.Env) *cobra.Command {
	return &cobra.Command{
		Use: "why ID|ADDRESS", Short: "why a message, or what somebody sent, was refused or delayed", Args: cobra.ExactArgs(1),
		Long: "ID is s-… of a session, as the reply that refused names it, m-… of a message, or a Message-ID in angle brackets.\n" +
			"ADDRESS tells of all that is remembered from or to somebody.",
		RunE: with(env, func(ctx context.Context, c *tool.Client, args []string) error {
			n := 0
			err := tool.Each(ctx, c, "/v1/why/"+url.PathEscape(args[0]), func(r admin.Reason) error {
				n++
				return env.Print(r, "%s", reason(r))
			})
			if err == nil && n == 0 {
				env.Say("nothing was refused or delayed; `postel journey %s` tells what happened", args[0])
			}
			return err
		}),
	}
}

// reason tells one refusal or delay: what, to whom, in whose words, what that means and what mends it.
func reason(r admin.Reason) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s  %s", r.Time.Local().Format(time.DateTime), r.Kind)
	for _, kv := range [...][2]string{
		{"", r.Message}, {"", r.Session}, {"with", r.Remote}, {"from", r.From}, {"to", r.Recipient},
	} {
		if kv[1] != "" {
			b.WriteString(" " + strings.TrimSpace(kv[0]+" "+kv[1]))
		}
	}
	for _, kv := range [...][2]string{{"said", r.Command}, {"reply", r.Reply}, {"because", r.Why}} {
		if kv[1] != "" {
			fmt.Fprintf(&b, "\n    %-8s %s", kv[0], kv[1])
		}
	}
	if m := r.Meaning; m != nil {
		fmt.Fprintf(&b, "\n    %-8s %s (%s)", "means", m.Text, m.Clause)
		if m.Mend != "" {
			fmt.Fprintf(&b, "\n    %-8s %s", "mend", m.Mend)
		}
	}
	if !r.Next.IsZero() {
		fmt.Fprintf(&b, "\n    %-8s %s", "next", r.Next.Local().Format(time.DateTime))
	}
	return b.String()
}
