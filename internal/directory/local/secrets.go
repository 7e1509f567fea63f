package local

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"strings"

	"golang.org/x/crypto/argon2"

	"postel/internal/kv"
	"postel/internal/mail"
	"postel/internal/proto/sasl"
)

// HashCost is what one argon2id computation costs (RFC 9106 §3.1).
type HashCost struct {
	MemoryKiB uint32
	Passes    uint32
	Lanes     uint8
}

const saltSize, hashSize = 16, 32

// secret is a row of cr to be written.
type secret struct {
	kind  uint8
	value []byte
}

// secrets derives all that is kept of a password.
func (d *Directory) secrets(ctx context.Context, id mail.AccountID, password string) ([]secret, error) {
	if len(password) > sasl.MaxPassword {
		return nil, mail.E("directory.password", mail.TooLarge, "a password has at most %d octets", sasl.MaxPassword)
	}
	prepared, err := sasl.Prepare(password)
	if err != nil {
		return nil, mail.E("directory.password", mail.Invalid, "the password is not UTF-8 or has control characters")
	}
	if prepared == "" {
		return nil, mail.E("directory.password", mail.Invalid, "the password is empty")
	}
	hash, err := d.newHash(ctx, prepared)
	if err != nil {
		return nil, err
	}
	out := []secret{{kindHash, hash}}
	for _, h := range []crypto.Hash{crypto.SHA256, crypto.SHA1} {
		keys, err := d.newSCRAM(h, prepared)
		if err != nil {
			return nil, err
		}
		out = append(out, keys)
	}
	if d.o.Recoverable {
		sealed, err := d.seal(prepared, sealedFor(id))
		if err != nil {
			return nil, err
		}
		out = append(out, secret{kindSealed, append([]byte{format}, sealed...)})
	}
	return out, nil
}

// newSCRAM derives the keys of a password for one hash function.
func (d *Directory) newSCRAM(h crypto.Hash, prepared string) (secret, error) {
	keys, err := sasl.NewSCRAMKeys(h, prepared, random(saltSize), d.o.Iterations)
	if err != nil {
		return secret{}, mail.Wrap("directory.password", err)
	}
	return secret{scramKind(h), encodeSCRAM(keys)}, nil
}

func scramKind(h crypto.Hash) uint8 {
	if h == crypto.SHA1 {
		return kindSCRAM1
	}
	return kindSCRAM
}

func random(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.Read(b) // never fails (crypto/rand)
	return b
}

// turn waits until argon2id may be computed, and gives what ends the turn. Kind Canceled when ctx ends first.
func (d *Directory) turn(ctx context.Context) (end func(), err error) {
	select {
	case d.hashing <- struct{}{}:
		return func() { <-d.hashing }, nil
	case <-ctx.Done():
		return nil, &mail.Error{Op: "directory.password", Kind: mail.Canceled, Err: ctx.Err()}
	}
}

// argon computes argon2id; the caller has its turn.
func argon(prepared string, salt []byte, c HashCost) []byte {
	return argon2.IDKey([]byte(prepared), salt, c.Passes, c.MemoryKiB, c.Lanes, hashSize)
}

// newHash gives a row with the PHC string of a password.
func (d *Directory) newHash(ctx context.Context, prepared string) ([]byte, error) {
	salt, c := random(saltSize), d.o.Hash
	end, err := d.turn(ctx)
	if err != nil {
		return nil, err
	}
	hash := argon(prepared, salt, c)
	end()
	b64 := base64.RawStdEncoding
	return fmt.Appendf([]byte{format}, "$argon2id$v=19$m=%d,t=%d,p=%d$%s$%s",
		c.MemoryKiB, c.Passes, c.Lanes, b64.EncodeToString(salt), b64.EncodeToString(hash)), nil
}

// parseHash reads such a row.
func parseHash(v []byte) (c HashCost, salt, hash []byte, err error) {
	b, err := body("cr", v, 1)
	if err != nil {
		return c, nil, nil, err
	}
	f := strings.Split(string(b), "$")
	if len(f) != 6 || f[1] != "argon2id" || f[2] != "v=19" {
		return c, nil, nil, damaged("cr")
	}
	if _, err := fmt.Sscanf(f[3], "m=%d,t=%d,p=%d", &c.MemoryKiB, &c.Passes, &c.Lanes); err != nil {
		return c, nil, nil, damaged("cr")
	}
	salt, err1 := base64.RawStdEncoding.DecodeString(f[4])
	hash, err2 := base64.RawStdEncoding.DecodeString(f[5])
	if err1 != nil || err2 != nil || len(hash) != hashSize || c.MemoryKiB > 1<<20 || c.Passes < 1 || c.Passes > 64 || c.Lanes < 1 {
		return c, nil, nil, damaged("cr")
	}
	return c, salt, hash, nil
}

// verify tells whether a password is the one of a row; a nil row costs the same and is never right.
func (d *Directory) verify(row []byte, prepared string) (bool, error) {
	c, salt, want := d.o.Hash, d.derive("salt")[:saltSize], make([]byte, hashSize)
	if row != nil {
		var err error
		if c, salt, want, err = parseHash(row); err != nil {
			return false, err
		}
	}
	got := argon(prepared, salt, c)
	return subtle.ConstantTimeCompare(got, want) == 1 && row != nil, nil
}

// encodeSCRAM: iterations u32, stored key, server key (32 octets each, of SHA-1 20), salt.
func encodeSCRAM(k sasl.SCRAMKeys) []byte {
	v := kv.Key{format}.U32(uint32(k.Iterations))
	v = append(append(v, k.StoredKey...), k.ServerKey...)
	return append(v, k.Salt...)
}

func decodeSCRAM(h crypto.Hash, v []byte) (sasl.SCRAMKeys, error) {
	n := h.Size()
	b, err := body("cr", v, 4+n+n+1)
	if err != nil {
		return sasl.SCRAMKeys{}, err
	}
	b = append([]byte(nil), b...)
	return sasl.SCRAMKeys{
		Iterations: int(binary.BigEndian.Uint32(b)), StoredKey: b[4 : 4+n], ServerKey: b[4+n : 4+n+n], Salt: b[4+n+n:],
	}, nil
}

// fakeSCRAM gives the keys of a login that has none: always the same, and no one has their password.
func (d *Directory) fakeSCRAM(h crypto.Hash, login string) sasl.SCRAMKeys {
	purpose := "scram salt"
	if h == crypto.SHA1 {
		purpose = "scram salt of sha-1" // as an account has another for each
	}
	return sasl.SCRAMKeys{
		Salt: d.derive(purpose, login)[:saltSize], Iterations: d.o.Iterations,
		StoredKey: random(h.Size()), ServerKey: random(h.Size()),
	}
}
