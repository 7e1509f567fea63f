package tool

import (
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"testing"
)

// listening makes a socket on which somebody listens.
func listening(t *testing.T) (string, net.Listener) {
	t.Helper()
	dir, err := os.MkdirTemp("", "sock") // a short path: socket names have a limit
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	path := filepath.Join(dir, ControlSocket)
	ln, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ln.Close() })
	return path, ln
}

func link(t *testing.T, control string) func() {
	t.Helper()
	unlink, err := LinkDev(control)
	if err != nil {
		t.Fatal(err)
	}
	return unlink
}

func found(t *testing.T, want string) {
	t.Helper()
	got, err := FindDev()
	if want == "" && errors.Is(err, fs.ErrNotExist) {
		return
	}
	if got != want {
		t.Errorf("found %q %v, want %q", got, err, want)
	}
}

// TestDevGivesPlaceBack: a second dev that comes and goes leaves the first one found.
func TestDevGivesPlaceBack(t *testing.T) {
	t.Setenv("XDG_RUNTIME_DIR", t.TempDir())
	found(t, "")
	first, _ := listening(t)
	second, _ := listening(t)
	third, ln := listening(t)
	endFirst := link(t, first)
	endSecond := link(t, second)
	found(t, second)
	endSecond()
	found(t, first)
	endThird := link(t, third)
	_ = ln.Close()
	endFirst() // it is not first's to remove
	found(t, third)
	_ = os.Remove(first)
	endThird()
	found(t, "")
}

// TestDevDirectoryIsOurs: where somebody else may write, nobody is found and nothing is linked.
func TestDevDirectoryIsOurs(t *testing.T) {
	base := t.TempDir()
	t.Setenv("XDG_RUNTIME_DIR", base)
	dir := filepath.Join(base, "postel")
	socket, _ := listening(t)
	refused := func(what string) {
		t.Helper()
		if _, err := LinkDev(socket); err == nil {
			t.Errorf("%s: linked", what)
		}
		_ = os.Symlink(socket, filepath.Join(dir, "dev.sock"))
		if got, err := FindDev(); err == nil {
			t.Errorf("%s: found %s", what, got)
		}
		if err := os.RemoveAll(dir); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	refused("a directory that all may write to")
	if err := os.Symlink(t.TempDir(), dir); err != nil {
		t.Fatal(err)
	}
	refused("a link to a directory")
	if os.Getuid() == 0 {
		if err := errors.Join(os.Mkdir(dir, 0o700), os.Chown(dir, 65534, 65534)); err != nil {
			t.Fatal(err)
		}
		refused("another user's directory")
	}
}
