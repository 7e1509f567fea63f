package sasl

import (
	"crypto/sha256"
	"crypto/sha512"
	"crypto/tls"
	"crypto/x509"
)

// Link is the connection on which an exchange runs, as a server knows it.
type Link struct {
	Secure bool // passwords may be sent over it
	// TLS is nil in clear, and where another than we ended TLS: then there is nothing to bind an exchange to, and no
	// client's certificate.
	TLS *tls.ConnectionState
	// Certificate is the one that we showed in TLS; nil when that is not known.
	Certificate *x509.Certificate
}

// The types of channel bindings.
const (
	tlsExporter       = "tls-exporter"         // RFC 9266
	tlsServerEndPoint = "tls-server-end-point" // RFC 5929 §4
	tlsUnique         = "tls-unique"           // RFC 5929 §3; of TLS 1.2
)

// binds tells whether the connection has anything to bind an exchange to.
func (l Link) binds() bool {
	return l.TLS != nil && (l.TLS.Version >= tls.VersionTLS13 || l.TLS.TLSUnique != nil || endPoint(l.Certificate) != nil)
}

// binding gives the data of a type of channel binding; nil when it is not had here.
func (l Link) binding(kind string) []byte {
	if l.TLS == nil {
		return nil
	}
	switch kind {
	case tlsExporter:
		return exporter(l.TLS)
	case tlsServerEndPoint:
		return endPoint(l.Certificate)
	case tlsUnique:
		return l.TLS.TLSUnique
	}
	return nil
}

// exporter gives tls-exporter (RFC 9266 §2). TLS 1.2 has it under conditions that a peer cannot see (§4.2): there
// it is not used.
func exporter(t *tls.ConnectionState) []byte {
	if t.Version < tls.VersionTLS13 {
		return nil
	}
	b, err := t.ExportKeyingMaterial("EXPORTER-Channel-Binding", []byte{}, 32)
	if err != nil {
		return nil
	}
	return b
}

// endPoint gives tls-server-end-point: the certificate hashed as its signature hashes, but with SHA-256 instead of MD5
// and SHA-1 (RFC 5929 §4.1). A signature without a hash of its own has none.
func endPoint(c *x509.Certificate) []byte {
	if c == nil {
		return nil
	}
	switch c.SignatureAlgorithm {
	case x509.MD5WithRSA, x509.SHA1WithRSA, x509.ECDSAWithSHA1, x509.SHA256WithRSA, x509.SHA256WithRSAPSS, x509.ECDSAWithSHA256:
		sum := sha256.Sum256(c.Raw)
		return sum[:]
	case x509.SHA384WithRSA, x509.SHA384WithRSAPSS, x509.ECDSAWithSHA384:
		sum := sha512.Sum384(c.Raw)
		return sum[:]
	case x509.SHA512WithRSA, x509.SHA512WithRSAPSS, x509.ECDSAWithSHA512:
		sum := sha512.Sum512(c.Raw)
		return sum[:]
	}
	return nil
}
