package transfer

import (
	"bufio"
	"context"
	"io"
	"iter"
	"path"
	"strings"
	"time"

	"postel/internal/mail"
)

// emlSource is messages that are files, mailboxes that are directories.
type emlSource struct {
	t      tree
	o      Options
	single bool // one file, which was named: it is a message whatever its name ends in
}

// Messages implements Source.
func (e *emlSource) Messages(ctx context.Context) iter.Seq2[*Message, error] {
	return walked(ctx, func(give func(*Message) error) error {
		var content spool
		defer func() { _ = content.reset() }()
		seen := repeated{}
		taken, aside := 0, 0
		err := e.t.walk(func(f file) error {
			if !emlName(f.name) {
				if !e.single {
					aside++
					e.o.skipped(f.name + ": no .eml file")
					return nil
				}
				if err := noMbox(f); err != nil {
					return err
				}
			}
			taken++
			dir, base := path.Split(f.name)
			meta := Meta{Mailbox: e.o.target(folder(dir)), Date: f.mod.UTC().Truncate(time.Second)}
			_, flags, _ := strings.Cut(strings.TrimSuffix(base, path.Ext(base)), ",")
			meta.Flags = flagsOf(flags, nil)
			sum, err := content.fill(opened(f))
			if err != nil {
				return give(&Message{Meta: meta, Open: func() (io.ReadCloser, error) { return nil, err }})
			}
			meta.Key = seen.key(KeyOf(meta.Mailbox, "eml", sum))
			return give(&Message{Meta: meta, Open: content.open})
		})
		if err == nil && taken == 0 && aside > 0 {
			err = mail.E("transfer.eml", mail.Invalid, "no messages there: their files end in .eml or .msg")
		}
		return err
	})
}

func emlName(name string) bool {
	ext := path.Ext(name)
	return strings.EqualFold(ext, ".eml") || strings.EqualFold(ext, ".msg")
}

// noMbox refuses a file that has messages one after the other: all of it would become one.
func noMbox(f file) error {
	r, err := f.open()
	if err != nil {
		return err
	}
	defer func() { _ = r.Close() }()
	if _, err := newMbox(bufio.NewReader(r)); err == nil {
		return mail.E("transfer.eml", mail.Invalid, "%s is an mbox: postel import mbox", f.name)
	}
	return nil
}

// Subscriptions implements Source.
func (e *emlSource) Subscriptions() []string { return nil }

// Close implements Source.
func (e *emlSource) Close() error { return e.t.close() }

// folder gives the mailbox of a directory of files.
func folder(dir string) string {
	var names []string
	for _, l := range strings.Split(dir, "/") {
		l = strings.TrimSuffix(l, ".sbd") // Thunderbird's directory beside an mbox
		if l = tidy(l); l != "" && l != "." {
			names = append(names, l)
		}
	}
	if len(names) == 0 || len(names) == 1 && strings.EqualFold(names[0], "INBOX") {
		return "INBOX"
	}
	return strings.Join(names, "/")
}
