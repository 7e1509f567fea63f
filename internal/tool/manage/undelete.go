package manage

import (
	"context"
	"net/url"
	"time"

	"github.com/spf13/cobra"

	"postel/internal/admin"
	"postel/internal/tool"
)

func accountUndelete(env *tool.Env) *cobra.Command {
	var since, mailbox string
	var list, purge bool
	c := &cobra.Command{
		Use: "undelete ADDRESS", Short: "bring expunged mail back", Args: cobra.ExactArgs(1),
		Long: "Brings expunged mail back into the mailboxes it was in, as long as storage.undelete keeps it (7 days unless set\n" +
			"otherwise). Messages get new UIDs and keep their flags and dates. A mailbox that was deleted is made again. What the\n" +
			"quota has no room for stays where it is.",
		RunE: with(env, func(ctx context.Context, c *tool.Client, args []string) error {
			from, err := tool.When(since, time.Now())
			if err != nil {
				return err
			}
			switch {
			case list && purge:
				return tool.Fail(tool.Usage, "--list and --purge exclude each other")
			case purge && (since != "" || mailbox != ""):
				return tool.Fail(tool.Usage, "--purge takes all that was expunged: no --since, no --mailbox")
			case list:
				return listExpunged(ctx, env, c, args[0], from, mailbox)
			case purge:
				return purgeExpunged(ctx, env, c, args[0])
			}
			return undelete(ctx, env, c, args[0], admin.Undelete{Since: from, Mailbox: mailbox})
		}),
	}
	c.Flags().StringVar(&since, "since", "", "only what was expunged since this `time`: 2026-11-20, RFC 3339, or how long ago, as 4h or 3d")
	c.Flags().StringVar(&mailbox, "mailbox", "", "only what was in the mailbox `NAME`")
	c.Flags().BoolVar(&list, "list", false, "list what can be brought back, and do nothing")
	c.Flags().BoolVar(&purge, "purge", false, "remove for good what could be brought back")
	return c
}

func listExpunged(ctx context.Context, env *tool.Env, c *tool.Client, address string, since time.Time, mailbox string) error {
	q := url.Values{"mailbox": {mailbox}}
	if !since.IsZero() {
		q.Set("since", since.Format(time.RFC3339))
	}
	n := 0
	err := tool.Each(ctx, c, tool.At("/v1/accounts", address, "expunged")+"?"+q.Encode(), func(x admin.Expunged) error {
		n++
		return env.Print(x, "%s  %-16s %8d  %-30.30s  %s", x.Expunged.Local().Format(time.DateTime), x.Mailbox, x.Size, x.From, x.Subject)
	})
	if err == nil && n == 0 {
		env.Say("nothing was expunged that can be brought back")
	}
	return err
}

func undelete(ctx context.Context, env *tool.Env, c *tool.Client, address string, in admin.Undelete) error {
	var out admin.Undelete
	if err := c.Call(ctx, "POST", tool.At("/v1/accounts", address, "undelete"), in, &out); err != nil {
		return err
	}
	if err := env.Print(out, "%d messages are back", out.Messages); err != nil {
		return err
	}
	if out.OverQuota > 0 {
		return tool.Fail(tool.Found, "%d have no room: the quota of the account or of its domain is used up (postel account quota)", out.OverQuota)
	}
	return nil
}

func purgeExpunged(ctx context.Context, env *tool.Env, c *tool.Client, address string) error {
	var out map[string]int
	if err := c.Call(ctx, "DELETE", tool.At("/v1/accounts", address, "expunged"), nil, &out); err != nil {
		return err
	}
	return env.Print(out, "%d messages are gone for good", out["purged"])
}
