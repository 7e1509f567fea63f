// Package mtasts knows which hosts a domain's owner vouches for by MTA-STS (RFC 8461): it reads the record at
// _mta-sts.DOMAIN, fetches the policy that it announces from https://mta-sts.DOMAIN and keeps it as long as the
// policy says. What follows for a connection is decided in tlspolicy.
//
// Parsing is pure and bounded: a policy has 64 KiB and 500 hosts at most. A fetch takes a minute at most, follows no
// redirect, uses no proxy and wants a certificate that verifies for mta-sts.DOMAIN (§3.3). Nothing that fails takes a
// policy away before its time: neither a record that cannot be looked up, nor a policy that cannot be fetched or read
// (§3.3, §5.1). A fetch that failed is repeated after five minutes at the earliest. A policy grown old is fetched anew
// beside its use, so that it does not lapse while the domain gets mail.
package mtasts
