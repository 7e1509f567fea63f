// Package manage holds the commands that manage a server: domain, account, alias, queue, suppression, route, inbox, tlsrpt.
package manage

import (
	"context"

	"github.com/spf13/cobra"

	"postel/internal/tool"
)

// Commands gives the commands.
func Commands(env *tool.Env) []*cobra.Command {
	return []*cobra.Command{domain(env), account(env), alias(env), queueCommand(env), suppression(env), route(env), inbox(env), checkCommand(env), tlsrptCommand(env)}
}

// with runs fn with a client and closes it.
func with(env *tool.Env, fn func(ctx context.Context, c *tool.Client, args []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		return env.With(cmd.Context(), func(c *tool.Client) error { return fn(cmd.Context(), c, args) })
	}
}
