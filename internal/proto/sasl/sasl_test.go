package sasl

import (
	"context"
	"crypto"
	"crypto/sha256"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"strings"
	"testing"

	"github.com/xdg-go/stringprep"

	"postel/internal/mail"
)

// accounts is a small directory: alice has two logins.
type accounts struct {
	fail    error
	without string // a mechanism that not everyone can use
}

func (a accounts) find(login string) Identity {
	switch login {
	case "alice", "alice@postel.test", "a,l=ice":
		return Identity{Account: 7, Login: "alice@postel.test"}
	case "bob":
		return Identity{Account: 8, Login: "bob"}
	}
	return Identity{}
}

func (a accounts) Password(_ context.Context, authzid, login, password string) (Identity, error) {
	id := a.find(login)
	if a.fail != nil {
		return Identity{}, a.fail
	}
	if id.Account == 0 || password != "pencil" || authzid != "" && a.find(authzid).Account != id.Account {
		return Identity{}, Failed()
	}
	return id, nil
}

func (a accounts) SCRAM(_ context.Context, h crypto.Hash, login string) (SCRAMKeys, Identity, error) {
	keys, err := NewSCRAMKeys(h, "pencil", []byte("0123456789abcdef"), 4096)
	if err == nil {
		err = a.fail
	}
	return keys, a.find(login), err
}

func (a accounts) Shared(_ context.Context, _ Use, login string) (string, Identity, error) {
	return "tanstaaftanstaaf", a.find(login), a.fail
}

func (a accounts) Vouched(_ context.Context, login string) (Identity, error) {
	if id := a.find(login); id.Account != 0 || a.fail != nil {
		return id, a.fail
	}
	return Identity{}, Failed()
}

func (a accounts) Every(_ context.Context, mech string, _ Use) bool { return mech != a.without }

// talk plays an exchange with the responses given; "" in the first place is no initial response.
func talk(t *testing.T, s *Server, mech string, responses ...string) (challenges []string, id Identity, err error) {
	t.Helper()
	x, err := s.Start(t.Context(), Link{Secure: true}, mech)
	if err != nil {
		t.Fatal(err)
	}
	for i, r := range responses {
		in := []byte(r)
		if i == 0 && r == "" {
			in = nil
		}
		c, done, id, err := x.Next(t.Context(), in)
		if done || err != nil {
			if done && i != len(responses)-1 {
				t.Fatalf("done after %d responses", i+1)
			}
			return challenges, id, err
		}
		challenges = append(challenges, string(c))
	}
	return challenges, Identity{}, errors.New("not done")
}

func TestPasswordMechanisms(t *testing.T) {
	t.Parallel()
	s := &Server{Auth: accounts{}}
	long := strings.Repeat("x", MaxPassword+1)
	for _, c := range []struct {
		name, mech string
		in         []string
		want       mail.AccountID
		kind       mail.Kind
	}{
		{"plain", "plain", []string{"\x00alice\x00pencil"}, 7, 0},
		{"plain, asked", "PLAIN", []string{"", "\x00alice\x00pencil"}, 7, 0},
		{"plain as oneself", "PLAIN", []string{"alice@postel.test\x00alice\x00pencil"}, 7, 0},
		{"plain as another", "PLAIN", []string{"bob\x00alice\x00pencil"}, 0, mail.AuthFailed},
		{"plain, wrong", "PLAIN", []string{"\x00alice\x00pencil2"}, 0, mail.AuthFailed},
		{"plain, unknown", "PLAIN", []string{"\x00carol\x00pencil"}, 0, mail.AuthFailed},
		{"plain, one NUL", "PLAIN", []string{"alice\x00pencil"}, 0, mail.Invalid},
		{"plain, three NUL", "PLAIN", []string{"\x00alice\x00pencil\x00"}, 0, mail.Invalid},
		{"plain, no login", "PLAIN", []string{"\x00\x00pencil"}, 0, mail.Invalid},
		{"plain, long", "PLAIN", []string{"\x00alice\x00" + long}, 0, mail.AuthFailed},
		{"login", "LOGIN", []string{"", "alice", "pencil"}, 7, 0},
		{"login, initial", "LOGIN", []string{"alice", "pencil"}, 7, 0},
		{"login, wrong", "login", []string{"", "alice", ""}, 0, mail.AuthFailed},
		{"login, no name", "LOGIN", []string{"", ""}, 0, mail.Invalid},
		{"login, NUL", "LOGIN", []string{"alice", "pen\x00cil"}, 0, mail.Invalid},
	} {
		_, id, err := talk(t, s, c.mech, c.in...)
		if c.want == 0 && mail.KindOf(err) != c.kind || c.want != 0 && err != nil || id.Account != c.want {
			t.Errorf("%s: %v %v", c.name, id, err)
		}
	}
}

