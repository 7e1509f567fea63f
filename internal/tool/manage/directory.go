package manage

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"postel/internal/admin"
	"postel/internal/tool"
)

func domain(env *tool.Env) *cobra.Command {
	var kind, catchall string
	var etrn, odmr []string
	var quota, messages limit
	add := &cobra.Command{
		Use: "add NAME", Short: "take mail for a domain", Args: cobra.ExactArgs(1),
		RunE: with(env, func(ctx context.Context, c *tool.Client, args []string) error {
			var d admin.Domain
			if err := c.Call(ctx, "POST", "/v1/domains", admin.Domain{
				Name: args[0], Kind: kind, CatchAll: catchall, Quota: int64(quota), Messages: int64(messages), ETRN: etrn, ODMR: odmr,
			}, &d); err != nil {
				return err
			}
			return env.Print(d, "domain %s added (%s)", d.Name, d.Kind)
		}),
	}
	add.Flags().StringVar(&kind, "kind", "", "`KIND`: local, mailboxes are here; relay, taken and sent on (default local, with --odmr relay)")
	add.Flags().StringVar(&catchall, "catchall", "", "`address` that takes mail for unknown users")
	add.Flags().Var(&quota, "quota", "`size` of the mail of all its accounts at most, as 500GiB (none: no limit)")
	add.Flags().Var(&messages, "messages", "`number` of messages of all its accounts at most (none: no limit)")
	add.Flags().StringSliceVar(&etrn, "etrn", nil, "`network or account` that may have its queued mail sent at once by ETRN; repeatable")
	add.Flags().StringSliceVar(&odmr, "odmr", nil, "`account` that takes its mail by ATRN, so that it is sent nowhere; repeatable")
	rm := &cobra.Command{
		Use: "rm NAME", Short: "take no more mail for a domain", Args: cobra.ExactArgs(1),
		RunE: with(env, func(ctx context.Context, c *tool.Client, args []string) error {
			return done(ctx, env, c, "DELETE", tool.At("/v1/domains", args[0]), nil, "domain "+args[0]+" removed")
		}),
	}
	list := &cobra.Command{
		Use: "list", Short: "list the domains", Args: cobra.NoArgs,
		RunE: with(env, func(ctx context.Context, c *tool.Client, _ []string) error {
			return tool.Each(ctx, c, "/v1/domains", func(d admin.Domain) error {
				return env.Print(d, "%s", strings.TrimRight(fmt.Sprintf("%-40s %-6s %s", d.Name, d.Kind, describeDomain(d)), " "))
			})
		}),
	}
	return tool.Noun("domain", "domains whose mail is taken", add, rm, list, domainQuota(env))
}

// describeDomain says what a domain has beside its kind.
func describeDomain(d admin.Domain) string {
	var words []string
	if d.CatchAll != "" {
		words = append(words, d.CatchAll)
	}
	if len(d.ODMR) > 0 {
		words = append(words, "odmr: "+strings.Join(d.ODMR, " "))
	}
	if len(d.ETRN) > 0 {
		words = append(words, "etrn: "+strings.Join(d.ETRN, " "))
	}
	return strings.Join(words, "  ")
}

// done carries out a change that answers nothing of interest.
func done(ctx context.Context, env *tool.Env, c *tool.Client, method, path string, in any, text string) error {
	var out map[string]string
	if err := c.Call(ctx, method, path, in, &out); err != nil {
		return err
	}
	if env.Quiet && !env.JSON {
		return nil
	}
	return env.Print(out, "%s", text)
}

func account(env *tool.Env) *cobra.Command {
	return tool.Noun("account", "users and their mailboxes", accountAdd(env), accountPasswd(env), accountSecret(env), accountUndelete(env), accountQuota(env), accountAllow(env), accountDisable(env), accountBulk(env),
		&cobra.Command{
			Use: "rm ADDRESS", Short: "remove an account with all its mail", Args: cobra.ExactArgs(1),
			RunE: with(env, func(ctx context.Context, c *tool.Client, args []string) error {
				return done(ctx, env, c, "DELETE", tool.At("/v1/accounts", args[0]), nil, "account "+args[0]+" removed")
			}),
		},
		&cobra.Command{
			Use: "list", Short: "list the accounts", Args: cobra.NoArgs,
			RunE: with(env, func(ctx context.Context, c *tool.Client, _ []string) error {
				return tool.Each(ctx, c, "/v1/accounts", func(a admin.Account) error {
					return env.Print(a, "%-40s %8d messages %12d octets", a.Address, a.Messages, a.Used)
				})
			}),
		})
}

func accountAdd(env *tool.Env) *cobra.Command {
	var stdin bool
	var quota limit
	c := &cobra.Command{Use: "add ADDRESS --password-stdin", Short: "make an account", Args: cobra.ExactArgs(1)}
	c.RunE = func(cmd *cobra.Command, args []string) error {
		password, err := askPassword(env, stdin)
		if err != nil {
			return err
		}
		return with(env, func(ctx context.Context, c *tool.Client, args []string) error {
			var a admin.Account
			in := admin.Account{Address: args[0], Password: password, Quota: int64(quota)}
			if err := c.Call(ctx, "POST", "/v1/accounts", in, &a); err != nil {
				return err
			}
			return env.Print(a, "account %s added", a.Address)
		})(cmd, args)
	}
	c.Flags().BoolVar(&stdin, "password-stdin", false, "read the password from standard input")
	c.Flags().Var(&quota, "quota", "`size` of its mail at most, as 2GiB (none: no limit)")
	return c
}

