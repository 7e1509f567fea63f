package carry

import (
	"context"
	"errors"
	"io"
	"slices"

	"github.com/spf13/cobra"

	"postel/internal/admin"
	"postel/internal/mail"
	"postel/internal/tool"
	"postel/internal/transfer"
)

func importCommand(env *tool.Env) *cobra.Command {
	verbs := []*cobra.Command{}
	for _, k := range []struct{ kind, short string }{
		{"maildir", "a maildir with its folders (Maildir++ or plain directories)"},
		{"mbox", "an mbox file, or a directory of them"},
		{"eml", "files of one message each"},
	} {
		verbs = append(verbs, verb(env, k.kind+" SOURCE --account ADDRESS", "bring mail from "+k.short,
			"SOURCE is a directory, a file, or an archive (.tar, .tar.gz, .zip).",
			func(_ context.Context, source string, o transfer.Options) (transfer.Source, error) {
				return transfer.Open(k.kind, source, o)
			}))
	}
	return tool.Noun("import", "bring mail from another system", append(verbs, importIMAP(env))...)
}

func importIMAP(env *tool.Env) *cobra.Command {
	var stdin, insecure bool
	var password string
	c := verb(env, "imap URL --account ADDRESS", "bring mail from another server by IMAP",
		"URL is imap://user@host or imaps://user@host, with /MAILBOX behind it for one mailbox.",
		func(ctx context.Context, source string, o transfer.Options) (transfer.Source, error) {
			if stdin {
				var err error
				if password, err = env.Password(); err != nil {
					return nil, err
				}
			}
			return transfer.OpenIMAP(ctx, transfer.IMAPOptions{Options: o, URL: source, Password: password, Insecure: insecure})
		})
	c.Flags().BoolVar(&stdin, "password-stdin", false, "read the password from standard input")
	c.Flags().BoolVar(&insecure, "insecure", false, "take any certificate, and a server without TLS")
	return c
}

// counts is what became of the messages of one mailbox, or of all.
type counts struct {
	Mailbox  string `json:"mailbox"`
	Found    int    `json:"found"`
	Imported int    `json:"imported"`
	Present  int    `json:"present"` // imported before
	Refused  int    `json:"refused"`
}

// refusal is a message that was not taken.
type refusal struct {
	Mailbox string `json:"mailbox"`
	Refused string `json:"refused"`
}

// run is one import.
type run struct {
	env     *tool.Env
	c       *tool.Client
	account string
	again   bool
	known   map[transfer.Key]bool
	boxes   map[string]*counts
	order   []string
	taken   map[transfer.Key]bool // said by the server to be there
	show    *tool.Progress
	total   counts
	stop    error // why going on makes no sense
}

// opener opens the source.
type opener func(ctx context.Context, source string, o transfer.Options) (transfer.Source, error)

func verb(env *tool.Env, use, short, long string, open opener) *cobra.Command {
	var account, mailbox string
	var again bool
	c := &cobra.Command{
		Use: use, Short: short, Args: cobra.ExactArgs(1),
		Long: short + ". " + long + "\nMay be cut off and run again: what was imported is not imported twice.",
		RunE: func(cmd *cobra.Command, args []string) error {
			if account == "" {
				return tool.Fail(tool.Usage, "whose mail is it? name the account with --account")
			}
			return env.With(cmd.Context(), func(c *tool.Client) error {
				r := &run{
					env: env, c: c, account: account, again: again, show: tool.NewProgress(env),
					known: map[transfer.Key]bool{}, taken: map[transfer.Key]bool{}, boxes: map[string]*counts{},
				}
				return r.all(cmd.Context(), args[0], mailbox, open)
			})
		},
	}
	c.Flags().StringVar(&account, "account", "", "`address` of the account that gets the mail")
	c.Flags().StringVar(&mailbox, "mailbox", "", "`mailbox` that it goes to, or below")
	c.Flags().BoolVar(&again, "again", false, "import what was imported before once more")
	return c
}

func (r *run) all(ctx context.Context, source, mailbox string, open opener) error {
	if err := r.keys(ctx, func(k transfer.Key) { r.known[k] = !r.again }); err != nil {
		return err
	}
	src, err := open(ctx, source, transfer.Options{
		Mailbox: mailbox, Known: func(k transfer.Key) bool { return r.known[k] },
		Skipped: func(s string) { r.env.Say("left aside: %s", s) },
	})
	if err != nil {
		return err
	}
	err = r.messages(ctx, src)
	if err == nil && len(src.Subscriptions()) > 0 {
		err = r.c.Call(ctx, "POST", tool.At("/v1/accounts", r.account, "subscriptions"), map[string][]string{"names": src.Subscriptions()}, nil)
	}
	r.show.End()
	if cerr := src.Close(); err == nil {
		err = cerr
	}
	if perr := r.report(ctx, err == nil); err == nil {
		err = perr
	}
	return err
}

// keys gives the keys of what the account has from imports.
func (r *run) keys(ctx context.Context, fn func(transfer.Key)) error {
	return tool.Each(ctx, r.c, tool.At("/v1/accounts", r.account, "imported"), func(k transfer.Key) error {
		fn(k)
		return nil
	})
}

