package certs

import (
	"crypto/ecdsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"time"
)

func parseKey(text []byte) (*ecdsa.PrivateKey, error) {
	block, _ := pem.Decode(text)
	if block == nil || block.Type != "PRIVATE KEY" {
		return nil, errors.New("no PRIVATE KEY block in PEM")
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, err
	}
	key, ok := parsed.(*ecdsa.PrivateKey)
	if !ok {
		return nil, errors.New("not an ECDSA key")
	}
	return key, nil
}

// parseCA reads the authority's certificate and checks that it is one, for this key, and holds.
func parseCA(text []byte, key *ecdsa.PrivateKey, now time.Time) (*x509.Certificate, error) {
	block, _ := pem.Decode(text)
	if block == nil || block.Type != "CERTIFICATE" {
		return nil, errors.New("no CERTIFICATE block in PEM")
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return nil, err
	}
	switch {
	case !cert.IsCA:
		return nil, errors.New("not the certificate of an authority")
	case !key.PublicKey.Equal(cert.PublicKey):
		return nil, errors.New("not of the key in ca-key.pem")
	case now.Add(leafLife).After(cert.NotAfter):
		return nil, errors.New("it has expired or is about to; remove both files to make a new authority")
	}
	return cert, nil
}
