package pebble_test

import (
	"context"
	"encoding/binary"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"postel/internal/kv"
	"postel/internal/kv/pebble"
	"postel/internal/mail"
	"postel/internal/space"
	"postel/internal/vfs"
)

// smallDisk is a store on a small disk with a guard that looks by itself.
type smallDisk struct {
	t     *testing.T
	crash vfs.Crashable
	disk  *vfs.Small
	guard *space.Guard
	*pebble.Store
}

const (
	smallSize    = 24 << 20
	smallReserve = 4 << 20
	valueSize    = 64 << 10
)

func newSmallDisk(t *testing.T) *smallDisk {
	t.Helper()
	d := &smallDisk{t: t, crash: vfs.NewCrashable()}
	d.disk = vfs.NewSmall(d.crash, smallSize)
	d.guard = space.Open(space.Options{FS: d.disk, Dir: "/", Reserve: smallReserve, Ballast: smallReserve})
	d.guard.Keep()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		d.guard.Run(ctx)
		close(done)
	}()
	var err error
	if d.Store, err = pebble.Open(pebble.Options{FS: d.guard.FS(), Dir: "/kv", MemTableSize: 512 << 10, Space: d.guard}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cancel()
		<-done
		_ = d.Close() // the tests that expect it to succeed have closed it
	})
	return d
}

func rowKey(i uint64) kv.Key { return binary.BigEndian.AppendUint64(kv.Key("xx"), i) }

// put writes row i with a value that cannot be compressed and that depends on i.
func (d *smallDisk) put(i uint64) error {
	v := make([]byte, valueSize)
	noise(i, v)
	return d.Update(d.t.Context(), kv.Txn{Lock: []kv.Key{rowKey(i)}}, func(tx kv.Tx) error {
		tx.Set(rowKey(i), v)
		return nil
	})
}

func noise(i uint64, v []byte) {
	r := rand.NewPCG(i, 1)
	for at := 0; at+8 <= len(v); at += 8 {
		binary.LittleEndian.PutUint64(v[at:], r.Uint64())
	}
}

func (d *smallDisk) remove(i uint64) error {
	return d.Update(d.t.Context(), kv.Txn{Lock: []kv.Key{rowKey(i)}, Frees: true}, func(tx kv.Tx) error {
		tx.Delete(rowKey(i))
		return nil
	})
}

func has(t *testing.T, s *pebble.Store, i uint64) bool {
	t.Helper()
	want := make([]byte, valueSize)
	noise(i, want)
	found := false
	err := s.View(t.Context(), []kv.Key{rowKey(i)}, func(r kv.Reader) error {
		v, err := r.Get(rowKey(i))
		if mail.Is(err, mail.NotFound) {
			return nil
		}
		if found = err == nil; found && string(v) != string(want) {
			t.Errorf("row %d is not what was written", i)
		}
		return err
	})
	if err != nil {
		t.Errorf("row %d: %v", i, err)
	}
	return found
}

// fill writes until it is refused and gives the number of rows.
func (d *smallDisk) fill(from uint64) uint64 {
	d.t.Helper()
	for i := from; ; i++ {
		err := d.put(i)
		if mail.Is(err, mail.Full) {
			return i
		}
		if err != nil {
			d.t.Fatalf("row %d: %v", i, err)
		}
	}
}

// TestFull fills a disk: writing is refused, reading and removing go on, and what is removed makes room again.
func TestFull(t *testing.T) {
	t.Parallel()
	d := newSmallDisk(t)
	n := d.fill(0)
	if n < 100 {
		t.Errorf("only %d rows fit", n)
	}
	for i := range n {
		if !has(t, d.Store, i) {
			t.Fatalf("row %d of %d is lost", i, n)
		}
	}
	for i := range n {
		if err := d.remove(i); err != nil {
			t.Fatalf("removing %d: %v", i, err)
		}
	}
	var err error
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		if err = d.Reclaim(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err = d.put(n); err == nil {
			break
		}
	}
	if err != nil {
		t.Fatalf("removing all rows made no room: %v, %+v\n%s", err, d.guard.Status(), d.Metrics())
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestEaten has another process eat the whole disk again and again, while rows are written and removed: the store lives,
// and all that was acknowledged is there, also after a crash.
func TestEaten(t *testing.T) {
	t.Parallel()
	d := newSmallDisk(t)
	var mu sync.Mutex
	acked, sure := map[uint64]bool{}, map[uint64]bool{}
	stop := make(chan struct{})
	var writers sync.WaitGroup
	for w := range uint64(2) {
		writers.Go(func() {
			for i := w << 32; ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				err := d.put(i)
				mu.Lock()
				acked[i], sure[i] = err == nil, err == nil || mail.Is(err, mail.Full)
				mu.Unlock()
				if err != nil && !mail.Is(err, mail.Full) {
					t.Errorf("writing: %v", err)
					return
				}
				if err != nil || i%8 == 0 {
					continue
				}
				if err := d.remove(i); err == nil {
					mu.Lock()
					delete(acked, i)
					delete(sure, i)
					mu.Unlock()
				} else if !mail.Is(err, mail.Full) {
					t.Errorf("removing: %v", err)
					return
				}
				_ = d.Reclaim(t.Context())
			}
		})
	}
	for range 3 {
		time.Sleep(100 * time.Millisecond)
		d.disk.Resize(d.disk.Used())
		time.Sleep(200 * time.Millisecond)
		d.disk.Resize(smallSize)
	}
	close(stop)
	writers.Wait()
	after, err := pebble.Open(pebble.Options{FS: d.crash.Crash(0, 1), Dir: "/kv"})
	if err != nil {
		t.Fatal(err)
	}
	defer after.Close()
	for i, is := range acked {
		if got := has(t, d.Store, i); got != is && sure[i] {
			t.Errorf("row %x is there: %v, want %v", i, got, is)
		}
		if got := has(t, after, i); got != is && sure[i] {
			t.Errorf("after a crash row %x is there: %v, want %v", i, got, is)
		}
	}
	t.Logf("%d rows at the end", len(acked))
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestNoRoomAtAll has the disk full for longer than the log waits: the store fails as it does for any broken disk, and an
// opening says what is wrong, until there is room.
func TestNoRoomAtAll(t *testing.T) {
	t.Parallel()
	crash := vfs.NewCrashable()
	disk := vfs.NewSmall(crash, smallSize)
	s, err := pebble.Open(pebble.Options{FS: disk, Dir: "/kv", MemTableSize: 512 << 10})
	if err != nil {
		t.Fatal(err)
	}
	d := &smallDisk{t: t, Store: s}
	var n uint64
	for ; err == nil; n++ {
		if n == 20 {
			disk.Resize(disk.Used())
		}
		err = d.put(n)
	}
	if !mail.Is(err, mail.Unavailable) {
		t.Fatalf("after %d rows: %v", n, err)
	}
	<-s.Failed()
	if err := s.Close(); err == nil {
		t.Error("closing tells nothing")
	}
	_, err = pebble.Open(pebble.Options{FS: disk, Dir: "/kv"})
	if !mail.Is(err, mail.Full) {
		t.Fatalf("opening on a full disk: %v", err)
	}
	disk.Resize(2 * smallSize)
	s, err = pebble.Open(pebble.Options{FS: disk, Dir: "/kv"})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for i := range n - 1 {
		if !has(t, s, i) {
			t.Errorf("row %d of %d is lost", i, n)
		}
	}
}
