// Package listen is what all servers share below their protocol: binding, the accept loop, limits on the number
// of connections, TLS, deadlines, recovered panics and the graceful stop. It knows no protocol; a Handler speaks.
//
// Use: Bind every address first (so that nothing answers before all are bound), then give each listener to the
// Serve of its Server. A session tells when it waits for the peer's next command (Conn.Idle) and when it works
// on one (Conn.Busy); a stop wakes only those that wait, which say their protocol's farewell and return, and lets
// the others finish until the context of Shutdown ends.
//
// Invariants: a connection is counted from accept to close, by its address until it is authenticated and by user
// and address from then on; an IPv6 address counts by its /64. The goroutine of a session is the only one that
// reads, writes or upgrades its Conn. A panic ends one connection and nothing else.
package listen