func accountPasswd(env *tool.Env) *cobra.Command {
	var stdin bool
	c := &cobra.Command{Use: "passwd ADDRESS --password-stdin", Short: "change a password", Args: cobra.ExactArgs(1)}
	c.RunE = func(cmd *cobra.Command, args []string) error {
		password, err := askPassword(env, stdin)
		if err != nil {
			return err
		}
		return with(env, func(ctx context.Context, c *tool.Client, args []string) error {
			in := admin.Account{Address: args[0], Password: password}
			return done(ctx, env, c, "PUT", tool.At("/v1/accounts", args[0], "password"), in, "password of "+args[0]+" changed")
		})(cmd, args)
	}
	c.Flags().BoolVar(&stdin, "password-stdin", false, "read the password from standard input")
	return c
}

func accountAllow(env *tool.Env) *cobra.Command {
	var remove bool
	c := &cobra.Command{
		Use: "allow ADDRESS AS", Short: "let an account write as another address, of whatever domain", Args: cobra.ExactArgs(2),
		Long: "Every account may write as its own addresses and as aliases that lead to it alone. This adds another, as that of\n" +
			"a list or of a colleague who is away; --remove takes it back, `postel account list --json` shows them.",
	}
	c.RunE = with(env, func(ctx context.Context, c *tool.Client, args []string) error {
		method, what := "PUT", "may write"
		if remove {
			method, what = "DELETE", "may no longer write"
		}
		var a admin.Account
		if err := c.Call(ctx, method, tool.At("/v1/accounts", args[0], "sendas", args[1]), nil, &a); err != nil {
			return err
		}
		return env.Print(a, "%s %s as %s", a.Address, what, args[1])
	})
	c.Flags().BoolVar(&remove, "remove", false, "take it back")
	return c
}

func accountDisable(env *tool.Env) *cobra.Command {
	var undo bool
	c := &cobra.Command{
		Use: "disable ADDRESS", Short: "refuse an account's logins and mail, and keep what it has", Args: cobra.ExactArgs(1),
		Long: "Logins fail as with a wrong password, mail for it is refused with 550 5.2.1; sessions that are open go on.\n" +
			"--undo puts the account back into use.",
	}
	c.RunE = with(env, func(ctx context.Context, c *tool.Client, args []string) error {
		method, what := "PUT", "disabled"
		if undo {
			method, what = "DELETE", "in use again"
		}
		return done(ctx, env, c, method, tool.At("/v1/accounts", args[0], "disabled"), nil, "account "+args[0]+" "+what)
	})
	c.Flags().BoolVar(&undo, "undo", false, "put it back into use")
	return c
}

// askPassword reads the password from standard input, or asks for it twice on a terminal.
func askPassword(env *tool.Env, stdin bool) (string, error) {
	if stdin {
		return env.Password()
	}
	return env.AskPassword()
}

func alias(env *tool.Env) *cobra.Command {
	show := func(a admin.AliasJSON) error {
		return env.Print(a, "%-40s %s", a.Address, strings.Join(a.To, " "))
	}
	return tool.Noun("alias", "addresses that lead to others",
		&cobra.Command{
			Use: "add ADDRESS TO...", Short: "lead an address to others", Args: cobra.MinimumNArgs(2),
			RunE: with(env, func(ctx context.Context, c *tool.Client, args []string) error {
				var a admin.AliasJSON
				if err := c.Call(ctx, "POST", "/v1/aliases", admin.AliasJSON{Address: args[0], To: args[1:]}, &a); err != nil {
					return err
				}
				return env.Print(a, "alias %s added", a.Address)
			}),
		},
		&cobra.Command{
			Use: "rm ADDRESS", Short: "remove an alias", Args: cobra.ExactArgs(1),
			RunE: with(env, func(ctx context.Context, c *tool.Client, args []string) error {
				return done(ctx, env, c, "DELETE", tool.At("/v1/aliases", args[0]), nil, "alias "+args[0]+" removed")
			}),
		},
		&cobra.Command{
			Use: "list", Short: "list the aliases", Args: cobra.NoArgs,
			RunE: with(env, func(ctx context.Context, c *tool.Client, _ []string) error {
				return tool.Each(ctx, c, "/v1/aliases", show)
			}),
		},
		&cobra.Command{
			Use: "resolve ADDRESS", Short: "show where mail for an address ends", Args: cobra.ExactArgs(1),
			RunE: with(env, func(ctx context.Context, c *tool.Client, args []string) error {
				var a admin.AliasJSON
				if err := c.Call(ctx, "GET", tool.At("/v1/aliases", args[0], "resolve"), nil, &a); err != nil {
					return err
				}
				return show(a)
			}),
		})
}
