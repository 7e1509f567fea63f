package queue

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"postel/internal/blob"
	"postel/internal/kv"
	"postel/internal/mail"
)

// Limits of one item.
const (
	MaxRecipients = 100
	MaxPrefix     = 64 << 10
	partitions    = 64
	maxReplyText  = 1 << 10
	localPrefix   = "local:"
)

// ID names an item: its partition and its number.
type ID struct {
	Partition uint16
	Number    uint64 // 42 bits of Unix milliseconds, then 22 that count from a random start
}

const idAlphabet = "0123456789abcdefghijklmnopqrstuv"

// String gives the 14 characters, without the prefix q-.
func (id ID) String() string {
	hi, lo := uint64(id.Partition), id.Number // 70 bits: 6 in hi, 64 in lo
	var b [14]byte
	for i := len(b) - 1; i >= 0; i-- {
		b[i] = idAlphabet[lo&31]
		lo = lo>>5 | (hi&31)<<59
		hi >>= 5
	}
	return string(b[:])
}

// ParseID reads what String gives, with or without q- in front, in any case.
func ParseID(s string) (ID, bool) {
	s = strings.ToLower(s)
	s = strings.TrimPrefix(s, "q-")
	if len(s) != 14 {
		return ID{}, false
	}
	var hi, lo uint64
	for i := range len(s) {
		v := strings.IndexByte(idAlphabet, s[i])
		if v < 0 {
			return ID{}, false
		}
		hi, lo = hi<<5|lo>>59, lo<<5|uint64(v)
	}
	return ID{Partition: uint16(hi), Number: lo}, hi < partitions
}

// IsZero tells whether the id was never set.
func (id ID) IsZero() bool { return id == ID{} }

// Lock is the lock that guards the item's rows.
func (id ID) Lock() kv.Key { return kv.LockQueueItem(id.Number) }

// key gives p P Q.
func (id ID) key(p kv.Prefix) kv.Key { return kv.K(p).U16(id.Partition).U64(id.Number) }

func (id ID) rcptKey(n int) kv.Key { return id.key(kv.QueueRcpts).U16(uint16(n)) }

func (id ID) dueKey(due time.Time) kv.Key {
	return kv.K(kv.QueueDue).U16(id.Partition).U64(millis(due)).U64(id.Number)
}

func (id ID) domainKey(destination string) kv.Key {
	return kv.K(kv.QueueDomains).U16(id.Partition).U32(kv.Hash32(destination)).U64(id.Number)
}

// Owner is the item as an owner of its blob.
func (id ID) Owner() blob.Owner {
	return blob.Owner{Kind: blob.QueueItem, A: uint64(id.Partition), ID: id.Number}
}

// millis gives Unix milliseconds, 0 for the zero time and everything before 1970.
func millis(t time.Time) uint64 {
	if ms := t.UnixMilli(); ms > 0 {
		return uint64(ms)
	}
	return 0
}

func fromMillis(ms uint64) time.Time {
	if ms == 0 || ms > 1<<62 {
		return time.Time{}
	}
	return time.UnixMilli(int64(ms))
}

// State says what is to be done for a recipient.
type State uint8

// The states. Delivered and Failed are final; an item lives as long as one of its recipients waits or is held.
const (
	Waiting State = iota
	Held
	Delivered
	Failed
)

// String gives "waiting", "held", "delivered" or "failed".
func (s State) String() string { return [...]string{"waiting", "held", "delivered", "failed"}[s&3] }

// Final tells whether nothing is to be done any more.
func (s State) Final() bool { return s >= Delivered }

// Recipient is one recipient of an item.
type Recipient struct {
	mail.Recipient
	State    State
	Due      time.Time   // when it is tried next; only while it waits
	Attempts int         // attempts that ended with a verdict
	Last     mail.Result // what the last attempt came to; a permanent one on a recipient that waits: to be bounced
	LastTime time.Time   // when
	Delayed  bool        // the sender was told of the delay
	Expanded bool        // it is an alias that passed the message on to several; all that is left to do is to tell that
	Session  mail.ID     // of the last attempt, in glass; zero when no host was spoken to
	Earlier  History     // the attempts before the last
}

// Item is one message for one destination. What Add took is immutable but for Via and Recipients' states.
type Item struct {
	ID          ID
	Destination string // a domain in A-labels, or "local:" and an account number
	Blob        mail.ID
	Size        int64  // octets of prefix and blob
	Prefix      []byte // stands in front of the blob: trace fields
	From        mail.Address
	mail.Parameters
	Content   mail.Content // of the blob
	Session   mail.ID
	Received  time.Time // when it was accepted; give-up counts from here
	Submitted bool      // by one of our users
	Automatic bool      // no person wrote it (RFC 3834 §5)
	Bulk      bool      // by one who sends to many
	VERP      bool      // each recipient gets it from an address that names the recipient
	// Forwarder is the domain of the alias of ours that led to a domain that is not ours; "" when none did.
	Forwarder  mail.Domain
	Via        string // the host:port that an operator wants it sent by; "" is as its destination wants
	Recipients []Recipient
}

// LocalDestination is the destination of mail that waits to be delivered to an account; 0 for an address of ours
// that leads to no single account.
func LocalDestination(a mail.AccountID) string {
	return localPrefix + strconv.FormatUint(uint64(a), 10)
}

// Local tells whether what has this destination is to be delivered here.
func Local(destination string) bool { return strings.HasPrefix(destination, localPrefix) }

// Local tells whether the item is to be delivered here.
func (it *Item) Local() bool { return Local(it.Destination) }

// Due gives the earliest time at which a recipient is to be tried; false when none waits.
func (it *Item) Due() (time.Time, bool) { return earliest(it.Recipients) }

func earliest(rs []Recipient) (due time.Time, ok bool) {
	for i := range rs {
		if rs[i].State == Waiting && (!ok || rs[i].Due.Before(due)) {
			due, ok = rs[i].Due, true
		}
	}
	return due, ok
}

// notBefore gives now, or the time before which the sender does not want the message to go.
func (it *Item) notBefore(now time.Time) time.Time {
	if it.Hold.After(now) {
		return it.Hold
	}
	return now
}

// Locks are what a transaction that may end the item must hold: the item's lock and its blob's.
func (it *Item) Locks() []kv.Key { return []kv.Key{it.ID.Lock(), kv.LockBlob(it.Blob)} }

// Envelope gives the envelope of an attempt for the recipients with the given indexes.
func (it *Item) Envelope(rcpts []int) mail.Envelope {
	e := mail.Envelope{
		From: it.From, Parameters: it.Parameters, Content: it.Content, Size: it.Size, Received: it.Received, Recipients: make([]mail.Recipient, len(rcpts)),
	}
	for i, n := range rcpts {
		e.Recipients[i] = it.Recipients[n].Recipient
	}
	return e
}

// clone copies what later transactions change.
func (it *Item) clone() *Item {
	c := *it
	c.Recipients = slices.Clone(it.Recipients)
	return &c
}
