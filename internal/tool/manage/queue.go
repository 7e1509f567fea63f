package manage

import (
	"context"
	"fmt"
	"io"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"postel/internal/admin"
	"postel/internal/tool"
)

func queueCommand(env *tool.Env) *cobra.Command {
	verbs := []*cobra.Command{queueList(env), queueETRN(env), {
		Use: "show ID", Short: "show one item with its recipients", Args: cobra.ExactArgs(1),
		RunE: with(env, func(ctx context.Context, c *tool.Client, args []string) error {
			var it admin.QueueItem
			if err := c.Call(ctx, "GET", tool.At("/v1/queue", args[0]), nil, &it); err != nil {
				return err
			}
			return env.Print(it, "%s", describe(it))
		}),
	}}
	verbs = append(verbs, changeCommands(env)...)
	verbs = append(verbs, queueRoute(env))
	return tool.Noun("queue", "mail that waits to be sent", verbs...)
}

func queueList(env *tool.Env) *cobra.Command {
	var f queueFilter
	var ended, count bool
	c := &cobra.Command{
		Use: "list", Short: "list what waits, or what became of it", Args: cobra.NoArgs,
		Long: "Lists the items that wait to be sent. With --done it lists how the recipients of those ended that are gone, in the\n" +
			"last 7 days: delivered here, relayed to another host, bounced, or dropped by an operator, each with the last reply;\n" +
			"--state, --older and --younger are about the end then.",
		RunE: with(env, func(ctx context.Context, c *tool.Client, _ []string) error {
			v, err := f.values()
			if err != nil {
				return err
			}
			switch {
			case ended && v.Has("priority"):
				return tool.Fail(tool.Usage, "the priority of what is done is not kept: leave --priority or --done out")
			case count:
				return countQueue(ctx, env, c, ended, v)
			case ended:
				return listEnded(ctx, env, c, v)
			}
			return ListQueue(ctx, env, c, v)
		}),
	}
	f.flags(c)
	c.Flags().BoolVar(&ended, "done", false, "list what became of recipients in the last 7 days")
	c.Flags().BoolVar(&count, "count", false, "only count")
	return c
}

// queueRoute asks the running server, whose rules and listeners decide.
func queueRoute(env *tool.Env) *cobra.Command {
	var from string
	c := &cobra.Command{
		Use: "route ADDRESS", Short: "where the running server would send mail for an address, and why", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := env.Running(cmd.Context())
			if err != nil {
				return err
			}
			defer func() { _ = c.Close() }()
			nowhere := false
			err = tool.Each(cmd.Context(), c, tool.At("/v1/queue/route", args[0])+"?"+url.Values{"from": {from}}.Encode(), func(w admin.QueueWay) error {
				nowhere = nowhere || w.Error != ""
				return env.Print(w, "%s to %s%s", w.Address, w.Destination, sayWay(w))
			})
			if err == nil && nowhere {
				err = &tool.ExitError{Code: tool.Found}
			}
			return err
		},
	}
	c.Flags().StringVar(&from, "from", "", "`address` of the sender, whose route may be another (none: the null sender)")
	return c
}

// sayWay tells where mail goes in lines, each behind a line end.
func sayWay(w admin.QueueWay) string {
	var b strings.Builder
	step := func(indent, text, clause string) {
		if clause != "" {
			text += " (" + clause + ")"
		}
		fmt.Fprintf(&b, "\n%s%s", indent, text)
	}
	for _, s := range w.Steps {
		step("  ", s.Text, s.Clause)
	}
	for i, h := range w.Hosts {
		fmt.Fprintf(&b, "\n%d. %s (preference %d), TLS %s", i+1, h.Name, h.Pref, h.TLS)
		for _, line := range h.Lines() {
			step("     ", line, "")
		}
		if i < len(w.TLS) {
			for _, s := range w.TLS[i].Steps {
				step("     ", "TLS: "+s.Text, s.Clause)
			}
		}
	}
	if w.Error != "" {
		step("  ", "it goes nowhere: "+w.Error, "")
	}
	return b.String()
}

func countQueue(ctx context.Context, env *tool.Env, c *tool.Client, ended bool, filter url.Values) error {
	path := "/v1/queue/count"
	if ended {
		path = "/v1/queue/ended/count"
	}
	var n struct { // zeros are told
		Items      int `json:"items"`
		Recipients int `json:"recipients"`
	}
	if err := c.Call(ctx, "GET", path+"?"+filter.Encode(), nil, &n); err != nil {
		return err
	}
	if ended {
		return env.Print(map[string]int{"recipients": n.Recipients}, "%s", tool.Count(n.Recipients, "recipient"))
	}
	return env.Print(n, "%s, %s", tool.Count(n.Items, "item"), tool.Count(n.Recipients, "recipient"))
}

