package carry

import (
	"errors"
	"io"
	"net/url"

	"github.com/spf13/cobra"

	"postel/internal/mail"
	"postel/internal/tool"
	"postel/internal/transfer"
)

func exportCommand(env *tool.Env) *cobra.Command {
	var verbs []*cobra.Command
	for _, k := range []struct{ kind, short string }{
		{"maildir", "into a maildir with folders (Maildir++)"},
		{"mbox", "into an mbox file a mailbox (mboxrd)"},
		{"eml", "into a file a message"},
	} {
		verbs = append(verbs, exportVerb(env, k.kind, k.short))
	}
	return tool.Noun("export", "take mail out, for another system", verbs...)
}

func exportVerb(env *tool.Env, kind, short string) *cobra.Command {
	var account, mailbox string
	c := &cobra.Command{
		Use: kind + " DIRECTORY --account ADDRESS", Short: "take mail out " + short, Args: cobra.ExactArgs(1),
		Long: "Takes mail out " + short + ". DIRECTORY must be empty or not exist. What cannot be read is named and left out, and the exit code is 1.",
		RunE: func(cmd *cobra.Command, args []string) error {
			if account == "" {
				return tool.Fail(tool.Usage, "whose mail? name the account with --account")
			}
			return env.With(cmd.Context(), func(c *tool.Client) error {
				from := tool.At("/v1/accounts", account, "export")
				if mailbox != "" {
					from += "?mailbox=" + url.QueryEscape(mailbox)
				}
				e := &exporting{env: env, kind: kind, dir: args[0], show: tool.NewProgress(env), boxes: map[string]*exported{}}
				return c.Raw(cmd.Context(), from, e.read)
			})
		},
	}
	c.Flags().StringVar(&account, "account", "", "`address` of the account")
	c.Flags().StringVar(&mailbox, "mailbox", "", "only this `mailbox` and what is below it")
	return c
}

// exported is what was written of one mailbox.
type exported struct {
	Mailbox  string `json:"mailbox"`
	Exported int    `json:"exported"`
	Damaged  int    `json:"damaged"`
}

// damage is a message that could not be read.
type damage struct {
	Mailbox string `json:"mailbox"`
	UID     uint32 `json:"uid,omitempty"`
	Problem string `json:"problem"`
}

// exporting is one export.
type exporting struct {
	env        *tool.Env
	kind, dir  string
	show       *tool.Progress
	boxes      map[string]*exported
	order      []string
	subscribed []string
	n, damaged int
}

// read writes what the server gives.
func (e *exporting) read(r io.Reader) error {
	t, err := transfer.Create(e.kind, e.dir)
	if err != nil {
		return err
	}
	in := transfer.NewReader(r)
	for err == nil {
		var m transfer.Meta
		if m, err = in.Next(); err == nil {
			err = e.take(t, m, in)
		}
	}
	e.show.End()
	if errors.Is(err, io.EOF) {
		err = nil
	}
	if cerr := t.Close(e.subscribed); err == nil {
		err = cerr
	}
	if err != nil {
		return err
	}
	return e.report()
}

// take writes one message, or notes why it cannot.
func (e *exporting) take(t *transfer.Target, m transfer.Meta, content io.Reader) error {
	box := e.boxes[m.Mailbox]
	if box == nil {
		box = &exported{Mailbox: m.Mailbox}
		e.boxes[m.Mailbox] = box
		e.order = append(e.order, m.Mailbox)
	}
	if m.UID == 0 {
		if m.Subscribed {
			e.subscribed = append(e.subscribed, m.Mailbox)
		}
		if m.Problem != "" {
			return e.damage(box, m)
		}
		return t.Mailbox(m.Mailbox)
	}
	if m.Problem == "" {
		err := t.Put(m, content)
		if !mail.Is(err, mail.Rejected) {
			box.Exported++
			e.n++
			e.show.Show("%s: %d messages", m.Mailbox, e.n)
			return err
		}
		m.Problem = "its content cannot be read whole: " + err.Error()
	}
	return e.damage(box, m)
}

func (e *exporting) damage(box *exported, m transfer.Meta) error {
	box.Damaged++
	e.damaged++
	e.show.End()
	if e.env.JSON {
		return e.env.Print(damage{m.Mailbox, m.UID, m.Problem}, "")
	}
	if m.UID == 0 {
		e.env.Say("%s: %s", m.Mailbox, m.Problem)
	} else {
		e.env.Say("%s, message %d: %s", m.Mailbox, m.UID, m.Problem)
	}
	return nil
}

func (e *exporting) report() error {
	for _, name := range e.order {
		b := e.boxes[name]
		if err := e.env.Print(b, "%-30s %7d exported %7d damaged", b.Mailbox, b.Exported, b.Damaged); err != nil {
			return err
		}
	}
	if e.damaged > 0 {
		return tool.Fail(tool.Found, "%d could not be read", e.damaged)
	}
	return nil
}
