// Package dane knows the certificates that DNS vouches for by DNSSEC: it looks up TLSA records for the SMTP service of
// a host (RFC 7672) and verifies certificates against them (RFC 6698, RFC 7671). What follows for a connection is
// decided in tlspolicy.
//
// Nothing counts but what a resolver that is believed calls authentic (package dns). Look-ups end in one of four ways,
// because mail treats them apart: records that are usable; records of which none is, which means TLS without
// verification (RFC 7672 §2.2); proof, or no DNSSEC at all, so that the host does without DANE; and a failure, with
// which the host must not be used (RFC 7672 §2.1.2), since that is what an attack looks like.
//
// Of the usages only DANE-TA(2) and DANE-EE(3) are usable in mail; PKIX-TA(0) and PKIX-EE(1) are not, since there is no
// set of authorities that both sides know (RFC 7672 §3.1.3).
package dane
