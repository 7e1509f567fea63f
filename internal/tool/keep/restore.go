package keep

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/url"
	"time"

	"github.com/spf13/cobra"

	"postel/internal/backup"
	"postel/internal/tool"
)

// restoreFlags are the flags of `postel restore`.
type restoreFlags struct {
	account, mailbox, message string
	since, before             string
	to                        string
	dry, proven               bool
}

func restoreCommand(env *tool.Env) *cobra.Command {
	var f restoreFlags
	c := &cobra.Command{
		Use: "restore ARCHIVE...", Short: "bring back what is in archives", Args: cobra.MinimumNArgs(1),
		Long: "Brings back everything, an account, a mailbox or a message, from an archive or a chain of archives that build on one\n" +
			"another, in any order. What is there already is left alone, so a restore that was cut off is begun again. An account\n" +
			"that is missing is made with its password and UIDLs; its mailboxes get a new UIDVALIDITY. The queue comes back held.",
		RunE: func(cmd *cobra.Command, args []string) error { return restore(cmd.Context(), env, args, &f) },
	}
	fl := c.Flags()
	fl.StringVar(&f.account, "account", "", "only the account `ADDRESS`")
	fl.StringVar(&f.mailbox, "mailbox", "", "only what was in the mailbox `NAME`")
	fl.StringVar(&f.message, "message", "", "only one message: m-…, its `ID` in its account, or its Message-ID in angle brackets")
	fl.StringVar(&f.since, "since", "", "only messages received since this `time`: 2026-11-20, RFC 3339, or how long ago, as 3d")
	fl.StringVar(&f.before, "before", "", "only messages received before this `time`")
	fl.StringVar(&f.to, "to", "", "into the account `ADDRESS`, which is there, instead of its own")
	fl.BoolVar(&f.dry, "dry-run", false, "read and verify what would be restored, and do nothing")
	fl.BoolVar(&f.proven, "keep-uidvalidity", false, "no mail came after the backup: UIDs are still those that clients know")
	return c
}

func (f *restoreFlags) selection() (s backup.Selection, err error) {
	s = backup.Selection{Account: f.account, Mailbox: f.mailbox, Message: f.message}
	if s.Since, err = tool.When(f.since, time.Now()); err != nil {
		return s, err
	}
	s.Before, err = tool.When(f.before, time.Now())
	if f.to != "" && f.account == "" && err == nil {
		err = tool.Fail(tool.Usage, "--to takes the mail of one account: name it with --account")
	}
	return s, err
}

func restore(ctx context.Context, env *tool.Env, names []string, f *restoreFlags) error {
	sel, err := f.selection()
	if err != nil {
		return err
	}
	c, done, err := chain(names)
	if err != nil {
		return err
	}
	defer done()
	if f.dry {
		s, err := c.Stream(io.Discard, sel)
		if err != nil {
			return err
		}
		if err := env.Print(s, "%d messages of %d accounts, %d in the queue would be restored", s.Messages, s.Accounts, s.Queue); err != nil {
			return err
		}
		return tellDamage(env, s.Damaged)
	}
	return apply(ctx, env, c, sel, f)
}

// restored is what `postel restore` prints.
type restored struct {
	backup.Restored
	Damaged []backup.Damage `json:"damaged,omitempty"`
}

func apply(ctx context.Context, env *tool.Env, c backup.Chain, sel backup.Selection, f *restoreFlags) error {
	client, err := env.Client(ctx)
	if err != nil {
		return err
	}
	r, w := io.Pipe()
	var s backup.Selected
	read, show := make(chan struct{}), tool.NewProgress(env)
	go func() {
		defer close(read)
		var err error
		s, err = c.Stream(show.Octets(w, "of the archive restored"), sel)
		_ = w.CloseWithError(err) // nil is the end
	}()
	q := url.Values{"to": {f.to}}
	if f.proven {
		q.Set("proven", "true")
	}
	var out restored
	err = client.Exchange(ctx, "POST", "/v1/restore?"+q.Encode(), r, func(answer io.Reader) error {
		return json.NewDecoder(answer).Decode(&out.Restored)
	})
	_ = r.Close() // ends Stream, where the server answered before it was done
	<-read
	show.End()
	if cerr := client.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return err
	}
	out.Damaged = s.Damaged
	if (sel.Account != "" && s.Accounts == 0 || (sel.Message != "" || sel.Mailbox != "") && s.Messages == 0) && len(out.Damaged) == 0 {
		return tool.Fail(tool.Found, "nothing of that is in the archive")
	}
	text := fmt.Sprintf("%d messages are back, %d were there; %d accounts made, %d items held in the queue",
		out.Messages, out.Present, out.Accounts, out.Queue)
	if out.Bodies > 0 {
		text += fmt.Sprintf("; %s replaced", tool.Count(out.Bodies, "damaged body", "damaged bodies"))
	}
	if err := env.Print(out, "%s", text); err != nil {
		return err
	}
	return tellDamage(env, out.Damaged)
}
