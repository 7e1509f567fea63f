package manage

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"postel/internal/admin"
	"postel/internal/mail"
	"postel/internal/tool"
)

// limit is a flag or argument: a size or a number, "none" for no limit.
type limit int64

// Set implements pflag.Value.
func (l *limit) Set(s string) error {
	if s == "none" {
		*l = 0
		return nil
	}
	n, err := mail.ParseSize(s)
	*l = limit(n)
	return err
}

// String implements pflag.Value.
func (l *limit) String() string {
	if *l == 0 {
		return "none"
	}
	return mail.ShowSize(int64(*l))
}

// Type implements pflag.Value.
func (l *limit) Type() string { return "size" }

func (l *limit) pointer() *int64 {
	n := int64(*l)
	return &n
}

func accountQuota(env *tool.Env) *cobra.Command {
	c := &cobra.Command{
		Use: "quota ADDRESS [SIZE|none]", Short: "show or set how much mail an account may hold", Args: cobra.RangeArgs(1, 2),
		Long: "Shows what an account holds and may hold, or sets the latter: SIZE is octets, or as 500MiB or 2GiB.\n" +
			"Mail that does not fit is refused at RCPT: 452 4.2.2, or 552 5.2.2 when it never will.",
	}
	c.RunE = func(cmd *cobra.Command, args []string) error {
		var in admin.Limits
		if len(args) == 2 {
			var l limit
			if err := l.Set(args[1]); err != nil {
				return &tool.ExitError{Code: tool.Usage, Err: err}
			}
			in.Quota = l.pointer()
		}
		return callQuota(cmd, env, tool.At("/v1/accounts", args[0], "quota"), in)
	}
	return c
}

func domainQuota(env *tool.Env) *cobra.Command {
	var messages limit
	c := &cobra.Command{
		Use: "quota NAME [SIZE|none]", Short: "show or set how much mail a domain may hold", Args: cobra.RangeArgs(1, 2),
		Long: "Shows what all accounts whose main address is of the domain hold together and may hold, or sets the latter.",
	}
	c.Flags().Var(&messages, "messages", "`number` of messages at most (none: no limit)")
	c.RunE = func(cmd *cobra.Command, args []string) error {
		var in admin.Limits
		if len(args) == 2 {
			var l limit
			if err := l.Set(args[1]); err != nil {
				return &tool.ExitError{Code: tool.Usage, Err: err}
			}
			in.Quota = l.pointer()
		}
		if cmd.Flags().Changed("messages") {
			in.Messages = messages.pointer()
		}
		return callQuota(cmd, env, tool.At("/v1/domains", args[0], "quota"), in)
	}
	return c
}

// callQuota shows a quota, or sets it first.
func callQuota(cmd *cobra.Command, env *tool.Env, path string, in admin.Limits) error {
	return with(env, func(ctx context.Context, c *tool.Client, _ []string) error {
		method, body := "GET", any(nil)
		if in.Quota != nil || in.Messages != nil {
			method, body = "PUT", in
		}
		var q admin.Quota
		if err := c.Call(ctx, method, path, body, &q); err != nil {
			return err
		}
		if env.Quiet && method == "PUT" && !env.JSON {
			return nil
		}
		return env.Print(q, "%s", sayQuota(q))
	})(cmd, nil)
}

func sayQuota(q admin.Quota) string {
	of := func(n int64) string {
		if n == 0 {
			return "without limit"
		}
		return "of " + mail.ShowSize(n)
	}
	s := fmt.Sprintf("%s%s: %d octets %s, %d messages", q.Address, q.Domain, q.Used, of(q.Quota), q.Messages)
	if q.Domain != "" {
		s += " " + of(q.Max)
	}
	return s
}
