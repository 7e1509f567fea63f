// Package watch holds the commands that show what happened: glass (transcripts of sessions) and journey (the life
// of a message).
package watch

import (
	"context"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"postel/internal/observe"
	"postel/internal/tool"
)

// Commands gives the commands.
func Commands(env *tool.Env) []*cobra.Command {
	return []*cobra.Command{glass(env), journey(env), why(env)}
}

// with runs fn with a client of a running server: what is watched lives in its memory.
func with(env *tool.Env, fn func(ctx context.Context, c *tool.Client, args []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		c, err := env.Running(cmd.Context())
		if err != nil {
			return err
		}
		defer func() { _ = c.Close() }()
		return fn(cmd.Context(), c, args)
	}
}

func glass(env *tool.Env) *cobra.Command {
	var n int
	list := &cobra.Command{
		Use: "list", Short: "list the newest sessions", Args: cobra.NoArgs,
		RunE: with(env, func(ctx context.Context, c *tool.Client, _ []string) error {
			return tool.Each(ctx, c, fmt.Sprintf("/v1/glass?n=%d", n), func(t observe.Transcript) error {
				return env.Print(t, "s-%s  %s  %-11s %-3s %s", t.ID, t.Start.Local().Format(time.DateTime), t.Protocol, way(t.Outbound), t.Remote)
			})
		}),
	}
	list.Flags().IntVarP(&n, "number", "n", 100, "how many at most")
	return tool.Noun("glass", "transcripts of protocol sessions", list,
		&cobra.Command{
			Use: "show SESSION", Short: "show one session", Args: cobra.ExactArgs(1),
			RunE: with(env, func(ctx context.Context, c *tool.Client, args []string) error {
				var t observe.Transcript
				if err := c.Call(ctx, "GET", "/v1/glass/"+url.PathEscape(args[0]), nil, &t); err != nil {
					return err
				}
				return env.Print(t, "%s", transcript(t))
			}),
		},
		&cobra.Command{
			Use: "tail", Short: "show all sessions live", Args: cobra.NoArgs,
			RunE: with(env, func(ctx context.Context, c *tool.Client, _ []string) error {
				err := tool.Each(ctx, c, "/v1/glass/tail", func(l observe.Line) error {
					return env.Print(l, "%s s-%s %s %s", l.Time.Local().Format("15:04:05.000"), l.Session, l.Glyph(), l.Text)
				})
				if ctx.Err() != nil {
					return nil // the user ended it
				}
				return err
			}),
		})
}

func way(outbound bool) string {
	if outbound {
		return "out"
	}
	return "in"
}

func transcript(t observe.Transcript) string {
	var b strings.Builder
	fmt.Fprintf(&b, "s-%s %s %s, %s with %s", t.ID, t.Protocol, way(t.Outbound), t.Start.Local().Format(time.DateTime), t.Remote)
	for _, l := range t.Lines {
		fmt.Fprintf(&b, "\n%s %s %s", l.Time.Local().Format("15:04:05.000"), l.Glyph(), l.Text)
	}
	if t.Dropped > 0 {
		fmt.Fprintf(&b, "\n(%d lines of the middle are not kept)", t.Dropped)
	}
	return b.String()
}

func journey(env *tool.Env) *cobra.Command {
	return &cobra.Command{
		Use: "journey ID", Short: "every hop and decision of one message", Args: cobra.ExactArgs(1),
		Long: "ID is m-… as a 250 reply names it, s-… of a session, or a Message-ID in angle brackets.",
		RunE: with(env, func(ctx context.Context, c *tool.Client, args []string) error {
			return tool.Each(ctx, c, "/v1/journey/"+url.PathEscape(args[0]), func(e observe.Event) error {
				return env.Print(e, "%s", event(e))
			})
		}),
	}
}

// event tells one event in a line.
func event(e observe.Event) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s  m-%s  %-9s", e.Time.Local().Format("2006-01-02 15:04:05.000"), e.Message, e.Kind)
	for _, kv := range [...][2]string{
		{"from", e.From},
		{"to", e.Recipient},
		{"host", e.Host},
		{"in", e.Mailbox},
		{"queue", e.Queue},
		{"id", e.MessageID},
		{"session", e.Session},
		{"attempt", e.Attempt},
	} {
		if kv[1] != "" {
			fmt.Fprintf(&b, " %s %s", kv[0], kv[1])
		}
	}
	if e.Reply != "" {
		fmt.Fprintf(&b, ": %s", e.Reply)
	}
	if e.Why != "" {
		fmt.Fprintf(&b, " (%s)", e.Why)
	}
	if !e.Next.IsZero() {
		fmt.Fprintf(&b, ", next %s", e.Next.Local().Format(time.DateTime))
	}
	return b.String()
}
