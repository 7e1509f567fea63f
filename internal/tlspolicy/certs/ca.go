package certs

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	"postel/internal/mail"
	"postel/internal/vfs"
)

// How long certificates hold. A leaf is made anew when less than a third is left.
const (
	caLife   = 10 * 365 * 24 * time.Hour
	leafLife = 90 * 24 * time.Hour
	skew     = time.Hour // for clients whose clock is behind
)

// maxLeaves bounds the certificates kept for names that clients ask for; beyond it they get the one of our own
// names.
const maxLeaves = 256

// maxPEM bounds a file of certificates or keys.
const maxPEM = 1 << 20

// CAOptions say where the authority lives and what it is for.
type CAOptions struct {
	FS    vfs.FS           // nil is the operating system's
	Dir   string           // the data directory, which must exist
	Names []string         // host names in A-labels and addresses of this server; localhost, 127.0.0.1 and ::1 are added
	Now   func() time.Time // nil is time.Now
}

// CA is a private authority and a Source: it signs a certificate for the name that a client asks for. Safe for
// concurrent use.
type CA struct {
	names []string
	now   func() time.Time
	cert  *x509.Certificate
	key   *ecdsa.PrivateKey
	leaf  *ecdsa.PrivateKey // one key for all leaves, made anew at each start

	mu     sync.Mutex
	leaves map[string]*tls.Certificate // by name; "" has all of our own
}

// OpenCA reads the authority of a data directory, or makes it. An error of Kind Invalid says which file is
// wrong; one that only could not be read or written is Unavailable.
func OpenCA(o CAOptions) (*CA, error) {
	if o.FS == nil {
		o.FS = vfs.Default()
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	c := &CA{now: o.Now, leaves: map[string]*tls.Certificate{}}
	for _, n := range append(slices.Clone(o.Names), "localhost", "127.0.0.1", "::1") {
		if !c.ownName(n) {
			c.names = append(c.names, n)
		}
	}
	if err := c.load(o.FS, o.FS.PathJoin(o.Dir, "ca.pem"), o.FS.PathJoin(o.Dir, "ca-key.pem")); err != nil {
		return nil, err
	}
	var err error
	if c.leaf, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		return nil, mail.Wrap("certs.ca", err)
	}
	return c, nil
}

// load reads key and certificate; what is missing is made and written, the key first.
func (c *CA) load(f vfs.FS, certFile, keyFile string) error {
	keyPEM, keyErr := vfs.ReadFile(f, keyFile, maxPEM)
	certPEM, certErr := vfs.ReadFile(f, certFile, maxPEM)
	for _, err := range []error{keyErr, certErr} {
		if err != nil && !vfs.IsNotExist(err) {
			return unavailable("cannot read the certificate authority in the data directory", err)
		}
	}
	var err error
	switch {
	case keyErr == nil:
		if c.key, err = parseKey(keyPEM); err != nil {
			return invalid(keyFile, err)
		}
	case certErr == nil:
		return invalid(certFile, mail.E("certs.ca", mail.NotFound, "ca-key.pem is missing beside it; remove ca.pem to make a new authority"))
	default:
		if err := c.makeKey(f, keyFile); err != nil {
			return err
		}
	}
	if certErr != nil {
		return c.makeCert(f, certFile)
	}
	if c.cert, err = parseCA(certPEM, c.key, c.now()); err != nil {
		return invalid(certFile, err)
	}
	return nil
}

func (c *CA) makeKey(f vfs.FS, name string) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return mail.Wrap("certs.ca", err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return mail.Wrap("certs.ca", err)
	}
	c.key = key
	return write(f, name, "PRIVATE KEY", der)
}

