package listen

import (
	"net"
	"syscall"
)

// credOf asks the kernel who is at the other end of a unix socket (SO_PEERCRED, as of its connect).
func credOf(c *net.UnixConn) *PeerCred {
	raw, err := c.SyscallConn()
	if err != nil {
		return nil
	}
	var cred *PeerCred
	_ = raw.Control(func(fd uintptr) {
		u, err := syscall.GetsockoptUcred(int(fd), syscall.SOL_SOCKET, syscall.SO_PEERCRED)
		if err == nil {
			cred = &PeerCred{PID: u.Pid, UID: u.Uid, GID: u.Gid}
		}
	})
	return cred
}
