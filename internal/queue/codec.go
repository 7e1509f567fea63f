package queue

import (
	"encoding/binary"
	"time"

	"postel/internal/kv"
	"postel/internal/mail"
)

// format is the first octet of every value. Items of format 1 ended their parameters with ENVID.
const format = 2

// Upgrade2 makes rows of format 2 of those of format 1: items of format 1 are read as they are, and it only takes that
// older programs, which cannot read new ones, refuse the data.
func Upgrade2(kv.Tx, kv.Key) (kv.Key, int, error) { return nil, 0, nil }

// encoder appends fields: numbers as varints, texts with their length in front.
type encoder []byte

func (e *encoder) num(v uint64) { *e = binary.AppendUvarint(*e, v) }

func (e *encoder) time(t time.Time) { e.num(millis(t)) }

func (e *encoder) text(s string) {
	e.num(uint64(len(s)))
	*e = append(*e, s...)
}

func (e *encoder) flag(on bool) {
	if on {
		*e = append(*e, 1)
	} else {
		*e = append(*e, 0)
	}
}

func (e *encoder) id(id mail.ID) { *e = append(*e, id[:]...) }

func (e *encoder) address(a mail.Address) {
	e.text(a.Local)
	e.text(string(a.Domain))
}

func (e *encoder) result(r mail.Result) {
	e.num(uint64(r.Scope))
	e.num(uint64(max(r.Code, 0)))
	for _, v := range r.Enhanced {
		e.num(uint64(v))
	}
	e.text(r.Text[:min(len(r.Text), maxReplyText)])
	e.text(r.Host)
}

// decoder reads them back and keeps its first error.
type decoder struct {
	b   []byte
	bad bool
}

func (d *decoder) num() uint64 {
	v, n := binary.Uvarint(d.b)
	if n <= 0 {
		d.bad, d.b = true, nil
		return 0
	}
	d.b = d.b[n:]
	return v
}

func (d *decoder) time() time.Time { return fromMillis(d.num()) }

func (d *decoder) bytes(n uint64) []byte {
	if n > uint64(len(d.b)) {
		d.bad, d.b = true, nil
		return nil
	}
	b := d.b[:n]
	d.b = d.b[n:]
	return b
}

func (d *decoder) text() string { return string(d.bytes(d.num())) }

func (d *decoder) flag() bool {
	b := d.bytes(1)
	return len(b) == 1 && b[0] != 0
}

func (d *decoder) id() (id mail.ID) {
	copy(id[:], d.bytes(uint64(len(id))))
	return id
}

func (d *decoder) address() mail.Address {
	return mail.Address{Local: d.text(), Domain: mail.Domain(d.text())}
}

func (d *decoder) result() (r mail.Result) {
	r.Scope = mail.Scope(d.num() & 3)
	r.Code = int(d.num() % 1000)
	for i := range r.Enhanced {
		r.Enhanced[i] = uint16(d.num())
	}
	r.Text = d.text()
	r.Host = d.text()
	return r
}

// start checks the format octet and gives it.
func (d *decoder) start() (f byte) {
	b := d.bytes(1)
	if len(b) == 1 && (b[0] == 0 || b[0] > format) {
		d.bad, d.b = true, nil
	}
	if len(b) == 1 {
		f = b[0]
	}
	return f
}

// more tells whether there are fields that older rows did not have.
func (d *decoder) more() bool { return len(d.b) > 0 }

func (d *decoder) err(what string) error {
	if d.bad {
		return mail.E("queue.decode", mail.Internal, "a row of the queue cannot be read: %s", what)
	}
	return nil
}

func (e *encoder) parameters(p mail.Parameters) {
	e.num(uint64(p.Body))
	e.flag(p.UTF8)
	e.text(p.Return)
	e.text(p.EnvelopeID)
	e.time(p.By.Deadline)
	e.flag(p.By.Return)
	e.flag(p.By.Trace)
	e.time(p.Hold)
	e.num(uint64(uint8(p.Priority)))
	e.flag(p.RequireTLS)
}

