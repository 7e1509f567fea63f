package queue

import (
	"slices"
	"strings"
	"testing"

	"postel/internal/vfs"
)

// openSending opens the file, whose writes must not fail.
func openSending(t *testing.T, fs vfs.FS) *Sending {
	t.Helper()
	s, err := OpenSending(fs, "sending", func(err error) { t.Error(err) })
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestSending: what was begun and not ended is named by each start until it is ended, however the process went.
func TestSending(t *testing.T) {
	t.Parallel()
	fs := vfs.NewMem()
	s := openSending(t, fs)
	if len(s.Left()) != 0 {
		t.Error(s.Left())
	}
	for n := range uint64(300) {
		id := ID{uint16(n % partitions), n + 1}
		s.Begin(id)
		if s.Begin(id); n%100 != 0 {
			s.End(id)
			s.End(id)
		}
	}
	want := []ID{{0, 1}, {36, 101}, {8, 201}}
	info, err := fs.Stat("sending")
	if err != nil || info.Size() > 6*sendingSize {
		t.Errorf("the file grew: %v, %v", info.Size(), err)
	}
	for range 2 { // killed: never closed
		s = openSending(t, fs)
		if got := s.Left(); !slices.Equal(got, want) {
			t.Errorf("%v", got)
		}
	}
	s.End(want[1])
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	s.End(want[0]) // too late
	if got := openSending(t, fs).Left(); len(got) != 2 {
		t.Errorf("%v", got)
	}
	var none *Sending
	none.Begin(ID{})
	none.End(ID{})
	if none.Left() != nil || none.Close() != nil {
		t.Error("nil does something")
	}
}

// TestSendingTorn: what cannot be read of the file is passed over, and the file is mended.
func TestSendingTorn(t *testing.T) {
	t.Parallel()
	fs := vfs.NewMem()
	s := openSending(t, fs)
	s.Begin(ID{1, 7})
	s.Begin(ID{2, 8})
	whole, err := vfs.ReadFile(fs, "sending", maxSending)
	if err != nil {
		t.Fatal(err)
	}
	bent := slices.Clone(whole)
	bent[20] ^= 1
	for _, c := range []struct {
		file []byte
		left int
	}{{nil, 0}, {whole[:9], 0}, {whole[:40], 1}, {bent, 1}, {append(slices.Clone(whole), whole[16:]...), 2}, {[]byte(strings.Repeat("x", 64)), 0}} {
		if err := vfs.WriteFileSync(fs, "sending", c.file); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if got := openSending(t, fs).Left(); len(got) != c.left {
				t.Errorf("%v of %q", got, c.file)
			}
		}
	}
}

// TestSendingFails: a write that fails is told once, and costs nothing but the note.
func TestSendingFails(t *testing.T) {
	t.Parallel()
	bad := false
	fs := vfs.WithFaults(vfs.NewMem(), func(vfs.Op) error {
		if bad {
			return vfs.ErrInjected
		}
		return nil
	})
	told := 0
	s, err := OpenSending(fs, "sending", func(error) { told++ })
	if err != nil {
		t.Fatal(err)
	}
	s.Begin(ID{1, 1})
	bad = true
	for n := range uint64(3) {
		s.Begin(ID{1, 2 + n})
		s.End(ID{1, 2 + n})
	}
	if told != 1 {
		t.Errorf("told %d times", told)
	}
	if _, err := OpenSending(fs, "sending", func(error) {}); err == nil {
		t.Error("no error")
	}
	bad = false
	if got := openSending(t, fs).Left(); len(got) != 1 {
		t.Errorf("%v", got)
	}
}
