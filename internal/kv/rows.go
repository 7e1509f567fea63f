package kv

import (
	"encoding/binary"
	"hash/fnv"

	"postel/internal/mail"
)

// Prefix is the two letters in front of a row's key: its table.
type Prefix string

// The tables. Keys are big-endian: A account u64, M mailbox u32, E email u64, B blob id 16 octets, P partition
// u16, Q queue item u64. The codec of a table's values lives with its owner.
const (
	Accounts     Prefix = "ac" // A: settings, quota, status (directory)
	Credentials  Prefix = "cr" // A kind n: secrets (directory)
	Directory    Prefix = "dr" // address or login: account, alias targets (directory)
	Domains      Prefix = "dm" // name: settings (directory)
	Suppressions Prefix = "sp" // domain NUL local part: a recipient bulk senders may not write to (directory)
	Routes       Prefix = "rt" // domain NUL sender: where mail goes (directory)
	Mailboxes    Prefix = "mb" // A M: name, role, UIDVALIDITY (store)
	Counters     Prefix = "na" // A: next E, next M, MODSEQ, bytes, messages (store)
	BoxCounters  Prefix = "nm" // A M: UIDNEXT, EXISTS, … (store)
	Entries      Prefix = "en" // A M uid u32: E, flags, MODSEQ, save date (store)
	Emails       Prefix = "em" // A E: blob, prefix, what was parsed (store); written once
	Where        Prefix = "xe" // A E: the (M, uid) pairs (store)
	Threads      Prefix = "th" // A T E (store)
	References   Prefix = "rf" // A hash64(Message-ID): T, count of emails (store; decision 0002)
	Keywords     Prefix = "kw" // A: names of the slots (store)
	Log          Prefix = "lg" // A modseq u64: what one transaction changed (store)
	Expunged     Prefix = "ud" // A kind …: what was expunged and can be brought back (store)
	Objects      Prefix = "ob" // A type id (store, mda)
	Blobs        Prefix = "bl" // B: header, then the small body (blob); written once
	BlobLinks    Prefix = "bk" // B kind octet owner: empty or expiry (blob)
	BlobGarbage  Prefix = "bg" // B: a blob whose last link may be gone; empty (blob); removed by the sweep
	BlobEnds     Prefix = "bx" // end u64 B kind octet owner: a link that ends then; empty (blob)
	QueueItems   Prefix = "qi" // P Q (queue)
	QueueRcpts   Prefix = "qr" // P Q n u16 (queue)
	QueueDue     Prefix = "qd" // P due u64 Q (queue)
	QueueDomains Prefix = "qk" // P hash32(domain) Q (queue)
	QueueEnded   Prefix = "qe" // day u32 Q n (queue)
	Traces       Prefix = "tr" // time, id (observe); Lazy
	Journeys     Prefix = "jn" // id, n (observe); Lazy
	Rates        Prefix = "rl" // kind key (mx); Lazy
	TLSMemory    Prefix = "tl" // domain: what is remembered of its TLS (tlspolicy); what was merely seen is Lazy
	TLSReports   Prefix = "tp" // day u32, domain: sessions for the report on TLS, and what became of it; without a domain their number (tlsrpt); counts are Lazy
	Nodes        Prefix = "nd" // node u64: its beat (lease)
	Leases       Prefix = "ls" // name: who holds it, its epoch (lease)
	TextIndex    Prefix = "ix" // A segment u64, part, n: terms and postings (search); written once
	TextState    Prefix = "iw" // A: how far the text index goes, its segments (search)
	Server       Prefix = "sv" // name: format versions, server-wide secrets
)

// Table is what a backend and the Strict wrapper know of a prefix.
type Table struct {
	Prefix Prefix
	// Lock gives the lock that guards the row: to write it, and to read it unless it is Once; nil for rows that need
	// none.
	Lock func(Key) Key
	// Once tells that rows never change once written, so that they may be read without a lock when their id
	// came from a guarded read.
	Once bool
	// Lazy tells that rows may be set by a Lazy transaction, because nothing rests on them.
	Lazy bool
}

