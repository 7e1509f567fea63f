package transfer

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"postel/internal/mail"
)

// entry is one of an archive that a test makes.
type entry struct {
	name, content string
	flag          byte
}

func makeTar(t *testing.T, entries []entry, gz bool) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "x.tar")
	var b bytes.Buffer
	var w io.Writer = &b
	var z *gzip.Writer
	if gz {
		z = gzip.NewWriter(&b)
		w = z
		name += ".gz"
	}
	tw := tar.NewWriter(w)
	for _, e := range entries {
		h := &tar.Header{Name: e.name, Size: int64(len(e.content)), Typeflag: e.flag, Mode: 0o600}
		if e.flag == 0 {
			h.Typeflag = tar.TypeReg
		}
		if e.flag == tar.TypeSymlink || e.flag == tar.TypeLink {
			h.Linkname, h.Size = "/etc/passwd", 0
		}
		if err := tw.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(tw, e.content[:h.Size]); err != nil {
			t.Fatal(err)
		}
	}
	if err := tw.Close(); err != nil {
		t.Fatal(err)
	}
	if z != nil {
		if err := z.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(name, b.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

func makeZip(t *testing.T, entries []entry) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "x.zip")
	var b bytes.Buffer
	zw := zip.NewWriter(&b)
	for _, e := range entries {
		h := &zip.FileHeader{Name: e.name, Method: zip.Deflate}
		if e.flag == tar.TypeSymlink {
			h.SetMode(os.ModeSymlink | 0o777)
		}
		w, err := zw.CreateHeader(h)
		if err == nil {
			_, err = io.WriteString(w, e.content)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := zw.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, b.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

const letter = "Subject: x\n\nbody\n"

// TestArchivesAreRefusedByEntry: what leads out of an archive, links, devices and bombs are named, and nothing of such
// an archive is used.
func TestArchivesAreRefusedByEntry(t *testing.T) {
	t.Parallel()
	good := entry{name: "Maildir/cur/1.a:2,S", content: letter}
	for _, bad := range []entry{
		{name: "../evil", content: letter},
		{name: "Maildir/cur/../../../evil", content: letter},
		{name: "/etc/cron.d/evil", content: letter},
		{name: `Maildir\..\..\evil`, content: letter},
		{name: `C:\evil`, content: letter},
		{name: "..", content: letter},
		{name: "Maildir/cur/link", flag: tar.TypeSymlink},
		{name: "Maildir/cur/hard", flag: tar.TypeLink},
		{name: "Maildir/cur/fifo", flag: tar.TypeFifo},
		{name: "Maildir/cur/dev", flag: tar.TypeChar},
	} {
		files := []string{makeTar(t, []entry{good, bad}, false), makeTar(t, []entry{good, bad}, true)}
		if bad.flag == 0 || bad.flag == tar.TypeSymlink {
			files = append(files, makeZip(t, []entry{good, bad}))
		}
		for _, f := range files {
			_, err := Open("maildir", f, Options{})
			if !mail.Is(err, mail.Rejected) || !strings.Contains(err.Error(), bad.name[len(bad.name)-2:]) {
				t.Errorf("%s with %q: %v", filepath.Base(f), bad.name, err)
			}
		}
	}
	bomb := []entry{good, {name: "Maildir/cur/bomb", content: strings.Repeat("\x00", ratioFloor+1<<20)}}
	for _, f := range []string{makeTar(t, bomb, true), makeZip(t, bomb)} {
		if _, err := Open("maildir", f, Options{}); !mail.Is(err, mail.Rejected) || !strings.Contains(err.Error(), "bomb") {
			t.Errorf("%s: %v", f, err)
		}
	}
}

// TestMaildirLayouts has Maildir++, plain directories, a maildir deep in an archive, keywords and subscriptions.
func TestMaildirLayouts(t *testing.T) {
	t.Parallel()
	entries := []entry{
		{name: "home/alice/Maildir/cur/1.a:2,FSa", content: letter},
		{name: "home/alice/Maildir/new/2.a", content: letter},
		{name: "home/alice/Maildir/tmp/3.a", content: letter},
		{name: "home/alice/Maildir/.Sent.2024/cur/4.a,S=17:2,RTDPz", content: letter},
		{name: "home/alice/Maildir/.&AMQ-rger/cur/5.a:2,", content: letter},
		{name: "home/alice/Maildir/Work/Old/cur/6.a:2,", content: letter},
		{name: "home/alice/Maildir/dovecot-keywords", content: "0 $Label1\n1 work\n"},
		{name: "home/alice/Maildir/subscriptions", content: "V\t2\n\nSent\t2024\n&AMQ-rger\n"},
		{name: "home/alice/Maildir/dovecot-uidlist", content: "3 V1 N7\n"},
	}
	want := []got{
		{Mailbox: "INBOX", Flags: []string{"$Label1", `\Flagged`, `\Seen`}},
		{Mailbox: "INBOX"},
		{Mailbox: "Sent/2024", Flags: []string{"$Forwarded", `\Answered`, `\Deleted`, `\Draft`}},
		{Mailbox: "Ärger"},
		{Mailbox: "Work/Old"},
	}
	for i := range want {
		want[i].Content = strings.ReplaceAll(letter, "\n", "\r\n")
	}
	for _, f := range []string{makeTar(t, entries, false), makeTar(t, entries, true), makeZip(t, entries)} {
		s, err := Open("maildir", f, Options{})
		if err != nil {
			t.Fatal(err)
		}
		have := drain(t, s)
		compare(t, have, want)
		for i := range have {
			if have[i].Mailbox != want[i].Mailbox {
				t.Errorf("%s: %q, not %q", f, have[i].Mailbox, want[i].Mailbox)
			}
		}
		if sub := strings.Join(s.Subscriptions(), " "); sub != "Sent/2024 Ärger" {
			t.Errorf("subscriptions %q", sub)
		}
	}
	s, err := Open("maildir", makeTar(t, entries, false), Options{Mailbox: "Old"})
	if err != nil {
		t.Fatal(err)
	}
	for i, g := range drain(t, s) {
		if w := []string{"Old", "Old", "Old/Sent/2024", "Old/Ärger", "Old/Work/Old"}[i]; g.Mailbox != w {
			t.Errorf("%q, not %q", g.Mailbox, w)
		}
	}
}

// TestSubscriptionsGoAlong: what is subscribed to is found in an exported maildir under the name that its messages have.
func TestSubscriptionsGoAlong(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "out")
	target, err := Create("maildir", dir)
	if err != nil {
		t.Fatal(err)
	}
	boxes := []string{"INBOX", "INBOX/sub", "a.b", "a_b", "work/2024", "Ärger"}
	for _, b := range boxes {
		if err := target.Put(Meta{Mailbox: b, UID: 1}, strings.NewReader("Subject: x\r\n\r\n")); err != nil {
			t.Fatal(err)
		}
	}
	if err := target.Close(append(boxes, "gone/by.now")); err != nil {
		t.Fatal(err)
	}
	source, err := Open("maildir", dir, Options{})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"gone/by_now"}
	for _, m := range drain(t, source) {
		want = append(want, m.Mailbox)
	}
	have := slices.Clone(source.Subscriptions())
	slices.Sort(want)
	slices.Sort(have)
	if !slices.Equal(have, want) {
		t.Errorf("subscribed to %q, mailboxes are %q", have, want)
	}
}

// TestLinksAreNotFollowed: a link in a maildir leads to nothing that its owner may not have meant.
func TestLinksAreNotFollowed(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	secret := filepath.Join(t.TempDir(), "secret")
	for _, err := range []error{
		os.WriteFile(secret, []byte(letter), 0o600),
		os.MkdirAll(filepath.Join(dir, "cur"), 0o700),
		os.WriteFile(filepath.Join(dir, "cur", "1.a:2,"), []byte(letter), 0o600),
		os.Symlink(secret, filepath.Join(dir, "cur", "2.a:2,")),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	var skipped []string
	s, err := Open("maildir", dir, Options{Skipped: func(s string) { skipped = append(skipped, s) }})
	if err != nil {
		t.Fatal(err)
	}
	if all := drain(t, s); len(all) != 1 || len(skipped) == 0 {
		t.Errorf("%d messages, left aside %q", len(all), skipped)
	}
}

// TestTargetsWriteOverNothing: a directory with anything in it is refused.
func TestTargetsWriteOverNothing(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "x"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, kind := range []string{"maildir", "mbox", "eml"} {
		if _, err := Create(kind, dir); !mail.Is(err, mail.Exists) {
			t.Errorf("%s: %v", kind, err)
		}
	}
}
