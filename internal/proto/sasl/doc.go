// Package sasl holds the mechanisms of SASL (RFC 4422). As a server: SCRAM-SHA-1 and SCRAM-SHA-256 (RFC 5802,
// RFC 7677) with -PLUS, PLAIN (RFC 4616), LOGIN (the old one of mail clients, never an RFC), CRAM-MD5 (RFC 2195),
// OAUTHBEARER (RFC 7628), XOAUTH2 and EXTERNAL; as a client those of passwords and of tokens. It knows neither accounts nor
// protocols: an Authenticator answers for the accounts, Tokens for bearer tokens, a Link for the connection, and the
// protocols carry challenges and responses in their own lines.
//
// An exchange, whichever side plays it, is a ladder of octet strings:
//
//	client                                server
//	AUTH mech [initial response]   →      Start, Next(response or nil)
//	                               ←      challenge
//	response                       →      Next(response)
//	                               ←      …, done or an error
//
// Invariants: nothing is accepted before done; an error ends the exchange for good; a failed login tells neither
// whether the account exists nor which part was wrong; a mechanism of passwords or secrets is offered only if every
// account of the directory can use it. Limits: MaxLine for a line of base64, MaxName for a login, MaxPassword for a
// password.
//
// SCRAM is written here rather than taken from a library because the server side needs a context, an
// unknown user that fails only at the end, an authorization identity checked by the directory, the bounds above
// and the refusal of mandatory extensions in either message (RFC 5802 §5.1); the tests hold it against
// xdg-go/scram. -PLUS is offered where we end TLS ourselves: bound by tls-exporter (RFC 9266) in TLS 1.3, by
// tls-unique in TLS 1.2 and by tls-server-end-point (RFC 5929) in both. A client that says y while -PLUS is offered
// was lied to, and fails (RFC 5802 §6).
package sasl
