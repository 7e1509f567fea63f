// Package dns asks the domain name system, as a stub resolver (RFC 1034 §5.3.1) in front of a recursive server
// that validates. It is the one place that speaks DNS; it decides nothing about mail.
//
// Answers carry the AD bit (RFC 4035 §3.2.3): Authentic is true only when every step of the answer was validated
// by a server whose path to us is trusted, that is one on loopback or one that the operator vouches for.
//
// Three outcomes are kept apart, because mail treats them apart: the name does not exist (NXDOMAIN, Kind
// NotFound), the name exists without records of the type (no error, no records; RFC 2308 §2.2), and nobody could
// tell (SERVFAIL, REFUSED, time-outs; Kind Unavailable with 4.4.3), which is always temporary.
//
// Queries carry a random id, leave from a random port and offer EDNS with 1,232 octets (RFC 6891 §6.2.5);
// truncated answers are asked for again over TCP (RFC 7766 §5). A reply that does not repeat the question is
// dropped. Equal questions at one time are one query, and answers are kept in a cache of bounded size for their
// TTL, at most an hour; failures for a second (RFC 9520 §3.2). Names are A-labels; whoever has U-labels converts first.
package dns
