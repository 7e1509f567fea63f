package manage

import (
	"context"
	"net/url"
	"time"

	"github.com/spf13/cobra"

	"postel/internal/admin"
	"postel/internal/tool"
)

// queueFilter is what the flags say of the items that are meant.
type queueFilter struct {
	from, to, domain, state, reply, older, younger, priority string
}

func (f *queueFilter) flags(c *cobra.Command) {
	fs := c.Flags()
	fs.StringVar(&f.from, "from", "", "only of senders that contain `text`; <> is the null sender")
	fs.StringVar(&f.to, "to", "", "only for recipients that contain `text`")
	fs.StringVar(&f.domain, "domain", "", "only for a `destination`")
	fs.StringVar(&f.state, "state", "", "only what is in a `state`: waiting or held; with --done delivered, relayed, bounced or dropped")
	fs.StringVar(&f.reply, "error", "", "only where the last reply, or the name of its host, contains `text`")
	fs.StringVar(&f.older, "older", "", "only what was accepted before a `time`: 2026-11-20, or how long ago, as 4h or 3d")
	fs.StringVar(&f.younger, "younger", "", "only what was accepted since a `time`")
	fs.StringVar(&f.priority, "priority", "", "only of a `priority`, -9 to 9")
}

// values gives the filter as the API wants it, with nothing in it when no flag was given.
func (f *queueFilter) values() (url.Values, error) {
	v := url.Values{}
	for name, text := range map[string]string{
		"from": f.from, "to": f.to, "domain": f.domain, "state": f.state, "error": f.reply, "priority": f.priority,
	} {
		if text != "" {
			v.Set(name, text)
		}
	}
	for name, text := range map[string]string{"before": f.older, "since": f.younger} {
		t, err := tool.When(text, time.Now())
		if err != nil {
			return nil, err
		}
		if !t.IsZero() {
			v.Set(name, t.UTC().Format(time.RFC3339))
		}
	}
	return v, nil
}

// change is a verb of the queue with what its flags say.
type change struct {
	env           *tool.Env
	verb          string
	filter        queueFilter
	all, dry, yes bool
	in            admin.QueueChange
	clear         bool // of reroute: no host
}

// changeCommands gives the verbs that change items.
func changeCommands(env *tool.Env) []*cobra.Command {
	var all []*cobra.Command
	for verb, short := range map[string]string{
		"retry": "try items now", "hold": "keep items from being tried",
		"release": "let held items go on", "drop": "give items up without a report",
	} {
		all = append(all, changeCommand(&change{env: env, verb: verb}, short))
	}
	x := &change{env: env, verb: "bounce"}
	c := changeCommand(x, "return items to their senders now")
	c.Long += "\nSenders are told as if the time of the item had been over (5.4.7), unless they want no reports."
	c.Flags().StringVar(&x.in.Text, "text", "", "what the report says, in one `line`")
	return append(all, c, rerouteCommand(env))
}

func rerouteCommand(env *tool.Env) *cobra.Command {
	x := &change{env: env, verb: "reroute"}
	c := changeCommand(x, "send items by another host from now on")
	c.Use = "reroute [ID...] HOST[:PORT]"
	c.Long += "\nThe host is looked up by its addresses, not by MX; one that a [[route]] names is spoken to as that says. A host that\n" +
		"leads back to this server is refused. --clear takes the host away again. What waits is due now."
	c.Flags().BoolVar(&x.clear, "clear", false, "send them as their destination wants again")
	c.RunE = func(cmd *cobra.Command, args []string) error {
		if !x.clear {
			if len(args) == 0 {
				return tool.Fail(tool.Usage, "name the host to send them by, or --clear")
			}
			x.in.Via, args = args[len(args)-1], args[:len(args)-1]
		}
		return x.run(cmd, args)
	}
	return c
}

func changeCommand(x *change, short string) *cobra.Command {
	c := &cobra.Command{
		Use: x.verb + " [ID...]", Short: short,
		Long: "Says what is to become of items: those that are named, or with flags all that match them all. How many these are is\n" +
			"asked about first, on a terminal; --dry-run only tells how many, and --yes does not ask.",
		RunE: x.run,
	}
	x.filter.flags(c)
	c.Flags().BoolVar(&x.all, "all", false, "all items")
	c.Flags().BoolVar(&x.dry, "dry-run", false, "only say how many items match")
	c.Flags().BoolVar(&x.yes, "yes", false, "do not ask")
	return c
}

func (x *change) run(cmd *cobra.Command, ids []string) error {
	v, err := x.filter.values()
	if err != nil {
		return err
	}
	many := x.all || len(v) > 0
	switch {
	case many == (len(ids) > 0):
		return tool.Fail(tool.Usage, "say which items: by their ID, or by flags as --domain; --all is all of them")
	case x.dry && !many:
		return tool.Fail(tool.Usage, "--dry-run counts what flags as --domain match, and needs no ID")
	}
	return with(x.env, func(ctx context.Context, c *tool.Client, ids []string) error {
		if many {
			return x.matching(ctx, c, v)
		}
		return x.named(ctx, c, ids)
	})(cmd, ids)
}

// named changes the items with these ids.
func (x *change) named(ctx context.Context, c *tool.Client, ids []string) error {
	for _, id := range ids {
		if err := done(ctx, x.env, c, "POST", tool.At("/v1/queue", id, x.verb), x.in, x.verb+" "+id); err != nil {
			return err
		}
	}
	return nil
}

// matching changes all that match, after a question.
func (x *change) matching(ctx context.Context, c *tool.Client, v url.Values) error {
	path := tool.At("/v1/queue/all", x.verb) + "?"
	var n admin.QueueCount
	if x.dry || !x.yes {
		dry, _ := url.ParseQuery(v.Encode())
		dry.Set("dry_run", "1")
		if err := c.Call(ctx, "POST", path+dry.Encode(), x.in, &n); err != nil {
			return err
		}
	}
	switch {
	case x.dry:
		return x.env.Print(map[string]any{"would": x.verb, "items": n.Items}, "would %s %s", x.verb, tool.Count(n.Items, "item"))
	case !x.yes && n.Items > 0:
		if ok, err := x.env.Confirm(x.verb + " " + tool.Count(n.Items, "item") + "?"); err != nil || !ok {
			return err
		}
	}
	n = admin.QueueCount{}
	if err := c.Call(ctx, "POST", path+v.Encode(), x.in, &n); err != nil {
		return err
	}
	if x.env.Quiet && !x.env.JSON {
		return nil
	}
	return x.env.Print(map[string]any{"done": x.verb, "items": n.Items}, "%s %s", x.verb, tool.Count(n.Items, "item"))
}
