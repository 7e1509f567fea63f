// Package pop3 is the wire of POP3 (RFC 1939): lines and commands of a client, replies with response codes
// (RFC 2449 §6.5, RFC 3206), multi-line responses with their dots, the digest of APOP. It knows neither mail
// nor sessions. What a client sends is bounded: MaxLine, MaxAuthLine, MaxJunk, numbers of nine digits.
//
//	command  = verb [SP arguments] CRLF             LF alone is taken too: people type at this port
//	reply    = ("+OK" / "-ERR") [SP "[" code "]"] [SP text] CRLF
//	listing  = reply *(line CRLF) "." CRLF          a line's own first dot is doubled
package pop3
