package message

import "postel/internal/mail"

// DecodeTop reads of what AppendBinary wrote only what searches by header fields need, in a fraction of the time: the
// root's place, the Date of its Envelope, and its Summary. Everything else is zero, and not looked at; what is broken
// there goes unnoticed. Kind Internal as Decode.
func DecodeTop(b []byte) (*Part, error) {
	if len(b) == 0 || b[0] != codecVersion {
		return nil, mail.E("message.decode", mail.Internal, "unknown version of a message's tree")
	}
	d := decoder{s: string(b[1:])}
	p := new(Part)
	p.HeaderStart = d.size()
	flags := d.uint()
	p.BodyStart = p.HeaderStart + d.size()
	p.End = p.BodyStart + d.size()
	p.Lines = d.size()
	d.skipTokens(2)
	d.skipParams()
	d.skipTokens(1)
	for _, bit := range [...]uint64{hasID, hasDescription, hasMD5} {
		if flags&bit != 0 {
			d.string()
		}
	}
	if flags&hasDisposition != 0 {
		d.skipTokens(1)
		d.skipParams()
	}
	if flags&hasLanguage != 0 {
		for range d.count(1) {
			d.string()
		}
	}
	if flags&hasLocation != 0 {
		d.string()
	}
	if flags&hasEnvelope != 0 {
		p.Envelope = d.dateOfEnvelope()
	}
	d.options(p, flags&hasSummary)
	if d.bad {
		return nil, mail.E("message.decode", mail.Internal, "broken tree of a message")
	}
	return p, nil
}

func (d *decoder) skipTokens(n int) {
	for range n {
		if t := d.uint(); t >= uint64(tokenCount) {
			d.take(t - uint64(tokenCount))
		}
	}
}

func (d *decoder) skipParams() { d.skipTokens(2 * d.count(2)) }

// dateOfEnvelope reads an envelope and keeps its date.
func (d *decoder) dateOfEnvelope() *Envelope {
	flags := d.uint()
	e := &Envelope{Date: d.string()}
	for range 3 {
		d.string()
	}
	lists := 4 // From, To, Cc, Bcc
	for _, own := range [...]uint64{ownSender, ownReplyTo} {
		if flags&own != 0 {
			lists++
		}
	}
	for range lists {
		for range d.count(4) {
			d.byte()
			for range 3 {
				d.string()
			}
		}
	}
	return e
}
