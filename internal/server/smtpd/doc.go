// Package smtpd serves SMTP (RFC 5321) and LMTP (RFC 2033). It speaks and keeps order; what becomes of mail is
// decided by an smtp.Policy (mx, msa, catcher), one for each Server.
//
//	table.go        one row a command: verb, states, flags, parser, handler, help; HELP and EHLO derive from it
//	session.go      the loop: limits, deadlines, state checks, errors to replies, trace, counters
//	wire.go         octets in and out; the one place that waits for the peer
//	greet.go        EHLO, HELO, LHLO, STARTTLS
//	auth.go         AUTH
//	etrn.go         ETRN (RFC 1985)
//	atrn.go         the port of on-demand mail relay: ATRN (RFC 2645)
//	extensions.go   what EHLO lists beside commands, and their parameters
//	transaction.go  MAIL, RCPT, DATA, RSET; envelope.go: what MAIL may ask for
//	chunks.go       BDAT
//	talk.go         NOOP, HELP, QUIT
//	verify.go       VRFY, EXPN
//
// Invariants: a transaction is one object and is dropped whole, Reset exactly once unless Data was called. A
// reply is written for each command, in order, and flushed before the session waits for the peer, so that
// pipelined commands are answered together (RFC 2920 §3.2). Octets that came in clear behind STARTTLS are never
// read as commands (RFC 3207 §6), nor are those of a chunk, whatever becomes of its BDAT. A secret never reaches the trace unmasked. The memory of a session is its two
// buffers and one line, whatever the peer sends.
package smtpd
