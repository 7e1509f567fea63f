package mail

import (
	"cmp"
	"crypto/rand"
	"encoding/binary"
	"sync"
	"time"
)

// AccountID names an account for good; ids are never used again.
type AccountID uint64

// ID is 16 characters of base32hex in lower case (80 bits, RFC 4648 §7), which sort by time of making: 44 bits
// of Unix milliseconds, then 36 bits, random ones that count up within one millisecond. It names a session (shown
// with the prefix s-), a message (m-, which is also the key of its blob) or a delivery attempt (a-).
//
// The 36 bits are 0 and 35 of a process that has the rows for itself, or 1, the 9 bits of its slot, and 26 of one among
// several: at the same millisecond two of those never make the same id.
type ID [16]byte

const idAlphabet = "0123456789abcdefghijklmnopqrstuv"

// IDs makes ids that rise within one process and are unguessable across processes. The zero value is ready.
// Safe for concurrent use.
type IDs struct {
	mu   sync.Mutex
	ms   uint64
	tail uint64
	base uint64 // of the tail: 0, or the slot's
	bits int    // of the tail above base; 0 is tailBits-1
}

const (
	tailBits = 36
	slotBits = 9
)

// Slots is how many processes may share rows without ever making the same id.
const Slots = 1 << slotBits

// Share has ids made from now on in a slot, below Slots, that no other process with the same rows has at the time.
func (g *IDs) Share(slot int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	base := uint64(1)<<(tailBits-1) | uint64(slot%Slots)<<(tailBits-1-slotBits) //nolint:gosec // not negative
	if g.base == base {
		return
	}
	g.base, g.bits = base, tailBits-1-slotBits
	g.ms++ // what was made in this millisecond had another base
	g.tail = g.base
}

// New makes an id for the time now.
func (g *IDs) New(now time.Time) ID {
	var r [8]byte
	_, _ = rand.Read(r[:]) // never fails (crypto/rand)
	random := binary.BigEndian.Uint64(r[:])
	g.mu.Lock()
	bits := cmp.Or(g.bits, tailBits-1)
	if ms := uint64(now.UnixMilli()) & (1<<44 - 1); ms > g.ms {
		g.ms, g.tail = ms, g.base|random&(1<<bits-1)>>1 // the upper half stays free for counting
	} else if g.tail += 1 + random&0xff; g.tail >= g.base+1<<bits {
		g.ms, g.tail = g.ms+1, g.base|random&0xffff
	}
	ms, tail := g.ms, g.tail
	g.mu.Unlock()
	hi, lo := ms>>28, ms<<36|tail // 80 bits: 16 in hi, 64 in lo
	var id ID
	for i := len(id) - 1; i >= 0; i-- {
		id[i] = idAlphabet[lo&31]
		lo = lo>>5 | (hi&31)<<59
		hi >>= 5
	}
	return id
}

// String gives the 16 characters, without a prefix.
func (id ID) String() string { return string(id[:]) }

// IsZero tells whether the id was never set.
func (id ID) IsZero() bool { return id == ID{} }

// Time gives the time of making, in milliseconds.
func (id ID) Time() time.Time {
	var hi, lo uint64
	for _, c := range id {
		v := uint64(c - '0')
		if c >= 'a' {
			v = uint64(c-'a') + 10
		}
		hi, lo = hi<<5|lo>>59, lo<<5|v
	}
	return time.UnixMilli(int64(hi<<28 | lo>>36))
}

// ParseID reads the 16 characters, with or without a prefix of one letter and a hyphen, in any case.
func ParseID(s string) (ID, bool) {
	if len(s) == 18 && s[1] == '-' {
		s = s[2:]
	}
	var id ID
	if len(s) != len(id) {
		return ID{}, false
	}
	for i := range id {
		c := s[i]
		if c >= 'A' && c <= 'V' {
			c += 'a' - 'A'
		}
		if (c < '0' || c > '9') && (c < 'a' || c > 'v') {
			return ID{}, false
		}
		id[i] = c
	}
	return id, true
}

// MarshalText gives the 16 characters; nothing for the zero ID.
func (id ID) MarshalText() ([]byte, error) {
	if id.IsZero() {
		return nil, nil
	}
	return id[:], nil
}

// UnmarshalText reads what MarshalText gave.
func (id *ID) UnmarshalText(b []byte) error {
	if len(b) == 0 {
		*id = ID{}
		return nil
	}
	p, ok := ParseID(string(b))
	if !ok {
		return E("mail.id", Invalid, "bad id")
	}
	*id = p
	return nil
}
