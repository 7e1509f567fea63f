// Package pop3d serves INBOX by POP3: RFC 1939 whole but for LAST (which RFC 1460 had), CAPA and response codes
// (RFC 2449, RFC 3206), STLS (RFC 2595), AUTH (RFC 5034). It translates; proto/pop3 knows the wire, store the mail.
//
//	AUTHORIZATION --login, maildrop locked--> TRANSACTION --QUIT--> UPDATE --> closed
//
// A maildrop is INBOX as it was at the login: an immutable snapshot, shared with IMAP sessions, beside which a
// session keeps one bit a message. One session at a time has it; the hold ends with the connection. Marks of
// deletion take effect at QUIT alone. What an IMAP session removes meanwhile cannot be read any more but keeps
// its number. POP3 changes no flags.
//
// Sizes are octets of the message as it is stored, which RETR sends as they are, dots at the start of lines
// doubled; only a message that does not end in CRLF gets one besides. Messages that came by SMTP hold only CRLF.
//
// A connection that waits too long, dies or is stopped is closed without a word (RFC 1939 §3: a line that no
// command asked for would be taken as the answer to the next), and nothing is deleted.
package pop3d
