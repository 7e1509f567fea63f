package transfer

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"iter"
	"path"
	"strconv"
	"strings"

	"postel/internal/mail"
)

// mboxSource is one mbox file or a tree of them; the mailbox's name is the file's.
type mboxSource struct {
	t      tree
	o      Options
	single bool
}

// Messages implements Source.
func (m *mboxSource) Messages(ctx context.Context) iter.Seq2[*Message, error] {
	return walked(ctx, func(give func(*Message) error) error {
		seen := repeated{} // over all files, for two may go to one mailbox
		return m.t.walk(func(f file) error {
			if strings.HasSuffix(f.name, ".msf") {
				return nil // Thunderbird's indexes
			}
			r, err := f.open()
			if err != nil {
				return err
			}
			defer func() { _ = r.Close() }()
			if strings.HasPrefix(path.Base(f.name), ".") && !m.single { // what copies and editors leave behind
				if _, err := newMbox(r); err == nil {
					m.o.skipped(f.name + ": a hidden file")
				}
				return nil
			}
			return m.file(f.name, r, seen, give)
		})
	})
}

func (m *mboxSource) file(name string, r io.Reader, seen repeated, give func(*Message) error) error {
	b := bufio.NewReaderSize(r, 4096)
	if looksEmpty(b) {
		return nil
	}
	box, err := newMbox(b)
	if mail.Is(err, mail.Invalid) && !m.single {
		m.o.skipped(name + ": no mbox")
		return nil
	}
	if err != nil {
		return err
	}
	target := m.o.Mailbox
	if !m.single || target == "" {
		target = m.o.target(mboxName(name))
	}
	var it mboxItem
	defer func() { _ = it.content.reset() }()
	for {
		if err := box.next(&it); err != nil {
			if errors.Is(err, io.EOF) {
				return nil
			}
			return mail.E("transfer.mbox", mail.Invalid, "%s: %v", name, err)
		}
		msg, err := it.message(target, seen)
		if err == nil {
			err = give(msg)
		}
		if err != nil {
			return err
		}
	}
}

// message makes a Message of what next read. Its key is the digest of its content and its From_ line, and how many such
// came before.
func (it *mboxItem) message(target string, seen repeated) (*Message, error) {
	open := func() (io.ReadCloser, error) {
		r, err := it.content.open()
		if err != nil {
			return nil, err
		}
		return io.NopCloser(CRLF(r)), nil
	}
	h := sha256.New()
	_, _ = io.WriteString(h, it.from+"\n")
	r, err := open()
	if err == nil {
		_, err = io.Copy(h, r)
	}
	if err != nil {
		return nil, err
	}
	sum := hex.EncodeToString(h.Sum(nil))
	nth := seen.before(KeyOf(target, sum))
	meta := Meta{Mailbox: target, Flags: it.flags, Date: it.date}
	meta.Key = KeyOf(target, "mbox", sum, strconv.FormatUint(uint64(nth), 10))
	return &Message{Meta: meta, Open: open}, nil
}

// mboxName gives the mailbox of an mbox file.
func mboxName(name string) string {
	dir, base := path.Split(name)
	for _, ext := range []string{".mbox", ".mbx"} {
		base = strings.TrimSuffix(base, ext)
	}
	if strings.EqualFold(base, "mbox") && strings.HasSuffix(strings.TrimSuffix(dir, "/"), ".mbox") { // Apple Mail: Name.mbox/mbox
		base, dir = strings.TrimSuffix(path.Base(dir), ".mbox"), path.Dir(path.Clean(dir))
	}
	full := folder(path.Join(dir, base))
	if strings.EqualFold(full, "mbox") {
		return "INBOX"
	}
	return full
}

// Subscriptions implements Source.
func (m *mboxSource) Subscriptions() []string { return nil }

// Close implements Source.
func (m *mboxSource) Close() error { return m.t.close() }

// looksEmpty tells whether a reader has nothing but space.
func looksEmpty(b *bufio.Reader) bool {
	head, _ := b.Peek(512)
	return len(bytes.TrimSpace(head)) == 0
}