func (d *decoder) parameters(format byte) (p mail.Parameters) {
	p = mail.Parameters{Body: mail.Body(d.num()), UTF8: d.flag(), Return: d.text(), EnvelopeID: d.text()}
	if format > 1 {
		p.By = mail.DeliverBy{Deadline: d.time(), Return: d.flag(), Trace: d.flag()}
		p.Hold, p.Priority, p.RequireTLS = d.time(), int8(d.num()), d.flag()
	}
	return p
}

func (it *Item) encode() []byte {
	e := make(encoder, 0, 128+len(it.Prefix))
	e.num(format)
	e.text(it.Destination)
	e.id(it.Blob)
	e.num(uint64(max(it.Size, 0)))
	e.address(it.From)
	e.parameters(it.Parameters)
	e.id(it.Session)
	e.time(it.Received)
	e.flag(it.Submitted)
	e.num(uint64(len(it.Recipients)))
	e.text(string(it.Prefix))
	e.num(uint64(it.Content))
	more := it.more()
	if it.Via != "" || more != 0 {
		e.text(it.Via)
	}
	if more != 0 {
		e.num(uint64(more))
	}
	if it.Forwarder != "" {
		e.text(string(it.Forwarder))
	}
	return e
}

// itemMore is what is true of an item; rows of which nothing is end before it.
type itemMore uint64

const (
	moreAutomatic itemMore = 1 << iota
	moreBulk
	moreForwarder // the text behind it
	moreVERP
)

func (it *Item) more() (m itemMore) {
	if it.Automatic {
		m |= moreAutomatic
	}
	if it.Bulk {
		m |= moreBulk
	}
	if it.Forwarder != "" {
		m |= moreForwarder
	}
	if it.VERP {
		m |= moreVERP
	}
	return m
}

func (it *Item) setMore(m itemMore) {
	it.Automatic, it.Bulk, it.VERP = m&moreAutomatic != 0, m&moreBulk != 0, m&moreVERP != 0
}

// decodeItem reads an item; its Recipients have their number but are empty. v may be reused.
func decodeItem(id ID, v []byte) (*Item, error) {
	d := decoder{b: v}
	f := d.start()
	it := &Item{
		ID: id, Destination: d.text(), Blob: d.id(), Size: int64(d.num() & (1<<62 - 1)), From: d.address(),
		Parameters: d.parameters(f), Session: d.id(),
		Received: d.time(), Submitted: d.flag(),
	}
	n := d.num()
	it.Prefix = append([]byte(nil), d.bytes(d.num())...)
	if d.more() {
		it.Content = mail.Content(d.num())
	}
	if d.more() {
		it.Via = d.text()
	}
	if d.more() {
		it.setMore(itemMore(d.num()))
	}
	if d.more() {
		it.Forwarder = mail.Domain(d.text())
	}
	if n == 0 || n > MaxRecipients {
		d.bad = true
	}
	if err := d.err("qi " + id.String()); err != nil {
		return nil, err
	}
	it.Recipients = make([]Recipient, n)
	return it, nil
}

func (r *Recipient) encode() []byte {
	e := make(encoder, 0, 64+len(r.Address.Local)+len(r.Address.Domain)+len(r.Last.Text))
	e.num(format)
	e.address(r.Address)
	e.num(uint64(r.Notify))
	e.text(r.Original)
	e.num(uint64(r.State))
	e.time(r.Due)
	e.num(uint64(max(r.Attempts, 0)))
	e.result(r.Last)
	e.time(r.LastTime)
	e.flag(r.Delayed)
	e.flag(r.Expanded)
	if !r.Session.IsZero() || r.Earlier != "" {
		e.id(r.Session)
		e.text(string(r.Earlier))
	}
	return e
}

