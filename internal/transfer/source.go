package transfer

import (
	"context"
	"errors"
	"io"
	"iter"
	"strings"

	"postel/internal/mail"
)

// Source gives the messages of somebody else's mail, mailbox by mailbox where it can. An error ends it; what is wrong
// with one message alone is told by its Problem.
type Source interface {
	Messages(ctx context.Context) iter.Seq2[*Message, error]
	// Subscriptions gives the names of the mailboxes that are subscribed to, once Messages has ended; nil when the
	// source does not know.
	Subscriptions() []string
	Close() error
}

// Options are what all sources share.
type Options struct {
	// Mailbox is the mailbox that everything goes to, or below; "" leaves the names as they are.
	Mailbox string
	// Skipped is told what was left aside, and why.
	Skipped func(string)
	// Known tells of messages that nobody will open; nil knows none.
	Known func(Key) bool
}

func (o *Options) known(k Key) bool { return o.Known != nil && o.Known(k) }

func (o *Options) skipped(text string) {
	if o.Skipped != nil {
		o.Skipped(text)
	}
}

// target gives the mailbox for one of the source's.
func (o *Options) target(name string) string {
	switch {
	case o.Mailbox == "":
		return name
	case name == "INBOX":
		return o.Mailbox
	}
	return o.Mailbox + "/" + strings.TrimPrefix(name, "INBOX/")
}

// Open opens a source of files: kind is maildir, mbox or eml, name a directory, a file, or an archive of such.
func Open(kind, name string, o Options) (Source, error) {
	t, err := openTree(name, o.skipped)
	if err != nil {
		return nil, err
	}
	_, single := t.(*oneFile)
	switch kind {
	case "maildir":
		if single {
			err = mail.E("transfer.open", mail.Invalid, "%s is neither a directory nor an archive", name)
			break
		}
		var m *maildir
		if m, err = newMaildir(t, o); err == nil {
			return m, nil
		}
	case "mbox":
		return &mboxSource{t: t, o: o, single: single}, nil
	case "eml":
		return &emlSource{t: t, o: o, single: single}, nil
	default:
		err = mail.E("transfer.open", mail.Invalid, "no such kind of source")
	}
	return nil, errors.Join(err, t.close())
}

// stop ends a walk because nobody wants more.
var errStop = errors.New("stop")

// walked gives what a walk finds as a sequence.
func walked(ctx context.Context, walk func(give func(*Message) error) error) iter.Seq2[*Message, error] {
	return func(yield func(*Message, error) bool) {
		err := walk(func(m *Message) error {
			if err := ctx.Err(); err != nil {
				return err
			}
			if !yield(m, nil) {
				return errStop
			}
			return nil
		})
		if err != nil && !errors.Is(err, errStop) {
			yield(nil, err)
		}
	}
}

// opened reads a file of a source as mail, bounded.
func opened(f file) func() (io.ReadCloser, error) {
	return func() (io.ReadCloser, error) {
		r, err := f.open()
		if err != nil {
			return nil, err
		}
		return struct {
			io.Reader
			io.Closer
		}{CRLF(&bounded{r, MaxMessage}), r}, nil
	}
}

// bounded fails beyond a number of octets.
type bounded struct {
	r    io.Reader
	left int64
}

func (b *bounded) Read(p []byte) (int, error) {
	n, err := b.r.Read(p)
	if b.left -= int64(n); b.left < 0 {
		return 0, errTooLarge
	}
	return n, err
}
