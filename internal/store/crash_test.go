package store

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"postel/internal/blob"
	"postel/internal/blob/file"
	"postel/internal/kv"
	"postel/internal/kv/pebble"
	"postel/internal/mail"
	"postel/internal/vfs"
)

// disk is a store on a file system that can crash.
func onDisk(t *testing.T, fs vfs.FS) (*world, *pebble.Store) {
	t.Helper()
	k, err := pebble.Open(pebble.Options{FS: fs, Dir: "data/kv", MemTableSize: 256 << 10})
	if err != nil {
		t.Fatal(err)
	}
	large, err := file.New(file.Options{FS: fs, Dir: "data/blobs"})
	if err != nil {
		t.Fatal(err)
	}
	w := &world{Store: New(Options{KV: k, Blobs: blob.New(blob.Options{KV: k, Large: large, InlineMax: 2000})}), kv: k, t: t}
	w.steps = steps{flags: 7, move: 5, expunge: 5, copy: 6, gap: 8, ahead: 1 << 20}
	return w, k
}

// ledger is what clients were told, taken down after they were told it.
type ledger struct {
	mu    sync.Mutex
	acked map[string]Appended
	shown map[MailboxID]*Snapshot
	copy  struct { // as it was just before a crash
		acked map[string]Appended
		shown map[MailboxID]*Snapshot
	}
}

func (l *ledger) freeze() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.copy.acked, l.copy.shown = map[string]Appended{}, map[MailboxID]*Snapshot{}
	for k, v := range l.acked {
		l.copy.acked[k] = v
	}
	for k, v := range l.shown {
		l.copy.shown[k] = v
	}
}

// TestCrash takes crash clones of a busy store and looks whether they hold what clients were told.
func TestCrash(t *testing.T) {
	t.Parallel()
	rounds := 9
	if os.Getenv("POSTEL_LONG") != "" {
		rounds = 300
	}
	for i := range rounds {
		crashRound(t, uint64(i)+1, []int{0, 50, 100}[i%3])
	}
}

func crashRound(t *testing.T, seed uint64, keep int) {
	fs := vfs.NewCrashable()
	w, k := onDisk(t, fs)
	w.account(1)
	l := &ledger{acked: map[string]Appended{}, shown: map[MailboxID]*Snapshot{}}
	var stop atomic.Bool
	var clients sync.WaitGroup
	for who := range 4 {
		clients.Go(func() { l.deliver(w, who, &stop) })
	}
	for m := range MailboxID(3) {
		clients.Go(func() { l.watch(w, m+1, &stop) })
	}
	clients.Go(func() {
		s := &storm{w: w}
		rng := rand.New(rand.NewPCG(seed, 1))
		for !stop.Load() {
			from, to := MailboxID(2+rng.IntN(2)), MailboxID(2+rng.IntN(2))
			uids, err := w.uids(context.Background(), 1, from, func(*entryRow) bool { return rng.IntN(3) == 0 })
			if err == nil {
				err = s.one(rng, from, uids, to)
			}
			if err != nil && !mail.Is(err, mail.Busy) {
				t.Error(err)
			}
		}
	})
	time.Sleep(time.Duration(20+seed%7*10) * time.Millisecond)
	for crash := range uint64(2) {
		l.freeze()
		clone := fs.Crash(keep, seed*10+crash)
		l.judge(t, clone)
		time.Sleep(5 * time.Millisecond)
	}
	stop.Store(true)
	clients.Wait()
	w.check(1)
	_ = w.Close()
	_ = k.Close()
}

// body is a message that tells its own name, some of them objects.
func crashBody(name string, i int) string {
	s := hello(name)
	for range i % 4 * 30 {
		s += fmt.Sprintf("line of %s that makes it longer %x\r\n", name, kv.Hash64(s))
	}
	return s
}

// deliver appends to INBOX, from which nothing is taken away, and to another mailbox.
func (l *ledger) deliver(w *world, who int, stop *atomic.Bool) {
	for i := 0; !stop.Load(); i++ {
		name := fmt.Sprintf("c%d-%d", who, i)
		in := w.Incoming(context.Background())
		_, _ = io.WriteString(in, crashBody(name, i))
		m, err := in.Seal()
		if err != nil {
			w.t.Error(err)
			return
		}
		ap, err := w.AppendOne(context.Background(), m, Delivery{Account: 1, Mailbox: Inbox})
		if err == nil {
			l.mu.Lock()
			l.acked[name] = ap
			l.mu.Unlock()
			_, err = w.AppendOne(context.Background(), m, Delivery{Account: 1, Mailbox: 2})
		}
		if err != nil {
			w.t.Error(err)
		}
		in.Discard()
	}
}

func (l *ledger) watch(w *world, m MailboxID, stop *atomic.Bool) {
	v, err := w.Open(context.Background(), 1, m, false)
	if err != nil {
		w.t.Error(err)
		return
	}
	defer v.Close()
	for !stop.Load() {
		p, err := v.Latest(context.Background())
		if err != nil {
			w.t.Error(err)
			return
		}
		l.mu.Lock()
		l.shown[m] = p
		l.mu.Unlock()
		time.Sleep(time.Millisecond / 2)
	}
}

// judge opens what is left after a crash and compares.
func (l *ledger) judge(t *testing.T, fs vfs.Crashable) {
	t.Helper()
	w, k := onDisk(t, fs)
	defer k.Close()
	defer w.Close()
	if err := w.ResumeJobs(ctx(t)); err != nil {
		t.Fatal(err)
	}
	w.check(1)
	for m, old := range l.copy.shown {
		v, err := w.Open(ctx(t), 1, m, true)
		if err != nil {
			t.Fatal(err)
		}
		p, err := v.Latest(ctx(t))
		if err != nil {
			t.Fatal(err)
		}
		if err := follows(old, p); err != nil {
			t.Errorf("mailbox %d after the crash: %v", m, err)
		}
		if m == Inbox {
			l.judgeInbox(w, p)
		}
		v.Close()
	}
}

// judgeInbox looks whether what was acknowledged is there once and whole, and all that is there is whole.
func (l *ledger) judgeInbox(w *world, p *Snapshot) {
	seen := map[string]bool{}
	for _, x := range p.All() {
		e, err := w.Email(ctx(w.t), 1, x.Email)
		if err != nil {
			w.t.Error(err)
			continue
		}
		name := e.Root.Envelope.Subject[len("About "):]
		var who, i int
		if _, err := fmt.Sscanf(name, "c%d-%d", &who, &i); err != nil || seen[name] {
			w.t.Errorf("%q is there twice or not ours: %v", name, err)
		}
		seen[name] = true
		r, err := w.OpenBody(ctx(w.t), e, 0, -1)
		if err != nil {
			w.t.Error(err)
			continue
		}
		b, err := io.ReadAll(r)
		if err != nil || string(b) != crashBody(name, i) {
			w.t.Errorf("%s is not whole: %v", name, err)
		}
		_ = r.Close()
		if ap, ok := l.copy.acked[name]; ok && (ap.UID != x.UID || ap.Email != x.Email) {
			w.t.Errorf("%s was acknowledged as %+v and is %+v", name, ap, x)
		}
	}
	for name := range l.copy.acked {
		if !seen[name] {
			w.t.Errorf("%s was acknowledged and is lost", name)
		}
	}
}