func listEnded(ctx context.Context, env *tool.Env, c *tool.Client, filter url.Values) error {
	n := 0
	err := tool.Each(ctx, c, "/v1/queue/ended?"+filter.Encode(), func(x admin.QueueEnded) error {
		n++
		reply := x.Last
		if reply != "" && x.LastHost != "" {
			reply = x.LastHost + " said " + reply
		}
		return env.Print(x, "%s  %-9s  %s  %s -> %s  %s", x.ID, x.State, x.Ended.Local().Format(time.DateTime), orNull(x.From), x.Recipient, reply)
	})
	if err == nil && n == 0 {
		env.Say("nothing has ended that matches")
	}
	return err
}

// ListQueue prints the items that match; `sendmail -bp` and mailq print the same.
func ListQueue(ctx context.Context, env *tool.Env, c *tool.Client, filter url.Values) error {
	n := 0
	err := tool.Each(ctx, c, "/v1/queue?"+filter.Encode(), func(it admin.QueueItem) error {
		n++
		var to []string
		for _, r := range it.Recipients {
			to = append(to, r.Address)
		}
		return env.Print(it, "%s  %-7s %8d  %s  %s -> %s", it.ID, it.State, it.Size, it.Received.Local().Format(time.DateTime),
			orNull(it.From), strings.Join(to, ", "))
	})
	if err == nil && n == 0 {
		env.Say("the queue is empty")
	}
	return err
}

func orNull(from string) string {
	if from == "" {
		return "<>"
	}
	return from
}

func describe(it admin.QueueItem) string {
	var b strings.Builder
	fmt.Fprintf(&b, "id        %s\nmessage   %s\nto host   %s\nfrom      %s\nsize      %d\nreceived  %s\nstate     %s",
		it.ID, it.Message, it.Destination, orNull(it.From), it.Size, it.Received.Local().Format(time.DateTime), it.State)
	for _, r := range it.Recipients {
		fmt.Fprintf(&b, "\nrecipient %s: %s, %d attempts", r.Address, r.State, r.Attempts)
		if !r.Due.IsZero() {
			fmt.Fprintf(&b, ", next %s", r.Due.Local().Format(time.DateTime))
		}
		for _, x := range r.History {
			fmt.Fprintf(&b, "\n          %s  %s", x.Time.Local().Format(time.DateTime), x.Reply)
			if x.Host != "" {
				fmt.Fprintf(&b, "\n          said by %s", x.Host)
			}
			if x.Session != "" {
				fmt.Fprintf(&b, " (postel glass show %s)", x.Session)
			}
		}
	}
	if it.Via != "" {
		fmt.Fprintf(&b, "\nby        %s, as an operator wants it", it.Via)
	}
	if it.Way != nil {
		fmt.Fprintf(&b, "\nway       %s", strings.TrimPrefix(sayWay(*it.Way), "\n"))
	}
	return b.String()
}

func inbox(env *tool.Env) *cobra.Command {
	return tool.Noun("inbox", "what the catcher caught",
		&cobra.Command{
			Use: "list", Short: "list what was caught", Args: cobra.NoArgs,
			RunE: with(env, func(ctx context.Context, c *tool.Client, _ []string) error {
				return tool.Each(ctx, c, "/v1/inbox", func(m admin.Caught) error {
					return env.Print(m, "%5s  %s  %-30.30s -> %-30.30s  %s", m.ID, m.Received.Local().Format(time.DateTime), m.From, m.To, m.Subject)
				})
			}),
		},
		&cobra.Command{
			Use: "show ID", Short: "show one message as it came", Args: cobra.ExactArgs(1),
			RunE: with(env, func(ctx context.Context, c *tool.Client, args []string) error {
				return c.Raw(ctx, tool.At("/v1/inbox", args[0]), func(r io.Reader) error {
					if env.JSON {
						b, err := io.ReadAll(r)
						if err != nil {
							return err
						}
						return env.Print(map[string]string{"id": args[0], "raw": string(b)}, "")
					}
					_, err := io.Copy(env.Out, r)
					return err
				})
			}),
		})
}
