// Package mta takes responsibility for mail and gets rid of it: Accept files what is local and queues the rest in
// one transaction, which is the 250; Run routes and delivers what is queued, tries again, and reports to senders
// what could not be delivered (RFC 5321, RFC 3461, RFC 3464).
//
//	accept.go commit.go    plan without locks, then one transaction for mailboxes and queue
//	scheduler.go dest.go   what is worked on, by how many at once
//	deliver.go session.go  one attempt: route, connect, TLS, transaction
//	ondemand.go collect.go mail that waits until its customer takes it by ATRN
//	doubtful.go            what may arrive twice, because a process before was killed
//	outcome.go report.go   what becomes of the results: delivered, later, report, dropped
//
// Invariants:
//   - Nothing is acknowledged that is not durable, and then all of it is: local and queued recipients commit together.
//   - A message is delivered into an account in the transaction that ends its place in the queue, so exactly once; to
//     another server at least once, and twice only when its 250 was not yet recorded, which the log tells: at once, or
//     behind a kill at the next start (queue.Sending).
//   - A recipient ends delivered, or reported to the sender in the transaction that ends it, or dropped with an event
//     that says why. The null sender is never reported to (RFC 5321 §6.1).
//   - Attempts only give results; what follows from them is decided in outcome.go alone.
//   - A host gets what it can carry: what it does not take is converted where the leaves of the message may be encoded
//     anew (RFC 6152 §3, RFC 3030 §3), and refused to the sender where not. Nothing is cut, and nothing guessed.
package mta