func TestMechanisms(t *testing.T) {
	t.Parallel()
	s := &Server{Auth: accounts{}}
	tls13 := Link{Secure: true, TLS: &tls.ConnectionState{Version: tls.VersionTLS13}}
	for _, c := range []struct {
		s    *Server
		l    Link
		want string
	}{
		{s, tls13, "SCRAM-SHA-256-PLUS SCRAM-SHA-1-PLUS SCRAM-SHA-256 SCRAM-SHA-1 PLAIN LOGIN"},
		{s, Link{Secure: true}, "SCRAM-SHA-256 SCRAM-SHA-1 PLAIN LOGIN"},
		{s, Link{Secure: true, TLS: &tls.ConnectionState{Version: tls.VersionTLS12}}, "SCRAM-SHA-256 SCRAM-SHA-1 PLAIN LOGIN"},
		{s, Link{}, ""},
		{&Server{Auth: accounts{without: ScramSHA1}}, tls13, "SCRAM-SHA-256-PLUS SCRAM-SHA-256 PLAIN LOGIN"},
		{&Server{Auth: accounts{}, Shared: ForPOP3}, Link{Secure: true}, "SCRAM-SHA-256 SCRAM-SHA-1 PLAIN LOGIN CRAM-MD5"},
		{&Server{Auth: accounts{without: CramMD5}, Shared: ForPOP3}, Link{Secure: true}, "SCRAM-SHA-256 SCRAM-SHA-1 PLAIN LOGIN"},
		{&Server{Auth: accounts{without: CramMD5}, Shared: ForODMR, SharedAlways: true}, Link{Secure: true}, "SCRAM-SHA-256 SCRAM-SHA-1 PLAIN LOGIN CRAM-MD5"},
		{&Server{Auth: accounts{}, Tokens: tokens{}}, Link{Secure: true}, "SCRAM-SHA-256 SCRAM-SHA-1 PLAIN LOGIN OAUTHBEARER XOAUTH2"},
		{&Server{Auth: Anyone{}, Shared: ForSubmission}, tls13, "PLAIN LOGIN CRAM-MD5"},
	} {
		if got := strings.Join(c.s.Mechanisms(t.Context(), c.l), " "); got != c.want {
			t.Errorf("%q, want %q", got, c.want)
		}
	}
	for _, m := range []string{"", "CRAM-MD5", "SCRAM-SHA-256-PLUS", "OAUTHBEARER", "EXTERNAL"} {
		if _, err := s.Start(t.Context(), Link{Secure: true}, m); !mail.Is(err, mail.Unsupported) {
			t.Errorf("%s: %v", m, err)
		}
	}
	if _, err := s.Start(t.Context(), Link{}, Plain); !mail.Is(err, mail.Unsupported) {
		t.Errorf("in clear: %v", err)
	}
	any := &Server{Auth: Anyone{Account: 3}}
	if _, id, err := talk(t, any, "PLAIN", "\x00who\x00ever"); err != nil || !id.Anyone || id.Account != 3 || id.Login != "who" {
		t.Errorf("%v %v", id, err)
	}
	if _, err := any.Start(t.Context(), Link{Secure: true}, ScramSHA256); !mail.Is(err, mail.Unsupported) {
		t.Error(err)
	}
}

func TestSCRAMMalformed(t *testing.T) {
	t.Parallel()
	s := &Server{Auth: accounts{}, Nonce: func() string { return "S" }}
	for _, first := range []string{
		"x", "n,,n=alice", "p=tls-exporter,,n=alice,r=C", "n,,m=x,n=alice,r=C", "n,x=bob,n=alice,r=C", "n,,n=,r=C",
		"n,,n=al=ice,r=C", "n,,n=al=2cice,r=C", "n,,n=alice,r=", "n,,n=alice,r=\x01", "n,,n=alice,r=ü", "N,,n=alice,r=C",
		"n,,n=" + strings.Repeat("x", MaxName+1) + ",r=C", "n,,n=alice,r=" + strings.Repeat("x", 2000), "n,,n=a\x00,r=C",
	} {
		if _, _, err := talk(t, s, ScramSHA256, first); !mail.Is(err, mail.Invalid) {
			t.Errorf("%q: %v", first, err)
		}
	}
	proof := base64.StdEncoding.EncodeToString(make([]byte, sha256.Size))
	for _, final := range []string{
		"", "c=biws,r=CS", "c=biws,p=" + proof, "c=biws,r=CT,p=" + proof,
		"c=biws,r=CS,p=AAAA", "c=biws,r=CS,m=x,p=" + proof, "c=biws,r=CS,p=" + proof + ",x=y", "r=CS,c=biws,p=" + proof,
	} {
		if _, _, err := talk(t, s, ScramSHA256, "n,,n=alice,r=C", final); !mail.Is(err, mail.Invalid) {
			t.Errorf("%q: %v", final, err)
		}
	}
	_, _, err := talk(t, s, ScramSHA256, "y,,n=alice,r=C,x=ext", "c=eSws,r=CS,x=y,p="+proof)
	if !mail.Is(err, mail.AuthFailed) {
		t.Errorf("optional extensions: %v", err)
	}
}

