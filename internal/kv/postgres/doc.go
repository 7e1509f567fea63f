// Package postgres is kv's backend on PostgreSQL 15 and later, for several nodes on one database. It uses only what
// the distributed databases that speak its protocol have too: plain tables, row locks, READ COMMITTED and REPEATABLE
// READ; no advisory locks, no LISTEN.
//
// # Tables
//
//	postel_schema  one row: the version of what stands here, and what a start holds while it changes it
//	postel_locks   slot integer            a lock is a slot, hash(name) mod 2^18; a slot has a row once it was needed
//	postel_rows    k bytea, v bytea        every row but bodies, ordered by the octets of k
//	postel_bodies  k bytea, v bytea        rows of table `bl`, so that listing mail does not read past bodies
//
// FOR UPDATE of an absent row locks nothing, so lock rows must exist; slots keep their number bounded where names
// (one a queue item, one a body) would be without end. Two names that meet in one slot wait for one another: harmless.
// Values are stored whole up to the limit of a transaction: PostgreSQL cuts them itself.
//
// # Groups
//
// Callers hand in transactions; a worker takes all that wait and do not need a slot that another group holds, in the
// order in which they came, and runs them in one transaction of the database:
//
//	round trip 1   BEGIN; the slots FOR UPDATE, in their order; all declared reads
//	the fns        each in its caller's goroutine, those that share a slot one after another. What they read besides
//	               is gathered: one round trip whenever all that run wait for an answer
//	round trip n   the writes of those that succeeded; COMMIT
//
// Writes stay in memory until then, so an fn that fails leaves nothing to undo. READ COMMITTED is right because every
// statement after the slots are held sees what the earlier holders committed, and nobody else may change guarded rows.
// Slots are locked in order and rows written in key order, so that nodes do not deadlock; a deadlock or conflict that
// the database finds all the same runs the group again.
//
// # Durability and loss of the database
//
// Sessions force synchronous_commit=on: the database shows a commit to others only once it is durable, so a View needs
// no lock and does not wait: it is a read-only REPEATABLE READ transaction. Groups of Lazy transactions alone commit
// asynchronously.
//
// When the database is lost, Update and View fail with Kind Unavailable and nothing is poisoned: the next call
// connects again. When the answer to a COMMIT is lost nobody can tell whether it happened: that too is Unavailable,
// never success, and never tried again by the backend.
package postgres
