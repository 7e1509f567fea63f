// Package smtp is the wire of SMTP and LMTP (RFC 5321, RFC 2033): commands and their arguments, replies, the
// content of a message with its dots, a client, and role.go, where a server says what it asks of a role. It is
// pure but for the client, which runs on a connection that it is given; policy, configuration and logs are not
// its business (a line trace is a callback).
//
// Invariants:
//   - Only CRLF ends a line, only CRLF "." CRLF ends a message. What else a peer may mean by a bare CR or LF is
//     never guessed before the end is found, so that two servers cannot see different ends (SMTP smuggling).
//   - Every line, reply and message is bounded before it is read.
//   - What a parser takes, its encoder writes back to the same value.
//
// RFCs: 5321 (SMTP), 2033 (LMTP), 1870 (SIZE), 2034 and 3463 (enhanced codes), 2920 (PIPELINING), 3207
// (STARTTLS), 2852 (DELIVERBY), 3030 (CHUNKING), 3461 and 6533 (DSN parameters), 3848 (with ESMTPSA), 4865
// (FUTURERELEASE), 4954 (AUTH), 6152 (8BITMIME), 6531 (SMTPUTF8), 6710 (MT-PRIORITY), 8689 (REQUIRETLS).
package smtp
