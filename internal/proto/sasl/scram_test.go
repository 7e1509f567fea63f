package sasl

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"math/big"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/xdg-go/scram"

	"postel/internal/mail"
)

// TestSCRAMExamples are the exchanges of RFC 5802 §5 and RFC 7677 §3, played by our server and by our client.
func TestSCRAMExamples(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		mech                        string
		hash                        crypto.Hash
		salt, nonce                 string
		first, challenge, final, ok string
	}{
		{
			ScramSHA1, crypto.SHA1, "QSXCR+Q6sek8bf92", "3rfcNHYJY1ZVvWVs7j",
			"n,,n=user,r=fyko+d2lbbFgONRv9qkxdawL",
			"r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,s=QSXCR+Q6sek8bf92,i=4096",
			"c=biws,r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,p=v0X8v3Bz2T0CJGbJQyF0X+HI4Ts=",
			"v=rmF9pqV8S7suAoZWja4dJRkFsKQ=",
		},
		{
			ScramSHA256, crypto.SHA256, "W22ZaJ0SNY7soEsUEjb6gQ==", "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0",
			"n,,n=user,r=rOprNGfwEbeRWgbNEkqO",
			"r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",
			"c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=",
			"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=",
		},
	} {
		salt, _ := base64.StdEncoding.DecodeString(c.salt)
		keys, err := NewSCRAMKeys(c.hash, "pencil", salt, 4096)
		if err != nil {
			t.Fatal(err)
		}
		s := &Server{Auth: fixed{keys: keys}, Nonce: func() string { return c.nonce }}
		got, id, err := talk(t, s, c.mech, c.first, c.final, "")
		if err != nil || id.Account != 1 || strings.Join(got, "|") != c.challenge+"|"+c.ok {
			t.Errorf("%s: %q %v %v", c.mech, got, id, err)
		}
		client := &scramClient{hash: c.hash, header: "n,,", user: "user", pass: "pencil", nonce: c.first[strings.Index(c.first, "r=")+2:]}
		if got := string(client.Initial()); got != c.first {
			t.Errorf("%s: %q", c.mech, got)
		}
		if got, err := client.Next([]byte(c.challenge)); err != nil || string(got) != c.final {
			t.Errorf("%s: %q %v", c.mech, got, err)
		}
		if _, err := client.Next([]byte(c.ok)); err != nil || client.Finish() != nil {
			t.Errorf("%s: %v", c.mech, err)
		}
	}
}

// fixed has one account with the keys given.
type fixed struct {
	accounts
	keys SCRAMKeys
}

func (f fixed) SCRAM(context.Context, crypto.Hash, string) (SCRAMKeys, Identity, error) {
	return f.keys, Identity{Account: 1}, nil
}

// TestSCRAMWithForeignClient lets xdg-go/scram's client log in, rightly and wrongly.
func TestSCRAMWithForeignClient(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		user, pass, authzid string
		ok                  bool
	}{
		{"alice", "pencil", "", true},
		{"a,l=ice", "pencil", "", true},
		{"alice", "pencil", "alice@postel.test", true},
		{"alice", "pencil", "bob", false},
		{"alice", "pencil", "nobody", false},
		{"alice", "pen", "", false},
		{"nobody", "pencil", "", false},
		{"nobody", "pencil", "nobody", false},
	} {
		for mech, hash := range hashes() {
			cl, err := hash.NewClient(c.user, c.pass, c.authzid)
			if err != nil {
				t.Fatal(err)
			}
			conv := cl.NewConversation()
			done, id, err := converse(t, Link{Secure: true}, mech, conv)
			if done != c.ok || done && (!conv.Valid() || id.Account != 7) || !done && !mail.Is(err, mail.AuthFailed) {
				t.Errorf("%s %+v: done %v, %v, %v", mech, c, done, id, err)
			}
		}
	}
}

func hashes() map[string]scram.HashGeneratorFcn {
	return map[string]scram.HashGeneratorFcn{ScramSHA1: scram.SHA1, ScramSHA256: scram.SHA256}
}