// TestClient plays our client against our server.
func TestClient(t *testing.T) {
	t.Parallel()
	for _, mech := range []string{Plain, Login, ScramSHA256, ScramSHA1} {
		for _, initial := range []bool{true, false} {
			for _, pass := range []string{"pencil", "wrong"} {
				err := logIn(t, mech, "a,l=ice", pass, initial)
				if (err == nil) != (pass == "pencil") {
					t.Errorf("%s %v %s: %v", mech, initial, pass, err)
				}
			}
		}
	}
	if err := logIn(t, CramMD5, "a,l=ice", "tanstaaftanstaaf", true); err != nil {
		t.Error(err)
	}
	tls13 := &tls.ConnectionState{Version: tls.VersionTLS13}
	for _, c := range []struct {
		offered, want string
		tls           *tls.ConnectionState
	}{
		{"CRAM-MD5 login plain", Plain, tls13},
		{"CRAM-MD5 login plain", CramMD5, nil},
		{"PLAIN SCRAM-SHA-1 SCRAM-SHA-1-PLUS SCRAM-SHA-256", "SCRAM-SHA-1-PLUS", tls13},
		{"PLAIN SCRAM-SHA-1 SCRAM-SHA-1-PLUS SCRAM-SHA-256", ScramSHA256, nil},
		{"GSSAPI", "", tls13},
		{"scram-sha-256-plus", "", nil},
	} {
		if got := (Credentials{Offered: strings.Fields(c.offered), TLS: c.tls}).Choose(); got != c.want {
			t.Errorf("of %s: %s, want %s", c.offered, got, c.want)
		}
	}
	for _, mech := range []string{"GSSAPI", "SCRAM-SHA-256-PLUS", "-PLUS", ""} {
		if _, err := Client(mech, Credentials{User: "a", Password: "b"}); !mail.Is(err, mail.Unsupported) {
			t.Errorf("%s: %v", mech, err)
		}
	}
}

func logIn(t *testing.T, mech, user, pass string, initial bool) error {
	t.Helper()
	c, err := Client(mech, Credentials{User: user, Password: pass})
	if err != nil {
		return err
	}
	x, err := (&Server{Auth: accounts{}, Shared: ForIMAP}).Start(t.Context(), Link{Secure: true}, mech)
	if err != nil {
		return err
	}
	var response []byte
	if initial {
		response = c.Initial()
	}
	for range 6 {
		challenge, done, _, err := x.Next(t.Context(), response)
		if err != nil {
			return err
		}
		if done {
			return c.Finish()
		}
		if len(challenge) == 0 && c.Initial() != nil {
			response = c.Initial()
		} else if response, err = c.Next(challenge); err != nil {
			return err
		}
	}
	return errors.New("no end")
}

// TestClientDistrusts holds what a hostile server may say to our client.
func TestClientDistrusts(t *testing.T) {
	t.Parallel()
	for _, first := range []string{
		"", "r=x,s=AAAA,i=4096", "r=N,s=AAAA,i=4096", "r=NS,s=,i=4096", "r=NS,s=AAAA,i=1", "r=NS,s=AAAA,i=99999999",
		"r=NS,s=AAAA,i=-4096", "m=x,r=NS,s=AAAA,i=4096", "r=NS,s=!,i=4096",
	} {
		c := &scramClient{hash: crypto.SHA256, header: "n,,", user: "alice", pass: "pencil", nonce: "N"}
		if _, err := c.Next([]byte(first)); err == nil {
			t.Errorf("%q was taken", first)
		}
	}
	c := &scramClient{hash: crypto.SHA256, header: "n,,", user: "alice", pass: "pencil", nonce: "N"}
	if _, err := c.Next([]byte("r=NS,s=AAAA,i=4096")); err != nil {
		t.Fatal(err)
	}
	if err := c.Finish(); !mail.Is(err, mail.AuthFailed) {
		t.Errorf("unproved server: %v", err)
	}
	if _, err := c.Next([]byte("v=AAAA")); !mail.Is(err, mail.AuthFailed) {
		t.Errorf("wrong signature: %v", err)
	}
}

