package listen

import "syscall"

// Spoke tells whether the peer has already sent something that was not read, without waiting. Under TLS, and on
// systems other than Linux, it tells nothing: false.
func (c *Conn) Spoke() bool {
	sc, ok := c.raw.(syscall.Conn)
	if !ok || c.tls != nil {
		return false
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return false
	}
	n := 0
	var b [1]byte
	_ = raw.Control(func(fd uintptr) {
		n, _, _ = syscall.Recvfrom(int(fd), b[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
	})
	return n > 0
}
