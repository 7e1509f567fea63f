package transfer

import (
	"errors"
	"fmt"
	"hash"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"postel/internal/mail"
	"postel/internal/proto/imap"
)

// Target takes messages, mailbox by mailbox. It makes what it needs below one directory, which has to be empty or not
// to exist, and never writes over anything.
type Target struct {
	kind     string
	root     *os.Root
	content  spool
	sum      hash.Hash32 // of content
	mbox     *os.File    // the mailbox that is being written
	box      string
	made     map[string]string // mailbox: its directory, or its file
	keywords map[string][]string
}

// Create makes a target of a kind: maildir, mbox or eml. Kinds: Invalid, Exists, Denied.
func Create(kind, dir string) (*Target, error) {
	if !slices.Contains([]string{"maildir", "mbox", "eml"}, kind) {
		return nil, mail.E("transfer.create", mail.Invalid, "no such kind of target")
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, mail.E("transfer.create", mail.Denied, "%v", err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, mail.E("transfer.create", mail.Denied, "%v", err)
	}
	if len(entries) > 0 {
		return nil, mail.E("transfer.create", mail.Exists, "%s is not empty: nothing is written over", dir)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, mail.E("transfer.create", mail.Denied, "%v", err)
	}
	return &Target{kind: kind, root: root, sum: crc32.NewIEEE(), made: map[string]string{}, keywords: map[string][]string{}}, nil
}

// Mailbox makes a mailbox, also one without messages.
func (t *Target) Mailbox(name string) error {
	if _, ok := t.made[name]; ok {
		return nil
	}
	place := t.unused(t.place(name))
	t.made[name] = place
	switch t.kind {
	case "maildir":
		for _, sub := range []string{"tmp", "new", "cur"} {
			if err := t.root.MkdirAll(path.Join(place, sub), 0o700); err != nil {
				return err
			}
		}
		if place == "." {
			return nil
		}
		return t.write(path.Join(place, "maildirfolder"), nil)
	case "mbox":
		if err := t.root.MkdirAll(path.Dir(place), 0o700); err != nil {
			return err
		}
		return t.write(place, nil)
	}
	return t.root.MkdirAll(place, 0o700)
}

// place gives the name of a mailbox in the file system.
func (t *Target) place(name string) string {
	levels := strings.Split(name, "/")
	switch t.kind {
	case "maildir": // Maildir++: a dot parts levels
		if name == "INBOX" {
			return "."
		}
		for i := range levels {
			levels[i] = strings.ReplaceAll(imap.EncodeMailbox(levels[i]), ".", "_")
		}
		name := "." + strings.Join(levels, ".")
		return name[:min(len(name), 200)]
	case "mbox":
		for i := range levels {
			levels[i] = safe(levels[i])
			if levels[i][0] == '.' {
				levels[i] = "_" + levels[i][1:] // else nobody would see it, and an import would leave it aside
			}
			if i < len(levels)-1 {
				levels[i] += ".sbd"
			}
		}
		return path.Join(levels...) + ".mbox"
	}
	for i := range levels {
		if levels[i] = safe(levels[i]); strings.EqualFold(path.Ext(levels[i]), ".eml") {
			levels[i] += "_" // no message's name
		}
	}
	return path.Join(levels...)
}

// safe makes a file's name of a level.
func safe(s string) string {
	s = strings.Map(func(r rune) rune {
		if r < 0x20 || strings.ContainsRune(`/\:*?"<>|`, r) {
			return '_'
		}
		return r
	}, s)
	if strings.Trim(s, ".") == "" {
		s = strings.Repeat("_", max(len(s), 1))
	}
	for len(s) > 200 {
		s = strings.ToValidUTF8(s[:200], "")
	}
	return s
}

// unused gives a name that no other mailbox has, which two may share that differ in what files' names cannot tell.
func (t *Target) unused(place string) string {
	taken := func(p string) bool {
		for _, o := range t.made {
			if strings.EqualFold(o, p) {
				return true
			}
		}
		return false
	}
	for n, p := 2, place; ; n++ {
		if !taken(p) {
			return p
		}
		if p = place + "_" + strconv.Itoa(n); t.kind == "mbox" {
			p = strings.TrimSuffix(place, ".mbox") + "_" + strconv.Itoa(n) + ".mbox"
		}
	}
}

// Put writes a message. An error of r with Kind Rejected, which says that the content is not whole, is returned and
// nothing is written; any other error is one of writing.
func (t *Target) Put(m Meta, r io.Reader) error {
	if err := t.Mailbox(m.Mailbox); err != nil {
		return err
	}
	if err := t.content.reset(); err != nil {
		return err
	}
	var clean lossless
	t.sum.Reset()
	if _, err := io.Copy(io.MultiWriter(&t.content, &clean, t.sum), r); err != nil {
		return err
	}
	switch t.kind {
	case "maildir":
		return t.putMaildir(m, clean.ok())
	case "mbox":
		return t.putMbox(m, clean.ok())
	}
	name := fmt.Sprintf("%08d", m.UID)
	if letters := t.letters(m, ""); letters != "" {
		name += "," + letters
	}
	return t.file(path.Join(t.made[m.Mailbox], name+".eml"), m.Date, false)
}

// file writes the content into a new file.
func (t *Target) file(name string, date time.Time, lf bool) error {
	f, err := t.root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	err = t.copyTo(f, lf)
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil && !date.IsZero() {
		err = t.root.Chtimes(name, date, date)
	}
	return err
}

func (t *Target) copyTo(w io.Writer, lf bool) error {
	r, err := t.content.open()
	if err != nil {
		return err
	}
	if lf {
		w = toLF{w}
	}
	_, err = io.Copy(w, r)
	return err
}

// write makes a small file.
func (t *Target) write(name string, content []byte) error {
	f, err := t.root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	return errors.Join(err, f.Close())
}

// putMaildir writes a file in cur, named as deliveries name them: with its size, which servers on maildirs believe, and
// the one it has with CRLF. The name has a sum of the content, so that the maildirs of two accounts can be put together.
func (t *Target) putMaildir(m Meta, lf bool) error {
	box := t.made[m.Mailbox]
	tmp := path.Join(box, "tmp", "postel")
	if err := t.file(tmp, m.Date, lf); err != nil {
		return err
	}
	st, err := t.root.Stat(tmp)
	if err != nil {
		return err
	}
	name := fmt.Sprintf("%d.M%dP%d.postel,S=%d", max(m.Date.Unix(), 0), m.UID, t.sum.Sum32(), st.Size())
	if lf {
		name += fmt.Sprintf(",W=%d", t.content.size)
	}
	cur := path.Join(box, "cur", name+":2,"+t.letters(m, m.Mailbox))
	if _, err := t.root.Lstat(cur); err == nil {
		return errors.Join(mail.E("transfer.maildir", mail.Exists, "%s exists", cur), t.root.Remove(tmp))
	}
	return t.root.Rename(tmp, cur)
}

// letters gives the flags as maildirs have them; with a mailbox its keywords too, as Dovecot writes them.
func (t *Target) letters(m Meta, keywordsOf string) string {
	var b []byte
	for _, f := range m.Flags {
		if l := maildirLetters().letter(f); l != 0 {
			b = append(b, l)
		} else if k := t.keyword(keywordsOf, f); k >= 0 {
			b = append(b, 'a'+byte(k))
		}
	}
	slices.Sort(b)
	return string(slices.Compact(b))
}

// keyword gives the number of a keyword in its mailbox, -1 when there is no room for one more.
func (t *Target) keyword(box, name string) int {
	if box == "" {
		return -1
	}
	have := t.keywords[box]
	if i := slices.IndexFunc(have, func(k string) bool { return strings.EqualFold(k, name) }); i >= 0 {
		return i
	}
	if len(have) == 26 {
		return -1
	}
	t.keywords[box] = append(have, name)
	return len(have)
}

// Close ends the target, with the names of mailboxes that are subscribed to. What was written is synced.
func (t *Target) Close(subscribed []string) error {
	err := t.closeMbox()
	if t.kind == "maildir" {
		for box, words := range t.keywords {
			var b strings.Builder
			for i, k := range words {
				fmt.Fprintf(&b, "%d %s\n", i, k)
			}
			err = errors.Join(err, t.write(path.Join(t.made[box], "dovecot-keywords"), []byte(b.String())))
		}
		if len(subscribed) > 0 {
			b := "V\t2\n\n"
			for _, s := range subscribed {
				b += t.subscription(s) + "\n"
			}
			err = errors.Join(err, t.write("subscriptions", []byte(b)))
		}
	}
	return errors.Join(err, t.content.reset(), syncAll(t.root), t.root.Close())
}

// subscription gives the name of a mailbox as its directory has it, the levels parted by tabs.
func (t *Target) subscription(name string) string {
	place, made := t.made[name]
	if !made {
		place = t.place(name)
	}
	if place == "." {
		return "INBOX"
	}
	return strings.ReplaceAll(strings.TrimPrefix(place, "."), ".", "\t")
}

// syncAll syncs every file and directory, so that an export survives what comes after it.
func syncAll(root *os.Root) error {
	return fs.WalkDir(root.FS(), ".", func(name string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		f, err := root.Open(name)
		if err != nil {
			return err
		}
		return errors.Join(f.Sync(), f.Close())
	})
}
