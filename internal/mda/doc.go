// Package mda is final delivery: it resolves an address of ours through aliases to accounts, other servers and
// failures, chooses the mailbox, and writes the entry as part of the transaction that accepts the message.
//
// Plan looks and decides without locks; Commit writes under the account's lock. What changed in between is mended
// where that is harmless (a mailbox that is gone: INBOX) and told to the caller where it is not (an account that is
// gone). It neither queues nor reports: that is mta's.
//
// Invariants: a plan names each account once; resolving ends, whatever aliases say, after MaxDepth steps and
// MaxTargets addresses; a message that was delivered to an address of ours before is not delivered to it again.
package mda
