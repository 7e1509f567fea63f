package tool

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"time"
)

// devSocket is the place where `postel dev` links its control socket. In the temporary directory, which is
// everybody's, the directory above it must be this user's alone: see devDir.
func devSocket() string {
	if dir := os.Getenv("XDG_RUNTIME_DIR"); dir != "" {
		return filepath.Join(dir, "postel", "dev.sock")
	}
	return filepath.Join(os.TempDir(), "postel-"+strconv.Itoa(os.Getuid()), "dev.sock")
}

// devDir checks that nobody else could have put a link there: commands hand passwords to who answers behind it.
func devDir(dir string) error {
	st, err := os.Lstat(dir)
	switch {
	case err != nil:
		return err
	case !st.IsDir() || st.Mode().Perm()&0o077 != 0 || !ours(st):
		return fmt.Errorf("%s is not a directory of this user alone (mode 0700)", dir)
	}
	return nil
}

// FindDev gives the control socket of this user's running `postel dev`; fs.ErrNotExist when there is none.
func FindDev() (string, error) {
	link := devSocket()
	if err := devDir(filepath.Dir(link)); err != nil {
		return "", err
	}
	return os.Readlink(link)
}

// LinkDev lets commands find the `postel dev` with that control socket. A dev that was linked before gives way until
// unlink, which is to be called at the end, gives the place back to it.
func LinkDev(control string) (unlink func(), err error) {
	link := devSocket()
	if err := os.MkdirAll(filepath.Dir(link), 0o700); err != nil {
		return nil, err
	}
	if err := devDir(filepath.Dir(link)); err != nil {
		return nil, err
	}
	if control, err = filepath.Abs(control); err != nil {
		return nil, err
	}
	before, _ := os.Readlink(link)
	if err := replaceLink(control, link); err != nil {
		return nil, err
	}
	return func() {
		switch to, err := os.Readlink(link); {
		case err != nil || to != control: // another dev has the place now
		case before != "" && before != control && answers(before):
			_ = replaceLink(before, link)
		default:
			_ = os.Remove(link)
		}
	}, nil
}

// replaceLink puts a link in the place of another at once, so that no command finds none.
func replaceLink(to, link string) error {
	next := link + "." + strconv.Itoa(os.Getpid())
	if err := os.Remove(next); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.Symlink(to, next); err != nil {
		return err
	}
	return os.Rename(next, link)
}

// answers tells whether somebody listens on a socket.
func answers(socket string) bool {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	var d net.Dialer
	conn, err := d.DialContext(ctx, "unix", socket)
	if err == nil {
		_ = conn.Close()
	}
	return err == nil
}
