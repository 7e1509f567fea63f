package manage

import (
	"context"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"postel/internal/admin"
	"postel/internal/tool"
)

func suppression(env *tool.Env) *cobra.Command {
	return tool.Noun("suppression", "recipients to whom bulk senders may not write", suppressionAdd(env),
		&cobra.Command{
			Use: "rm ADDRESS", Short: "take an address off the list", Args: cobra.ExactArgs(1),
			RunE: with(env, func(ctx context.Context, c *tool.Client, args []string) error {
				return done(ctx, env, c, "DELETE", tool.At("/v1/suppressions", args[0]), nil, args[0]+" is no longer suppressed")
			}),
		},
		&cobra.Command{
			Use: "list", Short: "list the addresses, since when and why", Args: cobra.NoArgs,
			RunE: with(env, func(ctx context.Context, c *tool.Client, _ []string) error {
				return tool.Each(ctx, c, "/v1/suppressions", func(s admin.Suppression) error {
					return env.Print(s, "%s", describeSuppression(s))
				})
			}),
		})
}

func describeSuppression(s admin.Suppression) string {
	until := ""
	if s.Expires != nil {
		until = "until " + s.Expires.Local().Format(time.DateOnly)
	}
	words := []string{pad(s.Address, 40), s.Since.Local().Format(time.DateOnly), pad(s.Source, 8), s.Reason, until}
	return strings.TrimRight(strings.Join(words, "  "), " ")
}

func pad(s string, n int) string { return s + strings.Repeat(" ", max(n-len(s), 0)) }

func suppressionAdd(env *tool.Env) *cobra.Command {
	var reason, expires string
	c := &cobra.Command{
		Use: "add ADDRESS", Short: "let no bulk sender write to an address", Args: cobra.ExactArgs(1),
		Long: "Accounts that are bulk senders (`postel account bulk`) are refused at RCPT, with 550 5.7.1, when they write to an\n" +
			"address on this list; others are not. The list fills itself: what a bulk sender's mail is refused for good with\n" +
			"(5.1.1, 5.1.2, 5.1.3, 5.1.6, 5.1.10, 5.2.1) goes there with the reply. An entry made by hand replaces one there is.",
	}
	c.RunE = func(cmd *cobra.Command, args []string) error {
		in := admin.Suppression{Address: args[0], Reason: reason}
		if expires != "" {
			until, err := tool.Until(expires, time.Now())
			if err != nil {
				return err
			}
			in.Expires = &until
		}
		return with(env, func(ctx context.Context, c *tool.Client, _ []string) error {
			var s admin.Suppression
			if err := c.Call(ctx, "POST", "/v1/suppressions", in, &s); err != nil {
				return err
			}
			return env.Print(s, "%s is suppressed", s.Address)
		})(cmd, args)
	}
	c.Flags().StringVar(&reason, "reason", "", "`TEXT` that tells why")
	c.Flags().StringVar(&expires, "expires", "", "`time` when it ends: how long it lasts, as 90d, or 2027-01-31 (none: never)")
	return c
}

func accountBulk(env *tool.Env) *cobra.Command {
	var undo, verp bool
	c := &cobra.Command{
		Use: "bulk ADDRESS", Short: "treat an account as a bulk sender, whose hard bounces are remembered", Args: cobra.ExactArgs(1),
		Long: "Recipients that refuse the account's mail for good go on the suppression list, and it may not write to those who are\n" +
			"there (`postel suppression`). With --verp each recipient gets its mail from SENDER+USER=DOMAIN@…, so that a report that\n" +
			"comes later names the recipient and suppresses it too. --undo makes it an account like others.",
	}
	c.RunE = with(env, func(ctx context.Context, c *tool.Client, args []string) error {
		if undo && verp {
			return tool.Fail(tool.Usage, "--undo and --verp exclude each other")
		}
		what := "a bulk sender"
		if undo {
			what = "no bulk sender"
		}
		in := admin.Bulk{Bulk: !undo, VERP: verp}
		return done(ctx, env, c, "PUT", tool.At("/v1/accounts", args[0], "bulk"), in, "account "+args[0]+" is "+what)
	})
	c.Flags().BoolVar(&undo, "undo", false, "make it an account like others")
	c.Flags().BoolVar(&verp, "verp", false, "send from an address of its own to each recipient")
	return c
}