// messages sends what the source gives, in requests of a few.
func (r *run) messages(ctx context.Context, src transfer.Source) error {
	b := &batch{r: r, ctx: ctx}
	for m, err := range src.Messages(ctx) {
		if err != nil {
			return errors.Join(b.end(), err)
		}
		r.of(m.Mailbox).Found++
		r.total.Found++
		r.show.Show("%s: %d messages, %d imported, %d there before", m.Mailbox, r.total.Found, r.total.Imported, r.total.Present)
		if r.known[m.Key] {
			r.taken[m.Key] = true
			r.of(m.Mailbox).Present++
			r.total.Present++
			continue
		}
		if err := b.add(m); err != nil {
			return err
		}
		if r.stop != nil {
			return errors.Join(b.end(), r.stop)
		}
	}
	if err := b.end(); err != nil {
		return err
	}
	return r.stop
}

func (r *run) of(box string) *counts {
	if r.boxes[box] == nil {
		r.boxes[box] = &counts{Mailbox: box}
		r.order = append(r.order, box)
	}
	return r.boxes[box]
}

// result takes what the server says of one message. from is the mailbox that it was sent for.
func (r *run) result(from map[transfer.Key]string, v admin.ImportResult) error {
	c := r.of(from[v.Key])
	switch v.State {
	case "imported":
		c.Imported++
		r.total.Imported++
		r.known[v.Key], r.taken[v.Key] = true, true
	case "present":
		c.Present++
		r.total.Present++
		r.taken[v.Key] = true
	default:
		if v.Temporary {
			r.stop = &mail.Error{Op: "import", Kind: mail.Unavailable, Text: "stopped: " + v.Reason + "; run it again to go on"}
		}
		return r.refused(from[v.Key], v.Reason)
	}
	return nil
}

func (r *run) refused(box, why string) error {
	r.of(box).Refused++
	r.total.Refused++
	if r.env.JSON {
		return r.env.Print(refusal{box, why}, "")
	}
	r.show.End()
	r.env.Say("refused, %s: %s", box, why)
	return nil
}

// report prints the counts, and verifies them with what the server has now.
func (r *run) report(ctx context.Context, whole bool) error {
	slices.Sort(r.order)
	for _, name := range r.order {
		c := r.boxes[name]
		if err := r.env.Print(c, "%-30s %7d found %7d imported %7d there before %7d refused", c.Mailbox, c.Found, c.Imported, c.Present, c.Refused); err != nil {
			return err
		}
	}
	if !whole {
		return nil
	}
	missing := len(r.taken)
	if err := r.keys(ctx, func(k transfer.Key) {
		if r.taken[k] {
			missing--
		}
	}); err != nil {
		return err
	}
	if missing != 0 || r.total.Found != r.total.Imported+r.total.Present+r.total.Refused {
		return tool.Fail(tool.Found, "the counts do not agree: %d messages are missing", missing)
	}
	if r.total.Refused > 0 {
		return tool.Fail(tool.Found, "%d of %d messages were refused", r.total.Refused, r.total.Found)
	}
	r.env.Say("%d messages, verified", r.total.Found)
	return nil
}

// What one request has at most.
const (
	batchMessages = 64
	batchOctets   = 8 << 20
)

// batch is one request: its body is written while the server reads it.
type batch struct {
	r      *run
	ctx    context.Context
	w      *transfer.Writer
	pipe   *io.PipeWriter
	done   chan error
	from   map[transfer.Key]string
	octets int64
	said   []admin.ImportResult
}

func (b *batch) begin() {
	pr, pw := io.Pipe()
	b.pipe, b.w, b.done, b.octets = pw, transfer.NewWriter(pw), make(chan error, 1), 0
	b.from, b.said = map[transfer.Key]string{}, nil
	to := tool.At("/v1/accounts", b.r.account, "import")
	if b.r.again {
		to += "?again=1"
	}
	go func() {
		err := tool.Stream(b.ctx, b.r.c, to, pr, func(v admin.ImportResult) error {
			b.said = append(b.said, v)
			return nil
		})
		_ = pr.CloseWithError(io.ErrClosedPipe) // who still writes gives up
		b.done <- err
	}()
}

// add sends a message; a source that cannot give it makes a refusal.
func (b *batch) add(m *transfer.Message) error {
	content, err := m.Open()
	if err != nil {
		if mail.Is(err, mail.Unavailable) || b.ctx.Err() != nil {
			return errors.Join(b.end(), err)
		}
		return b.r.refused(m.Mailbox, err.Error())
	}
	defer func() { _ = content.Close() }()
	if b.w == nil {
		b.begin()
	}
	b.from[m.Key] = m.Mailbox
	counted := &counter{r: content}
	if err := b.w.Put(m.Meta, counted); err != nil {
		return b.end() // the server's answer says more
	}
	if b.octets += counted.n; len(b.from) >= batchMessages || b.octets >= batchOctets {
		return b.end()
	}
	return nil
}

// end waits for the answer.
func (b *batch) end() error {
	if b.w == nil {
		return nil
	}
	err := b.w.Flush()
	_ = b.pipe.CloseWithError(err)
	b.w = nil
	if served := <-b.done; served != nil {
		return served
	}
	if err != nil {
		return err
	}
	for _, v := range b.said {
		if err := b.r.result(b.from, v); err != nil {
			return err
		}
	}
	if len(b.said) != len(b.from) {
		return tool.Fail(tool.Found, "the server answered for %d of %d messages", len(b.said), len(b.from))
	}
	return nil
}

type counter struct {
	r io.Reader
	n int64
}

func (c *counter) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	return n, err
}
