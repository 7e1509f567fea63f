package pebble

import (
	"math/rand/v2"
	"strings"
	"sync/atomic"
	"testing"

	"postel/internal/mail"
	"postel/internal/vfs"
)

// TestStatOfLog fails the question how large a log is that is used again: the store fails, the process does not.
func TestStatOfLog(t *testing.T) {
	t.Parallel()
	fs := vfs.NewCrashable()
	var armed atomic.Bool
	var opened atomic.Value // the log opened last: opening counts as reading
	s, err := Open(small(vfs.WithFaults(fs, func(op vfs.Op) error {
		if armed.Load() && op.Read && strings.HasSuffix(op.Path, ".log") && opened.Swap(op.Path) == op.Path {
			return vfs.ErrInjected
		}
		return nil
	})))
	if err != nil {
		t.Fatal(err)
	}
	armed.Store(true)
	w := &world{s: s}
	rng := rand.New(rand.NewPCG(1, 1))
	for i := 0; err == nil; i++ {
		if err = w.write(t.Context(), 0, rng); i > 5000 {
			t.Fatal("no log was used again")
		}
	}
	if !mail.Is(err, mail.Unavailable) || !mail.Is(s.Close(), mail.Unavailable) {
		t.Error(err)
	}
	w.promise().kept(t, fs.Crash(0, 1))
}
