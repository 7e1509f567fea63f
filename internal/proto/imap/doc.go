// Package imap is the wire language of IMAP4rev1 (RFC 3501 §9) and of the extensions that postel serves: LITERAL+
// (RFC 7888), SASL-IR (RFC 4959), ESEARCH (RFC 4731), UIDPLUS (RFC 4315), MOVE (RFC 6851), LIST-EXTENDED
// (RFC 5258) with SPECIAL-USE (RFC 6154) and LIST-STATUS (RFC 5819), STATUS=SIZE (RFC 8438), ID (RFC 2971),
// ENABLE (RFC 5161).
//
// A Decoder turns bytes into typed arguments: one method a production, the first error is kept, and after it
// every method returns at once. An Encoder mirrors it. Neither knows policy, accounts or mailboxes.
//
// How a command lies on the wire:
//
//	line CRLF                            tag SP command …
//	line {n} CRLF | n octets line CRLF   a synchronising literal: the server says "+" before the octets come
//	line {n+} CRLF n octets line CRLF    a non-synchronising one: they come at once
//
// Invariants: the Decoder holds at most one line, and a command with its literals is never longer than its limit;
// the literal of APPEND is streamed. After an error Finish reads what the client still sends of the command, or
// says that it cannot, so octets of a literal are never taken for commands (RFC 7888 §4).
//
// A bare LF ends a line as CRLF does; a bare CR and NUL are errors.
package imap