// Tables lists every table there is, in the order of their prefixes' use above.
func Tables() []Table {
	account := func(k Key) Key { return LockAccount(mail.AccountID(binary.BigEndian.Uint64(k[2:10]))) }
	named := func(k Key) Key { return k }
	directory := func(Key) Key { return LockDirectory() }
	item := func(at int) func(Key) Key {
		return func(k Key) Key { return LockQueueItem(binary.BigEndian.Uint64(k[at : at+8])) }
	}
	t := []Table{
		{Prefix: Directory, Lock: directory},
		{Prefix: Domains, Lock: directory},
		{Prefix: Routes, Lock: directory},
		{Prefix: Suppressions, Lock: directory},
		{Prefix: Blobs, Once: true},
		{Prefix: BlobLinks},
		{Prefix: BlobGarbage},
		{Prefix: BlobEnds},
		{Prefix: QueueItems, Lock: item(4)},
		{Prefix: QueueRcpts, Lock: item(4)},
		{Prefix: QueueDue, Lock: item(12)},
		{Prefix: QueueDomains, Lock: item(8)},
		{Prefix: QueueEnded, Lock: item(6)},
		{Prefix: Traces, Lazy: true},
		{Prefix: Journeys, Lazy: true},
		{Prefix: Rates, Lazy: true},
		{Prefix: TLSMemory, Lock: named, Lazy: true},
		{Prefix: TLSReports, Lock: func(k Key) Key { return k[:6] }, Lazy: true},
		{Prefix: Nodes, Lock: func(Key) Key { return LockNodes() }},
		{Prefix: Leases, Lock: named},
		{Prefix: Server, Lock: func(Key) Key { return LockServer() }},
		{Prefix: Emails, Lock: account, Once: true},
		{Prefix: TextIndex, Lock: account, Once: true},
	}
	for _, p := range []Prefix{
		Accounts, Credentials, Mailboxes, Counters, BoxCounters, Entries, Where, Threads,
		References, Keywords, Log, Objects, Expunged, TextState,
	} {
		t = append(t, Table{Prefix: p, Lock: account})
	}
	return t
}

// LockAccount guards all rows that begin with the account.
func LockAccount(a mail.AccountID) Key { return binary.BigEndian.AppendUint64(Key("A"), uint64(a)) }

// LockDirectory guards addresses, domains and routes.
func LockDirectory() Key { return Key("dir") }

// LockQueueItem guards the rows of one queue item.
func LockQueueItem(q uint64) Key { return binary.BigEndian.AppendUint64(Key("Q"), q) }

// LockBlob is needed to drop a link of a blob, and to add one to a blob that others can see already, unless the
// same transaction holds the lock of an owner that has a link of it.
func LockBlob(b mail.ID) Key { return append(Key("B"), b[:]...) }

// LockNodes guards the list of nodes that share the store.
func LockNodes() Key { return Key("nodes") }

// LockLease guards a lease, and is the key of its row.
func LockLease(name string) Key { return K(Leases).Text(name) }

// LockTLSReports guards what is counted of a day, and begins the keys of its rows.
func LockTLSReports(day uint32) Key { return K(TLSReports).U32(day) }

// LockServer guards the rows of the server itself.
func LockServer() Key { return Key("srv") }

// K builds a key: a prefix, then octets; the methods append what they are named for.
func K(p Prefix) Key { return append(make(Key, 0, 34), p...) }

// U64 appends a big-endian number.
func (k Key) U64(v uint64) Key { return binary.BigEndian.AppendUint64(k, v) }

// U32 appends a big-endian number.
func (k Key) U32(v uint32) Key { return binary.BigEndian.AppendUint32(k, v) }

// U16 appends a big-endian number.
func (k Key) U16(v uint16) Key { return binary.BigEndian.AppendUint16(k, v) }

// U8 appends one octet.
func (k Key) U8(v uint8) Key { return append(k, v) }

// ID appends the 16 octets of an id.
func (k Key) ID(id mail.ID) Key { return append(k, id[:]...) }

// Text appends s as it is: the last part of a key only.
func (k Key) Text(s string) Key { return append(k, s...) }

// Account appends an account id.
func (k Key) Account(a mail.AccountID) Key { return k.U64(uint64(a)) }

// End gives the first key behind all keys that begin with k; nil when there is none.
func (k Key) End() Key {
	end := append(Key(nil), k...)
	for i := len(end) - 1; i >= 0; i-- {
		if end[i]++; end[i] != 0 {
			return end[:i+1]
		}
	}
	return nil
}

// Hash32 is the hash of names in keys (FNV-1a).
func Hash32(s string) uint32 {
	h := fnv.New32a()
	_, _ = h.Write([]byte(s))
	return h.Sum32()
}

// Hash64 is the hash of names in keys (FNV-1a).
func Hash64(s string) uint64 {
	h := fnv.New64a()
	_, _ = h.Write([]byte(s))
	return h.Sum64()
}
