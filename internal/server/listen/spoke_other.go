//go:build !linux

package listen

// Spoke tells whether the peer has already sent something that was not read; here it cannot be told.
func (c *Conn) Spoke() bool { return false }
