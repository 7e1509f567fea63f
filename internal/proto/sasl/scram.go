package sasl

import (
	"crypto"
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha1" //nolint:gosec // of which SCRAM needs no resistance to collisions
	"crypto/sha256"
	"encoding/base64"
	"hash"
	"strings"
)

// plus ends the name of a mechanism that binds the exchange to its channel (RFC 5802 §4).
const plus = "-PLUS"

// scramHash gives the hash function of a mechanism of SCRAM, 0 for another mechanism, and whether it binds.
func scramHash(mech string) (h crypto.Hash, bound bool) {
	mech, bound = strings.CutSuffix(mech, plus)
	switch mech {
	case ScramSHA1:
		return crypto.SHA1, bound
	case ScramSHA256:
		return crypto.SHA256, bound
	}
	return 0, false
}

// hasher gives what makes the hashes of SCRAM.
func hasher(h crypto.Hash) func() hash.Hash {
	if h == crypto.SHA1 {
		return sha1.New
	}
	return sha256.New
}

// NewSCRAMKeys derives what a server keeps for a password (RFC 5802 §3). The password is prepared already.
// RFC 7677 §4 wants 4096 iterations at least.
func NewSCRAMKeys(h crypto.Hash, prepared string, salt []byte, iterations int) (SCRAMKeys, error) {
	salted, err := pbkdf2.Key(hasher(h), prepared, salt, iterations, h.Size())
	if err != nil {
		return SCRAMKeys{}, err
	}
	return SCRAMKeys{
		Salt: salt, Iterations: iterations,
		StoredKey: digest(h, mac(h, salted, "Client Key")), ServerKey: mac(h, salted, "Server Key"),
	}, nil
}

// mac is HMAC.
func mac(h crypto.Hash, key []byte, text string) []byte {
	m := hmac.New(hasher(h), key)
	m.Write([]byte(text))
	return m.Sum(nil)
}

func digest(h crypto.Hash, b []byte) []byte {
	d := hasher(h)()
	d.Write(b)
	return d.Sum(nil)
}

func randomNonce() string {
	var b [24]byte
	_, _ = rand.Read(b[:]) // never fails (crypto/rand)
	return base64.StdEncoding.EncodeToString(b[:])
}

// attribute takes "k=value" and gives the value.
func attribute(field string, k byte) (string, bool) {
	if len(field) < 2 || field[0] != k || field[1] != '=' {
		return "", false
	}
	return field[2:], true
}

// isNonce checks a c-nonce or s-nonce: printable ASCII without a comma (RFC 5802 §7).
func isNonce(s string) bool {
	for i := range len(s) {
		if s[i] <= 0x20 || s[i] >= 0x7f || s[i] == ',' {
			return false
		}
	}
	return s != ""
}

// decodeName undoes saslname's =2C and =3D; any other = is wrong (RFC 5802 §5.1).
func decodeName(s string) (string, bool) {
	if strings.IndexByte(s, 0) >= 0 {
		return "", false
	}
	plain := strings.NewReplacer("=2C", "", "=3D", "").Replace(s)
	if strings.IndexByte(plain, '=') >= 0 {
		return "", false
	}
	return strings.NewReplacer("=2C", ",", "=3D", "=").Replace(s), s != ""
}

func encodeName(s string) string { return strings.NewReplacer("=", "=3D", ",", "=2C").Replace(s) }
