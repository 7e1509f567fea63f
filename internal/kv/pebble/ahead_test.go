package pebble

import (
	"bytes"
	"errors"
	"testing"

	"postel/internal/vfs"
)

// TestAhead: a new log is longer than its records, by zeros that they replace, so that few syncs change its length; a file that
// is no log is left alone, and so is a disk that is nearly full.
func TestAhead(t *testing.T) {
	t.Parallel()
	fs := vfs.NewMem()
	nearlyFull := false
	room := func(int64) error {
		if nearlyFull {
			return errors.New("no room")
		}
		return nil
	}
	write := func(name string, parts ...int) (size int64, content []byte) {
		f, err := vfs.Create(fs, name)
		if err != nil {
			t.Fatal(err)
		}
		a := newAhead(f, name, room)
		for i, n := range parts {
			record := bytes.Repeat([]byte{byte('a' + i)}, n)
			a.before(n)
			if _, err := f.Write(record); err != nil {
				t.Fatal(err)
			}
			a.after(n)
		}
		info, err := f.Stat()
		if err != nil {
			t.Fatal(err)
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
		content, err = vfs.ReadFile(fs, name, 1<<30)
		if err != nil {
			t.Fatal(err)
		}
		return info.Size(), content
	}
	size, got := write("000001.log", 5000, 300_000, 7)
	want := append(append(bytes.Repeat([]byte("a"), 5000), bytes.Repeat([]byte("b"), 300_000)...), "ccccccc"...)
	if size != 2*aheadStep || !bytes.Equal(got[:len(want)], want) || bytes.ContainsFunc(got[len(want):], func(r rune) bool { return r != 0 }) {
		t.Errorf("%d octets", size)
	}
	if size, _ := write("000002.sst", 5000); size != 5000 {
		t.Errorf("a table has %d octets", size)
	}
	nearlyFull = true
	if size, _ := write("000003.log", 5000); size != 5000 {
		t.Errorf("%d octets on a disk that is nearly full", size)
	}
}
