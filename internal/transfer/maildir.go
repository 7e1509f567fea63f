package transfer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"postel/internal/mail"
	"postel/internal/proto/imap"
)

// maildir is a maildir with its folders, either those of Maildir++ (".Sent.2024" beside cur) or plain directories, or
// several of them below one directory.
type maildir struct {
	t          tree
	o          Options
	root       string              // the directory of INBOX
	keywords   map[string][]string // by directory: the 26 of Dovecot
	subscribed []string
}

// newMaildir looks through the tree once: where INBOX is, and what the small files beside the messages say. Kind Invalid
// when there is no maildir in it.
func newMaildir(t tree, o Options) (*maildir, error) {
	m := &maildir{t: t, o: o, keywords: map[string][]string{}}
	var dirs []string
	seen := map[string]bool{}
	small := map[string][]string{} // subscriptions, by directory
	err := t.walk(func(f file) error {
		dir, base := path.Split(f.name)
		dir = path.Clean(dir)
		if sub := path.Base(dir); sub == "cur" || sub == "new" {
			if box := path.Dir(dir); !seen[box] {
				seen[box] = true
				dirs = append(dirs, box)
			}
			return nil
		}
		if base != "dovecot-keywords" && base != "subscriptions" && base != "courierimapsubscribed" {
			return nil
		}
		lines, err := smallFile(f)
		if err != nil {
			o.skipped(f.name + ": " + err.Error())
			return nil
		}
		if base == "dovecot-keywords" {
			m.keywords[dir] = keywordLines(lines)
		} else {
			small[dir] = lines
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	if len(dirs) == 0 && len(m.keywords) == 0 {
		return nil, mail.E("transfer.maildir", mail.Invalid, "no maildir there: no directory with cur or new in it")
	}
	m.root = commonRoot(dirs)
	for _, l := range small[m.root] {
		if !strings.HasPrefix(l, "V\t") && l != "" {
			m.subscribed = append(m.subscribed, o.target(subscribedName(l)))
		}
	}
	return m, nil
}

// subscribedName reads a line of a list of subscriptions: levels are parted by tabs, by dots, or by slashes.
func subscribedName(l string) string {
	if name, ok := imap.DecodeMailbox(l); ok {
		l = name
	}
	l = strings.ReplaceAll(strings.TrimPrefix(strings.TrimPrefix(l, "INBOX."), "INBOX\t"), "\t", "/")
	if !strings.Contains(l, "/") {
		l = strings.ReplaceAll(l, ".", "/")
	}
	return l
}

// smallFile reads the lines of a file that is not mail.
func smallFile(f file) ([]string, error) {
	r, err := f.open()
	if err != nil {
		return nil, err
	}
	defer func() { _ = r.Close() }()
	b, err := io.ReadAll(io.LimitReader(r, 1<<20))
	if err != nil {
		return nil, err
	}
	return strings.Split(strings.ReplaceAll(string(b), "\r", ""), "\n"), nil
}

// keywordLines reads "0 $Forwarded": the letter a in a file's name is keyword 0.
func keywordLines(lines []string) []string {
	k := make([]string, 26)
	for _, l := range lines {
		n, name, ok := strings.Cut(l, " ")
		if i, err := strconv.Atoi(n); ok && err == nil && i >= 0 && i < 26 {
			k[i] = strings.TrimSpace(name)
		}
	}
	return k
}

// commonRoot gives the directory that is INBOX: the one that all others are in, or, when none is, what they share.
func commonRoot(dirs []string) string {
	if len(dirs) == 0 {
		return "."
	}
	shortest := slices.MinFunc(dirs, func(a, b string) int { return len(a) - len(b) })
	for root := shortest; ; root = path.Dir(root) {
		if root == "." || !slices.ContainsFunc(dirs, func(d string) bool { return d != root && !strings.HasPrefix(d, root+"/") }) {
			return root
		}
	}
}

// box gives the mailbox of a directory.
func (m *maildir) box(dir string) string {
	rel := dir
	if m.root != "." {
		rel = strings.TrimPrefix(strings.TrimPrefix(dir, m.root), "/")
	}
	if rel == "" || rel == "." {
		return "INBOX"
	}
	levels := strings.Split(rel, "/")
	var names []string
	for _, l := range levels {
		parts := []string{l}
		if strings.HasPrefix(l, ".") && len(l) > 1 {
			parts = strings.Split(l[1:], ".")
		}
		for _, p := range parts {
			if name, ok := imap.DecodeMailbox(p); ok {
				p = name
			}
			if p = tidy(p); p != "" {
				names = append(names, p)
			}
		}
	}
	if len(names) > 1 && names[0] == "INBOX" {
		names = names[1:]
	}
	if len(names) == 0 {
		return "_" // nothing of its name can be one of ours
	}
	return strings.Join(names, "/")
}

// tidy makes a level of a mailbox's name of what a file was called.
func tidy(s string) string {
	s = strings.ToValidUTF8(s, "�")
	s = strings.Map(func(r rune) rune {
		switch {
		case r < 0x20 || r == 0x7f:
			return -1
		case r == '/' || r == '*' || r == '%':
			return '_'
		}
		return r
	}, s)
	if len(s) > 200 {
		s = strings.ToValidUTF8(s[:200], "")
	}
	return strings.TrimSpace(s)
}

// maxPasses is how often a maildir that is in use is looked through.
const maxPasses = 4

// Messages implements Source. Whoever uses a maildir meanwhile moves messages from new to cur, and renames them with each
// flag: a directory is looked through again until nothing moved and nothing new is found.
func (m *maildir) Messages(ctx context.Context) iter.Seq2[*Message, error] {
	return walked(ctx, func(give func(*Message) error) error {
		_, live := m.t.(*dirTree)
		given := map[Key]bool{}
		for n := 1; ; n++ {
			p := &pass{m: m, seen: repeated{}, given: given, give: give}
			if err := m.t.walk(p.file); err != nil {
				return err
			}
			if !live || p.found == 0 && p.moved == 0 {
				return nil
			}
			if n == maxPasses {
				if p.moved > 0 {
					m.o.skipped(fmt.Sprintf("%d messages that were moved each time they were looked for: run it again", p.moved))
				}
				return nil
			}
		}
	})
}

// pass is one look through a maildir.
type pass struct {
	m            *maildir
	seen         repeated
	given        map[Key]bool // in this pass or one before
	give         func(*Message) error
	found, moved int
}

// file gives the message of a file.
func (p *pass) file(f file) error {
	m := p.m
	dir, base := path.Split(f.name)
	sub := path.Base(dir)
	if sub != "cur" && sub != "new" || strings.HasPrefix(base, ".") {
		return nil
	}
	box := path.Dir(path.Clean(dir))
	name, letters, _ := strings.Cut(base, ":2,")
	name, _, _ = strings.Cut(name, ":")
	meta := Meta{Mailbox: m.o.target(m.box(box)), Flags: flagsOf(letters, m.keywords[box]), Date: received(name, f.mod)}
	unique, _, _ := strings.Cut(name, ",")
	meta.Key = p.seen.key(KeyOf(meta.Mailbox, "maildir", unique))
	if p.given[meta.Key] {
		return nil
	}
	msg := &Message{Meta: meta, Open: opened(f)}
	if !m.o.known(meta.Key) { // it is there, or it has moved: only now can that be told
		content, err := opened(f)()
		if errors.Is(err, fs.ErrNotExist) {
			p.moved++
			return nil
		}
		if err == nil {
			defer func() { _ = content.Close() }() // again, where it was opened: nothing was written
		}
		msg.Open = func() (io.ReadCloser, error) { return content, err }
	}
	p.given[meta.Key] = true
	p.found++
	return p.give(msg)
}

// flagsOf reads the letters behind ":2,": those of maildir, and those of Dovecot for a mailbox's keywords.
func flagsOf(letters string, keywords []string) []string {
	var flags []string
	for _, c := range letters {
		if f := maildirLetters().flag(c); f != "" {
			flags = append(flags, f)
		} else if k := int(c - 'a'); k >= 0 && k < len(keywords) && keywords[k] != "" {
			flags = append(flags, keywords[k])
		}
	}
	slices.Sort(flags)
	return slices.Compact(flags)
}

// received is the date of a message: the file's, as IMAP servers on maildirs keep INTERNALDATE, else the one of its name.
func received(name string, mod time.Time) time.Time {
	if !mod.IsZero() && mod.Unix() > 0 {
		return mod.UTC().Truncate(time.Second)
	}
	secs, _, _ := strings.Cut(name, ".")
	if n, err := strconv.ParseInt(secs, 10, 64); err == nil && n > 0 && n < 1<<33 {
		return time.Unix(n, 0).UTC()
	}
	return time.Time{}
}

// Subscriptions implements Source.
func (m *maildir) Subscriptions() []string { return m.subscribed }

// Close implements Source.
func (m *maildir) Close() error { return m.t.close() }
