package listen

import (
	"net"
	"time"
)

// Turn gives the connection, TLS included, for a session in which the peer is the server from now on (RFC 2645 §5.3).
// Whoever uses it sets the deadlines, sees to Stopping, and may close it. A stop waits for it as for a command.
func (c *Conn) Turn() net.Conn {
	c.Busy(0)
	_ = c.raw.SetWriteDeadline(time.Time{})
	return c.rw
}