func TestLines(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		in, want string
		kind     mail.Kind
	}{
		{"YQ==", "a", 0},
		{"", "", 0},
		{"*", "", mail.Canceled},
		{"YQ", "", mail.Invalid},
		{"Y Q==", "", mail.Invalid},
		{"YQ=\r=", "", mail.Invalid},
		{strings.Repeat("A", MaxLine+4), "", mail.TooLarge},
	} {
		got, err := Decode([]byte(c.in))
		if c.kind == 0 && (err != nil || got == nil || string(got) != c.want) || c.kind != 0 && mail.KindOf(err) != c.kind {
			t.Errorf("%q: %q %v", c.in, got, err)
		}
	}
	if got, err := DecodeInitial([]byte("=")); err != nil || got == nil || len(got) != 0 {
		t.Error(got, err)
	}
	if _, err := DecodeInitial(nil); !mail.Is(err, mail.Invalid) {
		t.Error(err)
	}
}

func TestPrepare(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ in, want string }{
		{"pencil", "pencil"},
		{"I\u00adX", "IX"},
		{"\u00aa", "a"},
		{"\u2168", "IX"},
		{"a\u00a0b", "a b"},
		{"passwo\u0308rd", "passwörd"},
		{"密码", "密码"},
		{"", ""},
		{"😀", "😀"},
	} {
		if got, err := Prepare(c.in); err != nil || got != c.want {
			t.Errorf("%q: %q %v", c.in, got, err)
		}
	}
	for _, bad := range []string{"\x07", "a\x7f", "\xff", "\u200e", "\ue000", "\ufffd"} {
		if got, err := Prepare(bad); !mail.Is(err, mail.Invalid) {
			t.Errorf("%q: %q %v", bad, got, err)
		}
	}
}

// FuzzPrepare: what SASLprep of Unicode 3.2 takes, we take alike; and preparing twice changes nothing.
func FuzzPrepare(f *testing.F) {
	for _, s := range []string{"pencil", "\u00aa\u2168", "a\u00a0\u200bb", "\u0627\u0661", "ﬁ", "\u1806x"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got, err := Prepare(s)
		if err != nil {
			return
		}
		if again, err := Prepare(got); err != nil || again != got {
			t.Fatalf("%q: %q, then %q %v", s, got, again, err)
		}
		want, err := stringprep.SASLprep.Prepare(s)
		if err == nil && want != got && !strings.Contains(s, "\u1806") { // which it forgets (RFC 3454 B.1)
			t.Errorf("%q: %q, SASLprep gives %q", s, got, want)
		}
	})
}

// FuzzExchange: whatever is said, no exchange panics, none goes on for ever, none ends well without the password.
func FuzzExchange(f *testing.F) {
	f.Add("PLAIN", []byte("\x00alice\x00pencil"), []byte(""), []byte(""))
	f.Add("LOGIN", []byte("alice"), []byte("pencil"), []byte(""))
	f.Add("SCRAM-SHA-256", []byte("n,,n=alice,r=C"), []byte("c=biws,r=CS,p=AAAA"), []byte(""))
	f.Add("SCRAM-SHA-1", []byte("y,a=alice,n=alice,r=C"), []byte("c=eSws,r=CS,p=AAAA"), []byte(""))
	f.Add("CRAM-MD5", []byte(nil), []byte("alice 00000000000000000000000000000000"), []byte(""))
	f.Add("OAUTHBEARER", []byte("n,a=alice,\x01host=x\x01port=25\x01auth=Bearer pencil\x01\x01"), []byte("\x01"), []byte(""))
	f.Add("XOAUTH2", []byte("user=alice\x01auth=Bearer bad\x01\x01"), []byte(""), []byte(""))
	f.Fuzz(func(t *testing.T, mech string, a, b, c []byte) {
		x, err := (&Server{Auth: accounts{}, Shared: ForIMAP, Tokens: tokens{}, Nonce: func() string { return "S" }}).Start(t.Context(), Link{Secure: true}, mech)
		if err != nil {
			return
		}
		said := string(a) + string(b) + string(c)
		for i, r := range [][]byte{a, b, c} {
			if i == 0 && len(r) == 0 {
				r = nil // no initial response
			}
			challenge, done, id, err := x.Next(t.Context(), r)
			if err != nil || done {
				if done && (id.Account == 0 || !strings.Contains(said, "pencil") || challenge != nil) {
					t.Fatalf("%q let in as %+v", said, id)
				}
				if _, again, _, err := x.Next(t.Context(), a); again || err == nil {
					t.Fatal("goes on after its end")
				}
				return
			}
			if challenge == nil {
				t.Fatalf("step %d: neither challenge nor end", i)
			}
		}
	})
}
