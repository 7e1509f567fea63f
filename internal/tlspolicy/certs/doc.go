// Package certs gives the certificates that our servers show, and the TLS configuration of each protocol. It
// opens no connection and fetches nothing.
//
// There are two sources. CA is for trying and testing: a private authority made at first start in the data
// directory, which signs a certificate for whatever name a client asks for. Files is for real servers: a
// certificate chain and its key, read again when the files change, so that whoever renews them need not restart
// anything.
//
//	DATA/ca.pem      the authority's certificate, to be given to clients
//	DATA/ca-key.pem  its private key, PKCS #8, mode 0600; never leaves the directory
//
// The key is written before the certificate, so a crash between them leaves a key that the next start goes on
// with; a certificate without its key is refused, because clients may trust it already.
//
// TLS 1.2 is the least (RFC 8997, RFC 9325 §3.1.1). Each protocol has ALPN names, and a client that offers only
// others is refused with no_application_protocol (RFC 7301 §3.2), so that a session of one protocol cannot be
// turned into one of another; a client that offers none is served.
package certs