func converse(t *testing.T, l Link, mech string, conv *scram.ClientConversation) (done bool, id Identity, err error) {
	t.Helper()
	x, err := (&Server{Auth: accounts{}}).Start(t.Context(), l, mech)
	if err != nil {
		t.Fatal(err)
	}
	var challenge []byte
	for n := 0; err == nil && !done && n < 5; n++ {
		var r string
		if !conv.Done() {
			if r, err = conv.Step(string(challenge)); err != nil {
				break
			}
		}
		challenge, done, id, err = x.Next(t.Context(), []byte(r))
	}
	return done, id, err
}

// pair gives the states of both ends of a TLS connection, and the server's certificate.
func pair(t *testing.T, version uint16, sign x509.SignatureAlgorithm) (client, server tls.ConnectionState, cert *x509.Certificate) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), SignatureAlgorithm: sign}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	if cert, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	a, b := net.Pipe()
	defer a.Close()
	defer b.Close()
	c := tls.Client(a, &tls.Config{InsecureSkipVerify: true, MaxVersion: version})
	s := tls.Server(b, &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}, SessionTicketsDisabled: true})
	done := make(chan error, 1)
	go func() { done <- s.Handshake() }()
	if err := c.Handshake(); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	return c.ConnectionState(), s.ConnectionState(), cert
}

// TestChannelBinding: each type binds for a foreign client, and one of another channel fails, as does a client that was
// told that there is none (RFC 5802 §6).
func TestChannelBinding(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		version uint16
		sign    x509.SignatureAlgorithm
	}{
		{tls.VersionTLS13, x509.ECDSAWithSHA256}, {tls.VersionTLS12, x509.ECDSAWithSHA384}, {tls.VersionTLS13, x509.ECDSAWithSHA512},
	} {
		client, server, cert := pair(t, c.version, c.sign)
		link := Link{Secure: true, TLS: &server, Certificate: cert}
		for name, b := range bindings(t, client) {
			for mech, hash := range hashes() {
				cl, err := hash.NewClient("alice", "pencil", "")
				if err != nil {
					t.Fatal(err)
				}
				if done, id, err := converse(t, link, mech+plus, cl.NewConversationWithChannelBinding(b)); !done || id.Account != 7 {
					t.Errorf("%s %s: %v", mech, name, err)
				}
				wrong := b
				wrong.Data = append([]byte{b.Data[0] ^ 1}, b.Data[1:]...)
				if done, _, err := converse(t, link, mech+plus, cl.NewConversationWithChannelBinding(wrong)); done || !mail.Is(err, mail.AuthFailed) {
					t.Errorf("%s %s of another channel: %v", mech, name, err)
				}
				if done, _, err := converse(t, link, mech, cl.NewConversationAdvertisingChannelBinding()); done || !mail.Is(err, mail.AuthFailed) {
					t.Errorf("%s with y while -PLUS is offered: %v", mech, err)
				}
				if done, _, err := converse(t, link, mech, cl.NewConversation()); !done {
					t.Errorf("%s with n: %v", mech, err)
				}
				if done, _, err := converse(t, Link{Secure: true}, mech, cl.NewConversationAdvertisingChannelBinding()); !done {
					t.Errorf("%s with y behind a proxy: %v", mech, err)
				}
			}
		}
	}
}

// bindings are what a foreign implementation computes at the client's end.
func bindings(t *testing.T, state tls.ConnectionState) map[string]scram.ChannelBinding {
	t.Helper()
	end, err := scram.NewTLSServerEndpointBinding(&state)
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]scram.ChannelBinding{"end point": end}
	if state.Version == tls.VersionTLS13 {
		if out["exporter"], err = scram.NewTLSExporterBinding(&state); err != nil {
			t.Fatal(err)
		}
		return out
	}
	out["unique"] = scram.NewTLSUniqueBinding(state.TLSUnique)
	return out
}

