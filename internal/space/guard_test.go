package space_test

import (
	"bytes"
	"log/slog"
	"strings"
	"syscall"
	"testing"
	"time"

	"postel/internal/mail"
	"postel/internal/space"
	"postel/internal/vfs"
)

// unit stands for a MiB of the real levels: the reserve is 64 of them.
const unit = 1 << 14

// rig is a guard over a disk in memory with a clock of its own.
type rig struct {
	t    *testing.T
	disk *vfs.Small
	log  bytes.Buffer
	now  time.Time
	*space.Guard
}

func newRig(t *testing.T, capacity, ballast int64) *rig {
	t.Helper()
	r := &rig{t: t, disk: vfs.NewSmall(vfs.NewMem(), capacity), now: time.Unix(1e9, 0)}
	if err := vfs.MkdirAllSync(r.disk, "/data"); err != nil {
		t.Fatal(err)
	}
	r.open(ballast)
	return r
}

func (r *rig) open(ballast int64) {
	r.Guard = space.Open(space.Options{
		FS: r.disk, Dir: "/data", Ballast: ballast, Reserve: 64 * unit, Clock: func() time.Time { return r.now },
		Log: slog.New(slog.NewTextHandler(&r.log, nil)),
	})
	r.Keep()
}

// free makes n octets free, as another process would, and has the guard look.
func (r *rig) free(n int64) {
	r.disk.Resize(r.disk.Used() + n)
	r.now = r.now.Add(time.Second)
	r.Look()
}

func (r *rig) expect(mailFits, freesFit, ballast bool) {
	r.t.Helper()
	r.now = r.now.Add(time.Second)
	if err := r.Room(0); (err == nil) != mailFits || err != nil && !mail.Is(err, mail.Full) {
		r.t.Errorf("Room: %v, want room %v", err, mailFits)
	}
	if err := r.Take(1, space.Mail); (err == nil) != mailFits {
		r.t.Errorf("Take: %v, want room %v", err, mailFits)
	}
	if err := r.Take(1, space.Frees); (err == nil) != freesFit {
		r.t.Errorf("Take of what makes room: %v, want room %v", err, freesFit)
	}
	if st := r.Status(); st.Ballast != ballast || st.Shut == mailFits {
		r.t.Errorf("status %+v, want ballast %v, mail %v", st, ballast, mailFits)
	}
}

// TestLevels walks down to a full disk and up again.
func TestLevels(t *testing.T) {
	t.Parallel()
	r := newRig(t, 500*unit, 64*unit)
	if got := r.disk.Used(); got != 64*unit {
		t.Fatalf("the ballast takes %d octets", got)
	}
	r.expect(true, true, true)
	r.free(65 * unit)
	r.expect(true, true, true)
	r.free(63 * unit)
	r.expect(false, true, true)
	r.free(70 * unit) // not yet
	r.expect(false, true, true)
	r.free(81 * unit)
	r.expect(true, true, true)
	r.free(32 * unit)
	if err := r.Take(1, space.Tidy); !mail.Is(err, mail.Full) {
		t.Errorf("a compaction below its level: %v", err)
	}
	if st := r.Status(); !st.Ballast {
		t.Error("a compaction took the ballast")
	}
	r.expect(false, true, false) // the ballast goes for what makes room
	if got := r.Status().Free; got != 96*unit {
		t.Fatalf("%d octets are free without the ballast", got)
	}
	r.free(31 * unit)
	r.expect(false, false, false)
	r.free(0)
	r.expect(false, false, false)
	r.free(143 * unit) // no room for the ballast and the mail
	r.expect(false, true, false)
	r.free(144 * unit)
	r.expect(true, true, true)
	for line, times := range map[string]int{
		"no new mail is taken": 2, "there is room on the disk again": 2, "the ballast is given up": 1, "the disk is full": 1, "the ballast lies there again": 1,
	} {
		if got := strings.Count(r.log.String(), line); got != times {
			t.Errorf("%q was logged %d times, not %d:\n%s", line, got, times, r.log.String())
		}
	}
}

func TestRoomForLargeMessages(t *testing.T) {
	t.Parallel()
	r := newRig(t, 500*unit, 0)
	r.free(164 * unit)
	if err := r.Room(50 * unit); err != nil {
		t.Errorf("50 MiB: %v", err)
	}
	err := r.Room(51 * unit)
	if !mail.Is(err, mail.Full) {
		t.Errorf("51 MiB: %v", err)
	}
	for _, n := range []int64{-1, 0, 1} {
		if err := r.Room(n); err != nil {
			t.Errorf("%d: %v", n, err)
		}
	}
	if err := r.Room(1<<63 - 1); !mail.Is(err, mail.Full) {
		t.Errorf("a size without end: %v", err)
	}
	r.expect(true, true, false) // refusing a large one shuts nobody out
}

