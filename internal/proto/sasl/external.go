package sasl

import (
	"context"
	"crypto/x509"
	"encoding/asn1"

	"postel/internal/mail"
)

// emailAddress is the attribute of a subject that holds an address (RFC 5280 appendix A).
var emailAddress = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 1}

// names gives the addresses that the client's certificate holds; nil when it has none, or no authority of ours
// vouches for it. It is asked for at each offer: a certificate may run out while a session lasts.
func (s *Server) names(l Link) []string {
	if s.Clients == nil || l.TLS == nil || len(l.TLS.PeerCertificates) == 0 {
		return nil
	}
	chain := l.TLS.PeerCertificates
	between := x509.NewCertPool()
	for _, c := range chain[1:] {
		between.AddCert(c)
	}
	if _, err := chain[0].Verify(x509.VerifyOptions{
		Roots: s.Clients, Intermediates: between, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}); err != nil {
		return nil
	}
	if len(chain[0].EmailAddresses) > 0 { // rfc822Name of subjectAltName: the subject does not count then
		return chain[0].EmailAddresses
	}
	var out []string
	for _, a := range chain[0].Subject.Names {
		if text, ok := a.Value.(string); ok && a.Type.Equal(emailAddress) {
			out = append(out, text)
		}
	}
	return out
}

// externalServer is EXTERNAL (RFC 4422 appendix A): the client's certificate says who it is, the one message whom it
// wants to be among the accounts that the certificate names; empty is the first of them.
type externalServer struct {
	auth  Authenticator
	names []string
	asked bool
	over  bool
}

// maxNames bounds the addresses of a certificate that are looked up.
const maxNames = 20

func (e *externalServer) Next(ctx context.Context, response []byte) ([]byte, bool, Identity, error) {
	if e.over {
		return nil, false, Identity{}, malformed("it is over")
	}
	if response == nil && !e.asked {
		e.asked = true
		return []byte{}, false, Identity{}, nil
	}
	e.over = true
	authzid := string(response)
	if len(authzid) > MaxName {
		return nil, false, Identity{}, malformed("authorization identity")
	}
	for _, name := range e.names[:min(len(e.names), maxNames)] {
		id, err := e.auth.Vouched(ctx, name)
		if err == nil {
			err = authorize(ctx, e.auth, id, authzid)
		}
		if err == nil {
			return nil, true, id, nil
		}
		if !mail.Is(err, mail.AuthFailed) {
			return nil, false, Identity{}, err
		}
	}
	return nil, false, Identity{}, Failed()
}
