package crash

import (
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
	"unsafe"
)

// TestPowerLoss runs POSTEL_POWER_CYCLES cycles (default 10; `make powerloss` runs 500) on each of ext4 and xfs. Where
// file systems cannot be mounted it does nothing and says so: that is the machine's choice.
func TestPowerLoss(t *testing.T) {
	for _, kind := range []string{"ext4", "xfs"} {
		t.Run(kind, func(t *testing.T) {
			k := newDisk(t, kind)
			if k == nil {
				return
			}
			d := newDriver(t, filepath.Join(k.dir, "data"))
			d.power = true
			d.crash = func() {
				k.cut(t)
				d.ledger.died()
				time.Sleep(time.Duration(rand.IntN(60)) * time.Millisecond) // the process finds out, or does not
				d.srv.Kill()
				k.unmount(t)
				k.mount(t)
			}
			d.run(cycles("POSTEL_POWER_CYCLES", 10))
		})
	}
}

// disk is a file system in a file, whose power can be cut.
type disk struct{ kind, image, dir string }

const diskPrefix = "postel-disk-"

// diskDir is where the files lie: in memory where there is such a place, so that the syncs of others on this machine
// do not slow ours down.
func diskDir() string {
	if dir := os.Getenv("POSTEL_POWER_DIR"); dir != "" {
		return dir
	}
	if err := syscall.Access("/dev/shm", 2); err == nil {
		return "/dev/shm"
	}
	return os.TempDir()
}

// newDisk makes a file system and mounts it until the test ends; nil where that is not allowed.
func newDisk(t *testing.T, kind string) *disk {
	t.Helper()
	if os.Getuid() != 0 {
		t.Logf("no power loss on %s: mounting a file system needs root", kind)
		return nil
	}
	removeStale()
	base, err := os.MkdirTemp(diskDir(), diskPrefix+strconv.Itoa(os.Getpid())+"-")
	if err != nil {
		t.Fatal(err)
	}
	k := &disk{kind: kind, image: filepath.Join(base, "image"), dir: filepath.Join(base, "m")}
	t.Cleanup(func() {
		_ = exec.Command("umount", "-l", k.dir).Run() // what a failed test left
		_ = os.RemoveAll(base)
	})
	if err := k.make(); err != nil {
		t.Logf("no power loss on %s: %v", kind, err)
		return nil
	}
	return k
}

func (k *disk) make() error {
	f, err := os.Create(k.image)
	if err != nil {
		return err
	}
	if err := f.Truncate(512 << 20); err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	if err := os.Mkdir(k.dir, 0o755); err != nil {
		return err
	}
	if err := run("mkfs."+k.kind, "-q", k.image); err != nil {
		return err
	}
	return run("mount", "-o", "loop", k.image, k.dir)
}

func run(program string, args ...string) error {
	if out, err := exec.Command(program, args...).CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", program, err, strings.TrimSpace(string(out)))
	}
	return nil
}

// cut takes the power: nothing reaches the disk any more, what its log has not got is lost, every write and sync fails.
// (EXT4_IOC_SHUTDOWN, XFS_IOC_GOINGDOWN; the flag is NOLOGFLUSH.)
func (k *disk) cut(t *testing.T) {
	t.Helper()
	f, err := os.Open(k.dir)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	flag := uint32(2)
	if _, _, errno := syscall.Syscall(syscall.SYS_IOCTL, f.Fd(), 0x8004587d, uintptr(unsafe.Pointer(&flag))); errno != 0 { //nolint:gosec // no other way to ask
		t.Fatal(errno)
	}
}

func (k *disk) unmount(t *testing.T) {
	t.Helper()
	for deadline := time.Now().Add(5 * time.Second); ; time.Sleep(time.Millisecond) {
		err := run("umount", k.dir)
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
}

// mount mounts the file system anew. One that a process elsewhere still has, in a mount namespace of its own, is not ended by
// umount, and would come back as it was when its power went: then it is tried again.
func (k *disk) mount(t *testing.T) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		if err := run("mount", "-o", "loop", k.image, k.dir); err != nil {
			t.Fatal(err)
		}
		_, err := os.ReadDir(k.dir)
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
		k.unmount(t)
	}
}

// removeStale takes away what a test that was killed left mounted.
func removeStale() {
	old, _ := filepath.Glob(filepath.Join(diskDir(), diskPrefix+"*"))
	for _, base := range old {
		pid, _, _ := strings.Cut(strings.TrimPrefix(filepath.Base(base), diskPrefix), "-")
		if n, err := strconv.Atoi(pid); err == nil && syscall.Kill(n, 0) == syscall.ESRCH {
			_ = exec.Command("umount", "-l", filepath.Join(base, "m")).Run()
			_ = os.RemoveAll(base)
		}
	}
}