// TestBoundHeader holds what a client may not say in the header of a bound exchange, or of another.
func TestBoundHeader(t *testing.T) {
	t.Parallel()
	_, server, cert := pair(t, tls.VersionTLS13, x509.ECDSAWithSHA256)
	s := &Server{Auth: accounts{}}
	link := Link{Secure: true, TLS: &server, Certificate: cert}
	for _, c := range []struct {
		mech, flag string
		kind       mail.Kind
	}{
		{ScramSHA256 + plus, "n", mail.Invalid},
		{ScramSHA256 + plus, "y", mail.Invalid},
		{ScramSHA256 + plus, "p=tls-unique", mail.Invalid}, // which TLS 1.3 has not
		{ScramSHA256 + plus, "p=", mail.Invalid},
		{ScramSHA256 + plus, "p=TLS-EXPORTER", mail.Invalid},
		{ScramSHA256, "p=tls-exporter", mail.Invalid},
		{ScramSHA256, "y", mail.AuthFailed},
	} {
		x, err := s.Start(t.Context(), link, c.mech)
		if err != nil {
			t.Fatal(err)
		}
		if _, _, _, err := x.Next(t.Context(), []byte(c.flag+",,n=alice,r=C")); !mail.Is(err, c.kind) {
			t.Errorf("%s %s: %v", c.mech, c.flag, err)
		}
	}
	if got := endPoint(&x509.Certificate{SignatureAlgorithm: x509.PureEd25519}); got != nil {
		t.Error("Ed25519 signs without a hash of its own")
	}
}

// TestBoundClient plays our client over TLS: bound where that is offered; it says y only to who offers nothing bound.
func TestBoundClient(t *testing.T) {
	t.Parallel()
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		client, server, cert := pair(t, version, x509.ECDSAWithSHA256)
		s := &Server{Auth: accounts{}}
		for _, l := range []Link{
			{Secure: true, TLS: &server, Certificate: cert},
			{Secure: true}, // behind a proxy that ends TLS
		} {
			cred := Credentials{User: "alice", Password: "pencil", Offered: s.Mechanisms(t.Context(), l), TLS: &client}
			mech := cred.Choose()
			if bound := strings.HasSuffix(mech, plus); bound != (l.TLS != nil) {
				t.Errorf("%s", mech)
			}
			x, err := s.Start(t.Context(), l, mech)
			if err != nil {
				t.Fatal(err)
			}
			if err := play(t, cred, mech, x); err != nil {
				t.Errorf("%s: %v", mech, err)
			}
		}
	}
	client, server, cert := pair(t, tls.VersionTLS13, x509.ECDSAWithSHA256)
	other, _, _ := pair(t, tls.VersionTLS13, x509.ECDSAWithSHA256)
	link := Link{Secure: true, TLS: &server, Certificate: cert}
	for _, c := range []struct {
		mech    string
		offered []string
		tls     *tls.ConnectionState
		ok      bool
	}{
		{ScramSHA256, []string{ScramSHA256}, &client, false}, // somebody took -PLUS out of what it heard
		{ScramSHA256, []string{ScramSHA256, ScramSHA1 + plus}, &client, true},
		{ScramSHA256, nil, &client, true},
		{ScramSHA256 + plus, nil, &client, true},
		{ScramSHA256 + plus, nil, &other, false}, // somebody ends TLS between the two
	} {
		x, err := (&Server{Auth: accounts{}}).Start(t.Context(), link, c.mech)
		if err != nil {
			t.Fatal(err)
		}
		err = play(t, Credentials{User: "alice", Password: "pencil", Offered: c.offered, TLS: c.tls}, c.mech, x)
		if (err == nil) != c.ok || err != nil && !mail.Is(err, mail.AuthFailed) {
			t.Errorf("%s of %v: %v", c.mech, c.offered, err)
		}
	}
}

// FuzzSCRAMClient: whatever a server says, our client does not panic, works no longer than it allows, and believes none
// that does not know the password.
func FuzzSCRAMClient(f *testing.F) {
	f.Add([]byte("r=NS,s=QSXCR+Q6sek8bf92,i=4096"), []byte("v=rmF9pqV8S7suAoZWja4dJRkFsKQ="), true)
	f.Add([]byte("r=NS,s=AAAA,i=4096,x=y"), []byte("e=other-error"), false)
	f.Add([]byte("m=x,r=NS,s=AAAA,i=1048577"), []byte("v=,"), false)
	f.Fuzz(func(t *testing.T, first, final []byte, old bool) {
		c := &scramClient{hash: crypto.SHA256, header: "p=tls-exporter,,", binding: []byte{1}, user: "alice", pass: "pencil", nonce: "N"}
		if old {
			c.hash = crypto.SHA1
		}
		if strings.Contains(string(first), ",i=") && len(first) > 40 {
			return // real work: the table has it
		}
		_, err := c.Next(first)
		if err == nil {
			_, err = c.Next(final)
		}
		if err == nil || c.Finish() == nil {
			t.Fatalf("believed %q, %q", first, final)
		}
	})
}
