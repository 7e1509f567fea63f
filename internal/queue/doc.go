// Package queue keeps mail that waits to be sent on: items, their recipients' states, when each is due, who works
// on it, and for a while how it ended. It knows no protocol and decides nothing: the scheduler in mta turns results
// of attempts into states and hands them to Done.
//
// An item is one message for one destination (a domain, or "local:" and an account) with at most 100 recipients.
// Its rows, P being Hash32(destination) mod 64 and Q a number that rises with time:
//
//	qi P Q                  what hardly ever changes: blob, prefix, sender, DSN options, the host an operator set
//	qr P Q n                a recipient: address, NOTIFY, ORCPT, state, due, attempts, last reply
//	qd P due Q              the item is due at this time (ms); absent when no recipient waits. Its value is
//	                        hash32(dest); rows of older programs have none
//	qk P hash32(dest) Q     the item by its destination, for Kick
//	qe day Q n              how a recipient's part ended, kept for 7 days; P is in the value
//
// Each other value begins with a format octet. P and Q together, 70 bits, are the id that people see: q- and 14
// characters of base32hex.
//
// Invariants, held by every transaction and verified by Check:
//   - an item has a row for each of its recipients, at least one of them waiting or held;
//   - it has a due row exactly when a recipient waits, at the earliest due of those;
//   - it has one row by destination and one link of its blob;
//   - no row of qr, qd, qk names an item that does not exist.
//
// Each recipient is handed out until a final state is recorded, so a crash repeats at most what was not recorded.
// That an item is worked on is in this process's memory: one worker has it at a time, and a crash frees all. What was being
// sent stands in a file of the process's own besides (Sending), so that the next can name what may arrive twice.
//
// Where several nodes share the rows, each works on the items of the partitions that it holds a lease of (package
// lease), which the nodes divide evenly. Any node adds to any partition, and operators change items from anywhere,
// under the item's lock. What comes of an attempt is recorded only while the lease stands under which it began: a
// node that was taken for dead cannot record, and what it did may be done again by the next.
package queue
