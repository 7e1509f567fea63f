package certs

import (
	"crypto/tls"
	"crypto/x509"
	"errors"

	"postel/internal/vfs"
)

// Protocol is what is spoken inside TLS.
type Protocol string

// The protocols.
const (
	SMTP Protocol = "smtp" // MX, submission and LMTP
	IMAP Protocol = "imap"
	POP3 Protocol = "pop3"
	HTTP Protocol = "http"
)

// Source gives the certificate for a handshake. Safe for concurrent use.
type Source interface {
	GetCertificate(*tls.ClientHelloInfo) (*tls.Certificate, error)
}

// Config gives a server's TLS configuration. It may be shared by listeners and must not be changed.
func Config(s Source, p Protocol) *tls.Config {
	return &tls.Config{
		MinVersion:     tls.VersionTLS12,
		GetCertificate: Noting(s.GetCertificate),
		NextProtos:     p.alpn(),
	}
}

// AskClients has clients asked for a certificate of these authorities. None is needed, and one that is not good ends no
// handshake: who logs in by it verifies it.
func AskClients(c *tls.Config, authorities *x509.CertPool) *tls.Config {
	c = c.Clone()
	c.ClientAuth, c.ClientCAs = tls.RequestClientCert, authorities
	return c
}

// Authorities reads certificates of authorities from a PEM file. Kind Invalid when there are none in it.
func Authorities(f vfs.FS, name string) (*x509.CertPool, error) {
	text, err := vfs.ReadFile(f, name, maxPEM)
	if err != nil {
		return nil, invalid(name, err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(text) {
		return nil, invalid(name, errors.New("no CERTIFICATE block in PEM"))
	}
	return pool, nil
}

// alpn gives a protocol's ALPN names. Those of IMAP and POP3 are in IANA's registry; SMTP has none there, and
// these two are what the servers take that check it at all.
func (p Protocol) alpn() []string {
	switch p {
	case SMTP:
		return []string{"smtp", "esmtp"}
	case HTTP:
		return []string{"h2", "http/1.1"}
	}
	return []string{string(p)}
}
