// Package mail holds the nouns of Internet mail that every other package speaks in: addresses and domains,
// envelopes and recipients, ids, results of a delivery, and errors with a Kind. It does no I/O and knows no
// protocol; it imports only the standard library and the IDNA tables.
package mail
