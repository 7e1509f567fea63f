// Package imapd serves IMAP4rev1 (RFC 3501) and the extensions that its table of commands names. It translates
// between proto/imap and store; what mail is, is not decided here.
//
// The table in commands.go is the protocol: a row is a command with its states, flags, RFC clause, parser and
// handler, and CAPABILITY derives from it. The loop in session.go owns limits, deadlines, state checks, tagged
// replies, the trace and the counters; handlers own meaning and give an error or nothing.
//
// # What a client sees of a mailbox
//
// A session holds the Snapshot that its client knows. At each command, and in IDLE when the view tells of a change,
// it is compared with the newest one and the difference is told: FLAGS for new keywords, EXPUNGE, EXISTS, RECENT,
// FETCH. While EXPUNGE may not be sent (RFC 3501 §7.4.1: FETCH, STORE and SEARCH by message number) and messages
// are gone, the client's snapshot stays as it is, so that numbers keep their meaning; a message that is gone is
// then left out of the answer, which ends in NO [EXPUNGEISSUED] (RFC 5530 §3).
//
// Invariants: octets that came in clear before STARTTLS are never commands; a secret is never traced; a session
// that waits holds no buffers; the answer to a FETCH never needs more memory than a batch of emails and one
// buffer.
package imapd
