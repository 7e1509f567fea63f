// Package route says where a domain's mail goes: to the host of an explicit rule, or where DNS sends it (RFC
// 5321 §5.1). It looks up and decides; it opens no connection and knows nothing of queues.
//
// In order: a rule for the domain, the rule for all; an address literal; MX records by preference, equal ones in
// random order; the domain's own addresses when it has no MX; nothing at all when it publishes the null MX (RFC
// 7505). A look-up that nobody could answer is temporary, and never a reason to fall back to addresses.
//
// Invariants: a plan without an error has at least one host, each host at least one address. No address is one of
// our own listeners. When we are among the MXs ourselves, no host of the same or a worse preference is left. An
// address that a stranger's DNS names is not loopback, unspecified, multicast or broadcast, unless Options allow
// loopback; a rule may name loopback, because the operator wrote it.
//
// Every plan, a failed one too, carries the steps that led to it, each with the clause it rests on.
package route
