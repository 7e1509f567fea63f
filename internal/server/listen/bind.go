package listen

import (
	"context"
	"errors"
	"io/fs"
	"net"
	"os"
	"strings"
	"syscall"
	"time"

	"postel/internal/mail"
)

// Bind opens a listening socket: "192.0.2.1:25", "[::1]:25", ":0", or "unix:/run/postel/lmtp.sock", which gets
// mode. A unix socket left behind by a process that died is replaced, one that answers is not. Errors have Kind
// Exists when the address is in use, Denied when this user may not bind it, Invalid otherwise.
func Bind(ctx context.Context, address string, mode fs.FileMode) (net.Listener, error) {
	path, unix := strings.CutPrefix(address, "unix:")
	network := "tcp"
	if unix {
		network, address = "unix", path
		if err := removeStale(path); err != nil {
			return nil, bindError(path, err)
		}
	}
	var lc net.ListenConfig
	ln, err := lc.Listen(ctx, network, address)
	if err != nil {
		return nil, bindError(address, err)
	}
	if unix {
		if err := os.Chmod(path, mode); err != nil {
			_ = ln.Close()
			return nil, bindError(path, err)
		}
	}
	return ln, nil
}

// removeStale removes a unix socket on which nobody listens.
func removeStale(path string) error {
	st, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if st.Mode()&fs.ModeSocket == 0 {
		return syscall.EADDRINUSE // something else lies there: not ours to remove
	}
	c, err := net.DialTimeout("unix", path, time.Second)
	if err == nil {
		_ = c.Close()
		return syscall.EADDRINUSE
	}
	if !errors.Is(err, syscall.ECONNREFUSED) {
		return err
	}
	return os.Remove(path)
}

func bindError(address string, err error) error {
	e := &mail.Error{Op: "listen.bind", Kind: mail.Invalid, Text: "cannot listen on " + address, Err: err}
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		e.Kind, e.Text = mail.Exists, address+" is in use by another program"
	case errors.Is(err, fs.ErrPermission):
		e.Kind, e.Text = mail.Denied, "this user may not listen on "+address
	}
	return e
}
