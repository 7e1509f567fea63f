package transfer

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// keys gives the subjects of a source by the keys of their messages.
func keys(t *testing.T, kind, name string) map[Key]string {
	t.Helper()
	s, err := Open(kind, name, Options{})
	if err != nil {
		t.Fatal(err)
	}
	all := map[Key]string{}
	n := 0
	for m, err := range s.Messages(context.Background()) {
		if err != nil {
			t.Fatal(err)
		}
		r, err := m.Open()
		if err != nil {
			t.Fatal(err)
		}
		var b strings.Builder
		if _, err := io.Copy(&b, r); err != nil {
			t.Fatal(err)
		}
		all[m.Key], _, _ = strings.Cut(b.String(), "\r\n")
		n++
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if n != len(all) {
		t.Errorf("%s of %d messages has %d keys", kind, n, len(all))
	}
	return all
}

// TestKeysTellApart: files of one name, in an archive or in two directories that go to one mailbox, are messages of
// their own, and have the same keys the next time.
func TestKeysTellApart(t *testing.T) {
	t.Parallel()
	mails := func(names ...string) (all []entry) {
		for i, n := range names {
			all = append(all, entry{name: n, content: "Subject: " + string(rune('a'+i)) + "\n\nbody\n"})
		}
		return all
	}
	mbox := "From a@b Mon Nov  2 10:00:00 2026\nSubject: same\n\nx\n"
	for kind, file := range map[string]string{
		"maildir": makeTar(t, mails("cur/1.a:2,", "cur/1.a:2,S", "new/1.a", ".x.y/cur/1.a", "x/y/cur/1.a", "x/y/cur/1.a,S=5"), false),
		"eml":     makeTar(t, append(mails("1.eml", "1.eml", "1.msg", "a*/1.eml", "a%/1.eml"), mails("a_/1.eml")...), false),
		"mbox":    makeTar(t, []entry{{name: "a", content: mbox + "\n" + mbox}, {name: "a.mbox", content: mbox}}, false),
	} {
		first, second := keys(t, kind, file), keys(t, kind, file)
		for k, subject := range first {
			if second[k] != subject {
				t.Errorf("%s: %q has another key the next time", kind, subject)
			}
		}
	}
}

// TestExportsGoTogether: what was taken out of two accounts has different keys, though their UIDs and dates are the same.
func TestExportsGoTogether(t *testing.T) {
	t.Parallel()
	for _, kind := range []string{"maildir", "mbox", "eml"} {
		all := map[Key]string{}
		for _, subject := range []string{"one", "two"} {
			dir := filepath.Join(t.TempDir(), "out")
			target, err := Create(kind, dir)
			if err != nil {
				t.Fatal(err)
			}
			for uid := uint32(1); uid < 3; uid++ {
				if err := target.Put(Meta{Mailbox: "INBOX", UID: uid}, strings.NewReader("Subject: "+subject+string(rune('0'+uid))+"\r\n\r\n")); err != nil {
					t.Fatal(err)
				}
			}
			if err := target.Close(nil); err != nil {
				t.Fatal(err)
			}
			for k, s := range keys(t, kind, dir) {
				all[k] = s
			}
		}
		if len(all) != 4 {
			t.Errorf("%s: keys of %v, not of 4 messages", kind, all)
		}
	}
}

// TestTargetsTakeAnyName: names too long for a file system, and those that a message's file has.
func TestTargetsTakeAnyName(t *testing.T) {
	t.Parallel()
	boxes := []string{"INBOX", "INBOX/00000001.eml", strings.Repeat("l", 255), strings.Repeat(strings.Repeat("m", 60)+"/", 12) + "a"}
	boxes = append(boxes, boxes[3]+"b", strings.Repeat("日本", 120), ".hidden", "work/.hidden/deep")
	for _, kind := range []string{"maildir", "mbox", "eml"} {
		dir := filepath.Join(t.TempDir(), "out")
		target, err := Create(kind, dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, b := range boxes {
			if err := target.Put(Meta{Mailbox: b, UID: 1}, strings.NewReader("Subject: x\r\n\r\n")); err != nil {
				t.Errorf("%s: %v", kind, err)
			}
		}
		if err := target.Close(nil); err != nil {
			t.Error(err)
		}
		if all := keys(t, kind, dir); len(all) != len(boxes) {
			t.Errorf("%s: %d messages, not %d", kind, len(all), len(boxes))
		}
	}
}

// TestFilesThatCannotBeRead are refused one by one.
func TestFilesThatCannotBeRead(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, n := range []string{"1.eml", "2.eml", "3.eml"} {
		if err := os.WriteFile(filepath.Join(dir, n), []byte(letter), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s, err := Open("eml", dir, Options{})
	if err != nil {
		t.Fatal(err)
	}
	var good, bad int
	for m, err := range s.Messages(context.Background()) {
		if err != nil {
			t.Fatal(err)
		}
		if good == 0 {
			_ = os.Remove(filepath.Join(dir, "2.eml"))
		}
		if _, err := m.Open(); err != nil {
			bad++
		} else {
			good++
		}
	}
	if good != 2 || bad != 1 {
		t.Errorf("%d read and %d refused", good, bad)
	}
	_ = s.Close()
}
