// Package tlspolicy decides how a connection to another mail server must be secured, and why. Below it /dane and
// /mtasts know what a domain's owner says, /certs has the certificates that we show ourselves.
//
// For each host of a destination there is one Decision. In order:
//
//  1. TLSA records that DNSSEC vouches for (RFC 7672): usable ones must verify the certificate, whatever MTA-STS says
//     (RFC 8461 §2); with unusable ones TLS is a must. A look-up of them that fails makes the host one that is not used.
//  2. A policy of MTA-STS (RFC 8461): with enforce only hosts that it names are used, and their certificates must
//     verify by the authorities of the Web for that name; with testing what fails is logged.
//  3. TLS where it is offered, not verified (RFC 7435). When it fails, the same host is spoken to in clear at the next
//     attempt at the earliest, and so is one that offered TLS before.
//
// What was seen of a domain is remembered, so that a downgrade is noticed. A policy of MTA-STS holds until its time is
// over, even when neither its record nor itself can be had. When TLSA records verified a host lately and DNSSEC does not
// protect the domain any more, nothing is sent for two days from then: shorter than mail waits before it is returned,
// so that an owner who turned DNSSEC off loses no mail, and long enough for somebody to look.
//
// Memory is a row of table tl for each domain: JSON with its version, "v", which is 1.
package tlspolicy
