package message

import (
	"encoding/binary"

	"postel/internal/mail"
)

// Bounds of what Decode takes; the Parser stays below them.
const (
	maxDecodeDepth = 1000
	maxDecodeSize  = 1 << 56 // octets of a message
)

// Decode reads what AppendBinary wrote. Any input is safe: memory stays in proportion to its length. What is not the
// form of a known version gives Kind Internal, because only our own store holds it.
func Decode(b []byte) (*Part, error) {
	if len(b) == 0 || b[0] != codecVersion {
		return nil, mail.E("message.decode", mail.Internal, "unknown version of a message's tree")
	}
	d := decoder{s: string(b[1:])}
	p := d.part(0, 0)
	if d.bad || d.s != "" {
		return nil, mail.E("message.decode", mail.Internal, "broken tree of a message")
	}
	return p, nil
}

// decoder keeps its first error as bad and gives zeros from then on. Strings are cut out of one copy of the input.
type decoder struct {
	s   string
	bad bool
}

func (d *decoder) fail() {
	d.bad, d.s = true, ""
}

func (d *decoder) uint() uint64 {
	var v uint64
	for i := range min(len(d.s), binary.MaxVarintLen64) {
		c := d.s[i]
		if i == binary.MaxVarintLen64-1 && c > 1 {
			break
		}
		v |= uint64(c&0x7f) << (7 * i)
		if c < 0x80 {
			d.s = d.s[i+1:]
			return v
		}
	}
	d.fail()
	return 0
}

func (d *decoder) size() int64 {
	n := d.uint()
	if n > maxDecodeSize {
		d.fail()
		return 0
	}
	return int64(n)
}

// count reads a number of things of which each takes at least least octets.
func (d *decoder) count(least int) int {
	n := d.uint()
	if n > uint64(len(d.s)/least) {
		d.fail()
		return 0
	}
	return int(n)
}

func (d *decoder) byte() byte {
	if d.s == "" {
		d.fail()
		return 0
	}
	c := d.s[0]
	d.s = d.s[1:]
	return c
}

func (d *decoder) take(n uint64) string {
	if n > uint64(len(d.s)) {
		d.fail()
		return ""
	}
	s := d.s[:n]
	d.s = d.s[n:]
	return s
}

func (d *decoder) string() string { return d.take(d.uint()) }

func (d *decoder) token() string {
	n := d.uint()
	if n < uint64(tokenCount) {
		return codecTokens[n]
	}
	return d.take(n - uint64(tokenCount))
}

func (d *decoder) params() []Param {
	n := d.count(2)
	if n == 0 {
		return nil
	}
	list := make([]Param, n)
	for i := range list {
		list[i] = Param{Name: d.token(), Value: d.token()}
	}
	return list
}

func (d *decoder) part(from int64, depth int) *Part {
	p := new(Part)
	if depth > maxDecodeDepth {
		d.fail()
		return p
	}
	p.HeaderStart = from + d.size()
	flags := d.uint()
	p.BodyStart = p.HeaderStart + d.size()
	p.End = p.BodyStart + d.size()
	p.Lines = d.size()
	if p.End > maxDecodeSize {
		d.fail()
	}
	p.Type, p.Subtype = d.token(), d.token()
	p.Params = d.params()
	p.Encoding = d.token()
	p.Truncated = flags&isTruncated != 0
	d.options(p, flags)
	if flags&hasChildren == 0 {
		return p
	}
	n := d.count(8) // octets of the smallest part
	p.Children = make([]*Part, 0, n)
	from = p.BodyStart
	for range n {
		if d.bad {
			break
		}
		c := d.part(from, depth+1)
		if c.End > p.End {
			d.fail()
		}
		from = c.End
		p.Children = append(p.Children, c)
	}
	return p
}

// options reads what the flags announce.
func (d *decoder) options(p *Part, flags uint64) {
	for _, o := range [...]struct {
		bit uint64
		dst *string
	}{{hasID, &p.ID}, {hasDescription, &p.Description}, {hasMD5, &p.MD5}} {
		if flags&o.bit != 0 {
			*o.dst = d.string()
		}
	}
	if flags&hasDisposition != 0 {
		p.Disposition, p.DispositionParams = d.token(), d.params()
	}
	if flags&hasLanguage != 0 {
		p.Language = make([]string, d.count(1))
		for i := range p.Language {
			p.Language[i] = d.string()
		}
	}
	if flags&hasLocation != 0 {
		p.Location = d.string()
	}
	if flags&hasEnvelope != 0 {
		p.Envelope = d.envelope()
	}
	if flags&hasSummary != 0 {
		bits := d.byte()
		p.Summary = &Summary{Partial: bits&isPartial != 0, Attachment: bits&isAttachment != 0}
		if s := d.string(); s != "" {
			p.Summary.Fields = []byte(s)
		}
		p.Summary.Preview = d.string()
	}
}

func (d *decoder) envelope() *Envelope {
	e := new(Envelope)
	flags := d.uint()
	e.Date, e.Subject, e.InReplyTo, e.MessageID = d.string(), d.string(), d.string(), d.string()
	e.From = d.addresses()
	e.Sender, e.ReplyTo = e.From, e.From
	if flags&ownSender != 0 {
		e.Sender = d.addresses()
	}
	if flags&ownReplyTo != 0 {
		e.ReplyTo = d.addresses()
	}
	e.To, e.Cc, e.Bcc = d.addresses(), d.addresses(), d.addresses()
	return e
}

func (d *decoder) addresses() []Address {
	n := d.count(4)
	if n == 0 {
		return nil
	}
	list := make([]Address, n)
	for i := range list {
		list[i] = Address{Kind: AddressKind(d.byte()), Name: d.string(), Local: d.string(), Host: d.string()}
		if list[i].Kind > GroupEnd {
			d.fail()
		}
	}
	return list
}
