// Package check looks at everything that is stored and tells what does not agree: each account, the bodies and who
// links them, the queue, the directory. It never stops at what is damaged: that is named, and the rest goes on. The
// rules of each room are the room's own (store.Inspect, queue.Inspect, blob.Check, …); here is only the order, and who
// is who.
//
// With Request.Repair every room mends what it can, in transactions of its own under its own locks, while everything
// is in use: what is derived is made anew, what is beyond repair is named with what is lost. What the engine cannot read
// is left as it is, with all that depends on it, and named.
package check
