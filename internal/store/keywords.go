package store

import (
	"context"
	"errors"
	"math/bits"
	"slices"
	"strings"
	"sync"

	"postel/internal/kv"
	"postel/internal/mail"
)

// Keywords are an account's: 58 slots, filled in the order of first use. Names are compared without regard to case (RFC
// 9051 §2.3.2) and shown as they were first written. When all slots have names, a new name takes the slot of one that no
// entry has: no entry visible or staged, nor of a mailbox that is being emptied. That is found out under the account's
// lock, by reading all entries. So a slot changes its meaning only while no entry uses it, and every Snapshot has the
// names that belong to its flags; flags of two snapshots may be compared only where Renamed says no. What is kept outside
// of entries is kept by name.

func encodeKeywords(names []string) []byte {
	b := appendUint([]byte{version}, len(names))
	for _, n := range names {
		b = appendOctets(b, n)
	}
	return b
}

func decodeKeywords(v []byte) ([]string, error) {
	d := decode(v)
	n := d.count(1)
	names := make([]string, 0, min(n, MaxKeywords))
	for range n {
		names = append(names, string(d.octets()))
	}
	if n > MaxKeywords {
		d.bad = true
	}
	return names, d.end("kw")
}

func readKeywords(r kv.Reader, a mail.AccountID) ([]string, error) {
	v, err := r.Get(keyKeywords(a))
	if errors.Is(err, kv.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, mail.Wrap("store.keywords", err)
	}
	return decodeKeywords(v)
}

// checkKeywords fails with Kind Invalid on a name that is no flag-keyword (RFC 9051 §9: an atom).
// ValidKeyword tells whether a keyword can have this name: an atom (RFC 9051 §9) of at most MaxKeyword octets.
func ValidKeyword(n string) bool {
	return n != "" && len(n) <= MaxKeyword && !strings.ContainsFunc(n, notAtom)
}

func checkKeywords(names []string) error {
	for _, n := range names {
		if !ValidKeyword(n) {
			return mail.E("store.keywords", mail.Invalid, "bad keyword")
		}
	}
	return nil
}

func notAtom(r rune) bool { return r <= ' ' || r >= 0x7f || strings.ContainsRune(`(){%*"\]`, r) }

// slots gives the flags for keyword names. With add, names without a slot get one; Kind TooMany when all are taken.
// Without, they are left out.
func (c *change) slots(keywords []string, add bool) (Flags, error) {
	if len(keywords) == 0 {
		return 0, nil
	}
	names, err := readKeywords(c.tx, c.a)
	if err != nil {
		return 0, err
	}
	var f Flags
	changed := false
	for _, k := range keywords {
		i := slices.IndexFunc(names, func(n string) bool { return strings.EqualFold(n, k) })
		if i < 0 {
			if !add {
				continue
			}
			if names, i, err = c.newSlot(names, k, f|c.given); err != nil {
				return 0, err
			}
			changed = true
		}
		f |= 1 << (FirstKeyword + i)
	}
	c.given |= f
	if changed {
		c.set(keyKeywords(c.a), encodeKeywords(names))
		c.op(opKeywords, 0)
	}
	return f, nil
}

// newSlot gives a name its slot: a fresh one, else one that nobody uses and that is not among taken.
func (c *change) newSlot(names []string, name string, taken Flags) ([]string, int, error) {
	if len(names) < MaxKeywords {
		return append(names, name), len(names), nil
	}
	used, err := c.usedSlots()
	if err != nil {
		return nil, 0, err
	}
	i := firstFree(used | taken)
	if i < 0 {
		return nil, 0, mail.E("store.keywords", mail.TooMany, "all %d keywords of the account are in use", MaxKeywords)
	}
	names[i] = name
	return names, i, nil
}

// firstFree gives the first slot that no flag has, -1 when there is none.
func firstFree(used Flags) int {
	i := bits.TrailingZeros64(^uint64(used >> FirstKeyword))
	if i >= MaxKeywords {
		return -1
	}
	return i
}

// usedSlots reads the slots that entries use, once a change; all of them where that cannot be read any more because the
// transaction has written entries already.
func (c *change) usedSlots() (Flags, error) {
	if !c.slotsKnown {
		if c.s.slots.full(c.a, c.acct.modSeq) {
			c.used = ^Flags(0)
		} else {
			used, err := usedSlots(c.tx, c.a)
			switch {
			case errors.Is(err, kv.ErrOwnWrites):
				return ^Flags(0), nil
			case err != nil:
				return 0, err
			}
			c.used = used
		}
		c.slotsKnown = true
	}
	return c.used, nil
}

// usedSlots gives the flags that any entry of the account has; it ends early when all slots are among them.
func usedSlots(r kv.Reader, a mail.AccountID) (Flags, error) {
	const all = ^Flags(1<<FirstKeyword - 1)
	var used Flags
	from := kv.K(kv.Entries).Account(a)
	for row, err := range r.Scan(from, from.End(), kv.ScanOptions{}) {
		if err != nil {
			return 0, mail.Wrap("store.keywords", err)
		}
		e, err := decodeEntry(row.Value)
		if err != nil {
			return 0, err
		}
		if used |= e.flags; used.Has(all) {
			break
		}
	}
	return used, nil
}

// KeywordRoom tells whether an account can have another keyword: PERMANENTFLAGS has \* then (RFC 9051 §7.1). It costs
// something only where all slots have names.
func (s *Store) KeywordRoom(ctx context.Context, a mail.AccountID) (bool, error) {
	room := false
	err := s.o.KV.View(ctx, lockOf(a), func(r kv.Reader) error {
		names, err := readKeywords(r, a)
		if room = len(names) < MaxKeywords; err != nil || room {
			return err
		}
		acct, err := readAccount(r, a)
		if err != nil || s.slots.full(a, acct.modSeq) {
			return err
		}
		used, err := usedSlots(r, a)
		if err != nil {
			return err
		}
		if room = firstFree(used) >= 0; !room {
			s.slots.note(a, acct.modSeq)
		}
		return nil
	})
	return room, mail.Wrap("store.keywords", err)
}

// fullSlots remembers accounts that have no slot left, and at which change that was so.
type fullSlots struct {
	mu sync.Mutex
	at map[mail.AccountID]ModSeq
}

const maxFullSlots = 1000

func (f *fullSlots) full(a mail.AccountID, at ModSeq) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	seq, ok := f.at[a]
	return ok && seq == at
}

func (f *fullSlots) note(a mail.AccountID, at ModSeq) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.at == nil || len(f.at) >= maxFullSlots {
		f.at = map[mail.AccountID]ModSeq{}
	}
	f.at[a] = at
}

// Renamed tells whether a slot has another name in one snapshot's Keywords than in the other's.
func Renamed(old, now []string) bool {
	if len(old) == 0 || len(now) == 0 || &old[0] == &now[0] {
		return false
	}
	for i := range min(len(old), len(now)) {
		if old[i] != now[i] {
			return true
		}
	}
	return false
}
