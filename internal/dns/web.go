package dns

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"net/http"

	"postel/internal/mail"
)

// Web gives a client for HTTPS to a host that a stranger names, by d: a certificate must verify (nil roots are the system's), no proxy
// is used, no redirect is followed, and no connection is kept.
func (d *Dialer) Web(roots *x509.CertPool) *http.Client {
	return &http.Client{
		Transport: &http.Transport{
			DialContext: d.DialContext, DisableKeepAlives: true, DisableCompression: true, MaxResponseHeaderBytes: 16 << 10,
			TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: roots},
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// WebError says an error of such a client in a few words; host is how the other side is called ("the policy host").
func WebError(err error, host string) string {
	var cert *tls.CertificateVerificationError
	var name x509.HostnameError
	var ours *mail.Error
	var ne net.Error
	switch {
	case errors.As(err, &name):
		return "the certificate of " + host + " is for another name"
	case errors.As(err, &cert):
		return "the certificate of " + host + " does not verify"
	case errors.As(err, &ours) && ours.Text != "":
		return ours.Text
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &ne) && ne.Timeout():
		return host + " does not answer in time"
	}
	return host + " cannot be reached by HTTPS"
}
