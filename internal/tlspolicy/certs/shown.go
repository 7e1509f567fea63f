package certs

import (
	"context"
	"crypto/tls"
	"crypto/x509"
)

// shownKey is where the context of a handshake keeps what was shown in it: crypto/tls does not tell a server
// which certificate it used, and the sources' answers change while handshakes are under way.
type shownKey struct{}

// WithShown gives a context for a handshake with a configuration of Config, and what tells afterwards which
// certificate was shown in it; nil when none was.
func WithShown(ctx context.Context) (context.Context, func() *x509.Certificate) {
	var cert *tls.Certificate
	return context.WithValue(ctx, shownKey{}, &cert), func() *x509.Certificate {
		if cert == nil {
			return nil
		}
		if cert.Leaf != nil {
			return cert.Leaf
		}
		leaf, err := x509.ParseCertificate(cert.Certificate[0])
		if err != nil {
			return nil
		}
		return leaf
	}
}

// Noting gives a GetCertificate that notes for WithShown what another one gives.
func Noting(get func(*tls.ClientHelloInfo) (*tls.Certificate, error)) func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	return func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
		cert, err := get(hello)
		if note, ok := hello.Context().Value(shownKey{}).(**tls.Certificate); ok && err == nil {
			*note = cert
		}
		return cert, err
	}
}
