// Package tlsrpt knows reports on TLS (RFC 8460): what is counted of sessions with other servers, where the owner of a
// domain wants that reported, how a report is written, sent and read. What a session came to is judged in tlspolicy;
// where counts are kept is a Ledger's business.
//
// Parsing is pure and bounded: a report has 10 MiB at most once it is unpacked, with 10,000 policies and 50,000
// failures; a record names eight addresses at most that are heard.
package tlsrpt