// TestTakenIsSubtracted takes more than there is between two looks.
func TestTakenIsSubtracted(t *testing.T) {
	t.Parallel()
	r := newRig(t, 100*unit, 0)
	taken := 0
	for ; r.Take(unit, space.Mail) == nil; taken++ {
		f, err := vfs.Create(r.FS(), "/data/x"+string(rune('a'+taken)))
		if err == nil {
			_, err = f.Write(make([]byte, unit))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if taken != 36 {
		t.Errorf("took %d MiB of 36", taken)
	}
}

// TestEndOfDisk has a write meet the end of the disk between two looks: the ballast goes and the write succeeds.
func TestEndOfDisk(t *testing.T) {
	t.Parallel()
	r := newRig(t, 500*unit, 64*unit)
	r.disk.Resize(r.disk.Used())
	f, err := vfs.Create(r.FS(), "/data/x")
	if err != nil {
		t.Fatal(err)
	}
	if n, err := f.Write(make([]byte, unit)); err != nil || n != unit {
		t.Fatalf("wrote %d, %v", n, err)
	}
	r.expect(false, true, false)
	if _, err := f.Write(make([]byte, 64*unit)); err == nil || !vfs.IsNoSpace(err) {
		t.Fatalf("wrote more than there is: %v", err)
	}
}

// TestRestart keeps a ballast, corrects one of another size, removes one that is not wanted, and comes up on a full disk.
func TestRestart(t *testing.T) {
	t.Parallel()
	r := newRig(t, 500*unit, 64*unit)
	for _, want := range []int64{64 * unit, 16 * unit, 0, 32 * unit} {
		if err := vfs.WriteFileSync(r.disk, "/data/ballast.tmp", []byte("left by a crash")); err != nil {
			t.Fatal(err)
		}
		r.open(want)
		if got := r.disk.Used(); got != want {
			t.Errorf("%d octets are used, want %d", got, want)
		}
	}
	r.disk.Resize(r.disk.Used())
	r.open(32 * unit)
	r.expect(false, true, false)
	r.open(32 * unit) // 32 units are free, and that is no room for a ballast
	r.expect(false, true, false)
}

// TestRemovedByHand has an operator remove the ballast: it is written anew when there is room.
func TestRemovedByHand(t *testing.T) {
	t.Parallel()
	r := newRig(t, 500*unit, 64*unit)
	if err := r.disk.Remove("/data/ballast"); err != nil {
		t.Fatal(err)
	}
	r.free(400 * unit)
	r.expect(true, true, true)
	if err := r.disk.Remove("/data/ballast"); err != nil {
		t.Fatal(err)
	}
	r.free(100 * unit)
	r.expect(false, true, false)
}

// TestBallastFails has each operation on the ballast fail: nothing but the ballast suffers.
func TestBallastFails(t *testing.T) {
	t.Parallel()
	disk := vfs.NewSmall(vfs.NewMem(), 500*unit)
	if err := vfs.MkdirAllSync(disk, "/data"); err != nil {
		t.Fatal(err)
	}
	broken := vfs.WithFaults(disk, func(op vfs.Op) error {
		if !op.Read && strings.Contains(op.Path, "ballast") {
			return syscall.EIO
		}
		return nil
	})
	g := space.Open(space.Options{FS: broken, Dir: "/data", Ballast: unit, Reserve: unit})
	g.Keep()
	if st := g.Status(); st.Ballast || st.Shut {
		t.Errorf("status %+v", st)
	}
	if err := g.Take(1, space.Frees); err != nil {
		t.Error(err)
	}
}

// TestUnknown is a file system that does not tell: nothing is refused.
func TestUnknown(t *testing.T) {
	t.Parallel()
	g := space.Open(space.Options{FS: vfs.NewMem(), Dir: "/", Ballast: unit})
	g.Keep()
	for _, g := range []*space.Guard{g, nil} {
		g.Keep()
		if err := g.Room(1 << 40); err != nil {
			t.Error(err)
		}
		if err := g.Take(1<<40, space.Mail); err != nil {
			t.Error(err)
		}
	}
}

// TestRun looks by itself and ends.
func TestRun(t *testing.T) {
	t.Parallel()
	disk := vfs.NewSmall(vfs.NewMem(), 500*unit)
	g := space.Open(space.Options{FS: disk, Dir: "/", Reserve: unit})
	done := make(chan struct{})
	go func() {
		g.Run(t.Context())
		close(done)
	}()
	disk.Resize(0)
	for deadline := time.Now().Add(3 * time.Second); !g.Status().Shut; time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("it does not look")
		}
	}
}

func BenchmarkTake(b *testing.B) {
	g := space.Open(space.Options{FS: vfs.NewSmall(vfs.NewMem(), 1<<60), Dir: "/"})
	b.ReportAllocs()
	for b.Loop() {
		if g.Take(100, space.Mail) != nil {
			b.Fatal("full")
		}
	}
}
