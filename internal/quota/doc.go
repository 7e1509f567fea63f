// Package quota says whether there is room: in an account, and in the domain that its main address belongs to.
//
// # What counts
//
// An account's octets and messages are its row of counters, which every transaction that brings or takes mail changes
// with the mail itself. What a domain holds is the sum over its accounts and nothing else: no row of its own that all
// deliveries of a domain would queue up for, nothing that a crash could leave wrong.
//
// # How the sum is kept
//
// For domains with a limit alone, in memory. A domain is summed up when it is first asked for. From then on the store
// tells of every change of an account once it is durable, with the account's MODSEQ: a value is taken when it is newer
// than the one known, so that it does not matter in which order a sum and the changes meanwhile arrive. What others did
// (another node, the removal of an account) is found when the sum is made anew: after Refresh, or later where it is
// costly.
//
// # By how much a limit can be overrun
//
// Room is asked at RCPT with the size announced, and again by nothing: who was told yes is delivered to. So a limit is
// overrun by at most the messages of the transactions that are open at the same time, and with several nodes by what
// the others take within Refresh.
package quota