func (r *Recipient) decode(id ID, v []byte) error {
	d := decoder{b: v}
	d.start()
	r.Address = d.address()
	r.Notify = mail.Notify(d.num())
	r.Original = d.text()
	r.State = State(d.num() & 3)
	r.Due = d.time()
	r.Attempts = int(d.num() & (1<<31 - 1))
	r.Last = d.result()
	r.Last.Recipient = r.Address
	r.LastTime = d.time()
	r.Delayed = d.flag()
	r.Expanded = d.more() && d.flag()
	if d.more() {
		r.Session, r.Earlier = d.id(), History(d.text())
	}
	return d.err("qr " + id.String())
}

// Ended is how a recipient's part in an item ended.
type Ended struct {
	ID          ID
	N           int // its number in the item
	Destination string
	Blob        mail.ID // the message, whose body may be gone
	From        mail.Address
	Recipient   mail.Address
	Received    time.Time
	Time        time.Time
	State       State // Delivered or Failed
	Dropped     bool  // by an operator
	Attempts    int
	Result      mail.Result
}

func (x *Ended) encode() []byte {
	e := make(encoder, 0, 96+len(x.Result.Text))
	e.num(format)
	e.num(uint64(x.ID.Partition))
	e.text(x.Destination)
	e.id(x.Blob)
	e.address(x.From)
	e.address(x.Recipient)
	e.time(x.Received)
	e.time(x.Time)
	e.num(uint64(x.State))
	e.flag(x.Dropped)
	e.num(uint64(max(x.Attempts, 0)))
	e.result(x.Result)
	return e
}

func decodeEnded(k kv.Key, v []byte) (x Ended, err error) {
	number, err := decodeEndedKey(k)
	if err != nil {
		return x, err
	}
	d := decoder{b: v}
	d.start()
	x = Ended{
		ID: ID{Partition: uint16(d.num()), Number: number},
		N:  int(binary.BigEndian.Uint16(k[14:16])), Destination: d.text(), Blob: d.id(), From: d.address(),
		Recipient: d.address(), Received: d.time(), Time: d.time(), State: State(d.num() & 3), Dropped: d.flag(),
		Attempts: int(d.num() & (1<<31 - 1)), Result: d.result(),
	}
	x.Result.Recipient = x.Recipient
	return x, d.err("qe " + x.ID.String())
}

// endedKeyLen is the length of qe day Q n.
const endedKeyLen = 2 + 4 + 8 + 2

func endedKey(day uint32, number uint64, n int) kv.Key {
	return kv.K(kv.QueueEnded).U32(day).U64(number).U16(uint16(n))
}

func dayOf(t time.Time) uint32 { return uint32(millis(t) / (24 * 3600 * 1000)) }

// parseDue reads a key of qd.
func parseDue(k kv.Key) (candidate, bool) {
	if len(k) != 2+2+8+8 {
		return candidate{}, false
	}
	return candidate{
		due: binary.BigEndian.Uint64(k[4:12]),
		id:  ID{Partition: binary.BigEndian.Uint16(k[2:4]), Number: binary.BigEndian.Uint64(k[12:20])},
	}, true
}

// parseItemKey reads a key of qi.
func parseItemKey(k kv.Key) (ID, bool) {
	if len(k) != 2+2+8 {
		return ID{}, false
	}
	return ID{Partition: binary.BigEndian.Uint16(k[2:4]), Number: binary.BigEndian.Uint64(k[4:12])}, true
}

// parseDomainKey reads a key of qk.
func parseDomainKey(k kv.Key) (ID, bool) {
	if len(k) != 2+2+4+8 {
		return ID{}, false
	}
	return ID{Partition: binary.BigEndian.Uint16(k[2:4]), Number: binary.BigEndian.Uint64(k[8:16])}, true
}

// decodeEndedKey gives the item's number in a key of qe.
func decodeEndedKey(k kv.Key) (uint64, error) {
	if len(k) != endedKeyLen {
		return 0, mail.E("queue.decode", mail.Internal, "a key of the queue cannot be read")
	}
	return binary.BigEndian.Uint64(k[6:14]), nil
}