func (c *CA) makeCert(f vfs.FS, name string) error {
	serial, err := newSerial()
	if err != nil {
		return err
	}
	now := c.now()
	t := &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{CommonName: "Postel private CA " + serial.Text(36)[:8]},
		NotBefore:    now.Add(-skew), NotAfter: now.Add(caLife),
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		IsCA:     true, BasicConstraintsValid: true, MaxPathLenZero: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, t, t, c.key.Public(), c.key)
	if err != nil {
		return mail.Wrap("certs.ca", err)
	}
	if c.cert, err = x509.ParseCertificate(der); err != nil {
		return mail.Wrap("certs.ca", err)
	}
	return write(f, name, "CERTIFICATE", der)
}

// Certificate gives the authority's certificate, for clients to trust.
func (c *CA) Certificate() *x509.Certificate { return c.cert }

// Pool gives a pool that trusts this authority alone.
func (c *CA) Pool() *x509.CertPool {
	p := x509.NewCertPool()
	p.AddCert(c.cert)
	return p
}

// GetCertificate gives a certificate for the name that the client asks for; when it asks for none, or there are
// too many, the one that has all our own names and addresses.
func (c *CA) GetCertificate(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	name := ""
	if d, err := mail.ParseDomain(hello.ServerName); err == nil && !strings.HasPrefix(string(d), "[") {
		name = string(d)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ownName(name) {
		name = ""
	}
	if leaf, ok := c.leaves[name]; ok && leaf.Leaf.NotAfter.Sub(c.now()) > leafLife/3 {
		return leaf, nil
	} else if !ok && len(c.leaves) >= maxLeaves && name != "" {
		name = ""
		if leaf := c.leaves[""]; leaf != nil && leaf.Leaf.NotAfter.Sub(c.now()) > leafLife/3 {
			return leaf, nil
		}
	}
	leaf, err := c.sign(name)
	if err != nil {
		return nil, err
	}
	c.leaves[name] = leaf
	return leaf, nil
}

func (c *CA) ownName(name string) bool {
	for _, n := range c.names {
		if strings.EqualFold(n, name) {
			return true
		}
	}
	return false
}

// sign makes a leaf for one name, or for all of our own.
func (c *CA) sign(name string) (*tls.Certificate, error) {
	serial, err := newSerial()
	if err != nil {
		return nil, err
	}
	now := c.now()
	t := &x509.Certificate{
		SerialNumber: serial, NotBefore: now.Add(-skew), NotAfter: now.Add(leafLife),
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	names := c.names
	if name != "" {
		names = []string{name}
	}
	for _, n := range names {
		if ip := net.ParseIP(n); ip != nil {
			t.IPAddresses = append(t.IPAddresses, ip)
		} else {
			t.DNSNames = append(t.DNSNames, n)
		}
	}
	t.Subject.CommonName = names[0]
	if len(names[0]) > 64 { // ub-common-name, RFC 5280 appendix A.1
		t.Subject.CommonName = "postel"
	}
	der, err := x509.CreateCertificate(rand.Reader, t, c.cert, c.leaf.Public(), c.key)
	if err != nil {
		return nil, mail.Wrap("certs.sign", err)
	}
	parsed, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, mail.Wrap("certs.sign", err)
	}
	return &tls.Certificate{Certificate: [][]byte{der, c.cert.Raw}, PrivateKey: c.leaf, Leaf: parsed}, nil
}

// newSerial gives a serial number of 127 random bits (RFC 5280 §4.1.2.2).
func newSerial() (*big.Int, error) {
	n, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, mail.Wrap("certs.serial", err)
	}
	return n.SetBit(n, 126, 1), nil // never zero, never short
}

func write(f vfs.FS, name, kind string, der []byte) error {
	if err := vfs.WriteFileSync(f, name, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})); err != nil {
		return unavailable("cannot write the certificate authority into the data directory", err)
	}
	return nil
}

func unavailable(text string, err error) error {
	return &mail.Error{Op: "certs", Kind: mail.Unavailable, Text: text, Err: err}
}

func invalid(file string, err error) error {
	return &mail.Error{
		Op: "certs", Kind: mail.Invalid, Text: "a certificate or key cannot be used",
		Err: fmt.Errorf("%s: %w", file, err),
	}
}
