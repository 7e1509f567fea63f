package sasl

import (
	"context"
	"crypto"
	"crypto/hmac"
	"crypto/subtle"
	"encoding/base64"
	"strconv"
	"strings"
)

// scramServer is SCRAM (RFC 5802 §5):
//
//	client-first   n|y|p=type , [a=authzid] , n=login , r=nonce [,ext]
//	server-first   r=both nonces , s=salt , i=iterations
//	client-final   c=gs2 header and binding , r=both nonces [,ext] , p=proof
//	server-final   v=signature; the client answers with nothing, then it is done
type scramServer struct {
	auth     Authenticator
	newNonce func() string
	hash     crypto.Hash
	link     Link
	bound    bool // -PLUS: the exchange is bound to its channel

	step scramStep

	binding             []byte // of the type that the client named
	gs2, authzid, login string
	nonce               string
	bare, first         string // client-first-message-bare, server-first-message
	keys                SCRAMKeys
	id                  Identity
}

// scramStep is what is awaited from the client.
type scramStep uint8

const (
	awaitAny   scramStep = iota // client-first, or nothing yet
	awaitFirst                  // client-first
	awaitFinal                  // client-final
	awaitEmpty                  // the empty response that ends it
	awaitNone                   // it is over
)

func (s *scramServer) Next(ctx context.Context, response []byte) ([]byte, bool, Identity, error) {
	step := s.step
	s.step = awaitNone // whatever fails below ends the exchange
	switch {
	case step == awaitAny && response == nil:
		s.step = awaitFirst
		return []byte{}, false, Identity{}, nil
	case step == awaitAny, step == awaitFirst:
		challenge, err := s.clientFirst(ctx, string(response))
		return challenge, false, Identity{}, err
	case step == awaitFinal:
		challenge, err := s.clientFinal(ctx, string(response))
		return challenge, false, Identity{}, err
	case step == awaitEmpty && len(response) == 0:
		return nil, true, s.id, nil
	}
	return nil, false, Identity{}, malformed("it is over")
}

// clientFirst reads client-first-message and gives server-first-message.
func (s *scramServer) clientFirst(ctx context.Context, msg string) ([]byte, error) {
	theirs, err := s.parseFirst(msg)
	if err != nil {
		return nil, err
	}
	if s.keys, s.id, err = s.auth.SCRAM(ctx, s.hash, s.login); err != nil {
		return nil, err
	}
	ours := s.newNonce
	if ours == nil {
		ours = randomNonce
	}
	s.nonce = theirs + ours()
	s.first = "r=" + s.nonce + ",s=" + base64.StdEncoding.EncodeToString(s.keys.Salt) +
		",i=" + strconv.Itoa(s.keys.Iterations)
	s.step = awaitFinal
	return []byte(s.first), nil
}

// parseFirst gives the client's nonce and fills in the header, the names and the bare message.
func (s *scramServer) parseFirst(msg string) (nonce string, err error) {
	if len(msg) > MaxLine {
		return "", malformed("too long")
	}
	f := strings.SplitN(msg, ",", 5)
	if len(f) < 4 {
		return "", malformed("client-first-message")
	}
	if err := s.flag(f[0]); err != nil {
		return "", err
	}
	if f[1] != "" {
		a, ok := attribute(f[1], 'a')
		if ok {
			s.authzid, ok = decodeName(a)
		}
		if !ok || len(s.authzid) > MaxName {
			return "", malformed("authorization identity")
		}
	}
	name, ok := attribute(f[2], 'n') // m= is a mandatory extension: refused like anything else here
	if ok {
		s.login, ok = decodeName(name)
	}
	if !ok || len(s.login) > MaxName {
		return "", malformed("user name")
	}
	if nonce, ok = attribute(f[3], 'r'); !ok || !isNonce(nonce) || len(nonce) > 1024 {
		return "", malformed("nonce")
	}
	s.gs2 = f[0] + "," + f[1] + ","
	s.bare = msg[len(s.gs2):]
	return nonce, nil
}

// flag checks what the client says of channel bindings (RFC 5802 §6).
func (s *scramServer) flag(f string) error {
	kind, bound := attribute(f, 'p')
	switch {
	case bound != s.bound || !bound && f != "n" && f != "y":
		return malformed("channel binding flag")
	case bound:
		if s.binding = s.link.binding(kind); s.binding == nil {
			return malformed("a type of channel binding that is not had here")
		}
	case f == "y" && s.link.binds():
		return Failed() // it heard no offer of -PLUS: somebody between us took it out
	}
	return nil
}

// clientFinal checks the proof and gives server-final-message.
func (s *scramServer) clientFinal(ctx context.Context, msg string) ([]byte, error) {
	without, proof, err := s.parseFinal(msg)
	if err != nil {
		return nil, err
	}
	authMessage := s.bare + "," + s.first + "," + without
	clientKey := make([]byte, s.hash.Size())
	subtle.XORBytes(clientKey, proof, mac(s.hash, s.keys.StoredKey, authMessage))
	right := hmac.Equal(digest(s.hash, clientKey), s.keys.StoredKey)
	if err := s.authorize(ctx); err != nil {
		return nil, err
	}
	if !right || s.id.Account == 0 {
		return nil, Failed()
	}
	s.step = awaitEmpty
	return []byte("v=" + base64.StdEncoding.EncodeToString(mac(s.hash, s.keys.ServerKey, authMessage))), nil
}

// parseFinal gives client-final-message-without-proof and the proof.
func (s *scramServer) parseFinal(msg string) (without string, proof []byte, err error) {
	at := strings.LastIndex(msg, ",p=")
	if at < 0 || len(msg) > MaxLine {
		return "", nil, malformed("client-final-message")
	}
	without = msg[:at]
	f := strings.SplitN(without, ",", 3)
	if len(f) < 2 || len(f) == 3 && strings.HasPrefix(f[2], "m=") {
		return "", nil, malformed("client-final-message")
	}
	bound, ok := attribute(f[0], 'c')
	said, err := base64.StdEncoding.DecodeString(bound)
	if !ok || err != nil {
		return "", nil, malformed("channel binding")
	}
	if string(said) != s.gs2+string(s.binding) { // somebody is between us, or the client errs
		return "", nil, Failed()
	}
	if nonce, ok := attribute(f[1], 'r'); !ok || nonce != s.nonce {
		return "", nil, malformed("nonce")
	}
	proof, err = base64.StdEncoding.DecodeString(msg[at+3:])
	if err != nil || len(proof) != s.hash.Size() {
		return "", nil, malformed("proof")
	}
	return without, proof, nil
}

// authorize checks the authorization identity.
func (s *scramServer) authorize(ctx context.Context) error {
	if s.authzid == "" || s.authzid == s.login {
		return nil
	}
	return authorize(ctx, s.auth, s.id, s.authzid)
}
