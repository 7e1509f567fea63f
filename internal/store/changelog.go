package store

// The change log: one row a transaction under its MODSEQ. It tells what was touched, not what it became: a reader
// takes the rows themselves from the same snapshot.
//
//	record = version time *op                  time: Unix seconds
//	op     = kind mailbox ranges [emails]      emails, ascending, only of expunge: those that are in no mailbox any
//	                                           more; and of left: those that lost an entry and have others

// opKind is the kind of an entry of the change log.
type opKind byte

const (
	opAdd      opKind = iota + 1 // new entries
	opFlags                      // entries with other flags
	opExpunge                    // entries that are gone
	opMailbox                    // a mailbox that was made, renamed or deleted
	opKeywords                   // the account's keyword slots
	opLeft                       // emails that are gone from one mailbox; it has no ranges
)

type logOp struct {
	kind opKind
	m    MailboxID
	uids []uidRange
	gone []EmailID
}

type logRow struct {
	time int64
	ops  []logOp
}

func (r *logRow) encode() []byte { return r.append(make([]byte, 0, 32)) }

func (r *logRow) append(b []byte) []byte {
	b = append(b, version)
	b = appendInt(b, r.time)
	for i := range r.ops {
		o := &r.ops[i]
		b = append(b, byte(o.kind))
		b = appendUint(b, o.m)
		b = appendRanges(b, o.uids)
		if o.kind != opExpunge && o.kind != opLeft {
			continue
		}
		b = appendUint(b, len(o.gone))
		var last EmailID
		for _, e := range o.gone {
			b = appendInt(b, int64(e-last))
			last = e
		}
	}
	return b
}

func decodeLog(v []byte) (logRow, error) {
	d := decode(v)
	r := logRow{time: d.int()}
	for len(d.b) > 0 && !d.bad {
		o := logOp{kind: opKind(d.u8()), m: MailboxID(d.u32()), uids: d.ranges()}
		if o.kind < opAdd || o.kind > opLeft {
			d.bad = true
		}
		if o.kind == opExpunge || o.kind == opLeft {
			last := EmailID(0)
			for range d.count(1) {
				last += EmailID(d.int())
				o.gone = append(o.gone, last)
			}
		}
		r.ops = append(r.ops, o)
	}
	return r, d.end("lg")
}
