// Package lease tells the nodes that share one store of rows apart, and gives each what only one of them may have at
// a time: a partition of the queue, a maildrop, a job. It elects nobody and replicates nothing; all it does is to
// compare rows in a transaction.
//
// A node is a member: it has a row with a counter, its beat, that it raises every third of the time to live (TTL). A
// node whose beat another has seen stand still for a TTL, by the other's own clock and while the store answered
// throughout, is evicted: its row is deleted. Clocks of machines are never compared. A node that finds its row gone
// has lost all it had, and becomes a member again under a new number.
//
// A lease is a row that names its holder and an epoch, which each taking raises. It is free when nobody holds it, or
// when its holder is no member any more. Whoever changes something under a lease asserts it in the same transaction,
// under the lease's lock: a holder that was evicted, and whose lease another took, cannot commit.
//
//	nd node         version beat since(ms) name         uvarints; the name is the rest
//	ls name         version node(8) epoch               node 0: given back
//
// Before it begins work that cannot be undone, a holder asks Held, which is true for a TTL from the beginning of its
// last beat that succeeded: no other can have evicted it within that time.
package lease
