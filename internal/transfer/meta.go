package transfer

import (
	"crypto/sha256"
	"encoding/hex"
	"io"
	"strconv"
	"time"

	"postel/internal/mail"
)

// Meta is what is told of a message beside its content.
type Meta struct {
	Mailbox string    `json:"mailbox"`         // UTF-8, "/" between levels
	Role    string    `json:"role,omitempty"`  // what the mailbox is for, where the source knows (RFC 6154)
	Flags   []string  `json:"flags,omitempty"` // as IMAP writes them
	Date    time.Time `json:"date"`            // when it was received; zero: not known
	Key     Key       `json:"key,omitzero"`
	// Subscribed is told of a mailbox, by a Meta of its own without a UID.
	Subscribed bool   `json:"subscribed,omitempty"`
	UID        uint32 `json:"uid,omitempty"`  // where it comes from a store
	Size       int64  `json:"size,omitempty"` // the same
	// Problem says, instead of a content, why a message cannot be read.
	Problem string `json:"problem,omitempty"`
}

// Key tells a message of a source from all others, each time it is read.
type Key [16]byte

// KeyOf makes a key of what a source knows a message by.
func KeyOf(mailbox string, by ...string) Key {
	h := sha256.New()
	_, _ = io.WriteString(h, mailbox)
	for _, s := range by {
		_, _ = h.Write([]byte{0})
		_, _ = io.WriteString(h, s)
	}
	return Key(h.Sum(nil)[:16])
}

// repeated makes different keys of messages that their source knows by the same: files of one name in two directories
// that go to one mailbox, the same content twice. It counts what it was asked.
type repeated map[Key]uint32

// key gives k the first time, and what tells the nth from all others after that.
func (r repeated) key(k Key) Key {
	n := r.before(k)
	if n == 0 {
		return k
	}
	return KeyOf(hex.EncodeToString(k[:]), "again", strconv.FormatUint(uint64(n), 10))
}

// before tells how many like k came before.
func (r repeated) before(k Key) uint32 {
	n := r[k]
	r[k]++
	return n
}

// MarshalText writes hexadecimal digits.
func (k Key) MarshalText() ([]byte, error) { return hex.AppendEncode(nil, k[:]), nil }

// UnmarshalText reads what MarshalText wrote; Kind Invalid.
func (k *Key) UnmarshalText(b []byte) error {
	if hex.DecodedLen(len(b)) != len(k) {
		return mail.E("transfer.key", mail.Invalid, "not the key of a message")
	}
	_, err := hex.Decode(k[:], b)
	return mail.Wrap("transfer.key", err)
}

// IsZero tells a key that was not set.
func (k Key) IsZero() bool { return k == Key{} }

// Message is one message of a source. Open may be called once, until the source gives the next one.
type Message struct {
	Meta
	Open func() (io.ReadCloser, error)
}
