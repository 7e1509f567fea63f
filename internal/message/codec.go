package message

import (
	"encoding/binary"
	"slices"
)

// codecVersion is the first octet of the binary form.
const codecVersion = 1

// Bits of a part's flags: what is there.
const (
	hasID = 1 << iota
	hasDescription
	hasMD5
	hasDisposition
	hasLanguage
	hasLocation
	hasEnvelope
	hasSummary
	hasChildren
	isTruncated
)

// Bits of the flags of an envelope and of a summary.
const (
	ownSender = 1 << iota
	ownReplyTo

	isPartial    = 1
	isAttachment = 2
)

// AppendBinary appends the tree of a root, with envelopes and summary, to b in the form that the package doc draws.
func (p *Part) AppendBinary(b []byte) []byte {
	return appendPart(append(b, codecVersion), p, 0)
}

// appendPart writes a part; from is where the previous sibling ended, or the parent's body starts.
func appendPart(b []byte, p *Part, from int64) []byte {
	flags := p.flags()
	b = binary.AppendUvarint(b, uint64(p.HeaderStart-from))
	b = binary.AppendUvarint(b, uint64(flags))
	b = binary.AppendUvarint(b, uint64(p.BodyStart-p.HeaderStart))
	b = binary.AppendUvarint(b, uint64(p.Size()))
	b = binary.AppendUvarint(b, uint64(p.Lines))
	b = appendToken(appendToken(b, p.Type), p.Subtype)
	b = appendParams(b, p.Params)
	b = appendToken(b, p.Encoding)
	for _, o := range [...]struct {
		bit  int
		text string
	}{{hasID, p.ID}, {hasDescription, p.Description}, {hasMD5, p.MD5}} {
		if flags&o.bit != 0 {
			b = appendString(b, o.text)
		}
	}
	if flags&hasDisposition != 0 {
		b = appendParams(appendToken(b, p.Disposition), p.DispositionParams)
	}
	if flags&hasLanguage != 0 {
		b = binary.AppendUvarint(b, uint64(len(p.Language)))
		for _, tag := range p.Language {
			b = appendString(b, tag)
		}
	}
	if flags&hasLocation != 0 {
		b = appendString(b, p.Location)
	}
	if flags&hasEnvelope != 0 {
		b = appendEnvelope(b, p.Envelope)
	}
	if flags&hasSummary != 0 {
		b = appendSummary(b, p.Summary)
	}
	return appendChildren(b, p)
}

func appendChildren(b []byte, p *Part) []byte {
	if len(p.Children) == 0 {
		return b
	}
	b = binary.AppendUvarint(b, uint64(len(p.Children)))
	from := p.BodyStart
	for _, c := range p.Children {
		b = appendPart(b, c, from)
		from = c.End
	}
	return b
}

func (p *Part) flags() int {
	flags := 0
	for _, o := range [...]struct {
		bit int
		set bool
	}{
		{hasID, p.ID != ""},
		{hasDescription, p.Description != ""},
		{hasMD5, p.MD5 != ""},
		{hasDisposition, p.Disposition != "" || len(p.DispositionParams) > 0},
		{hasLanguage, len(p.Language) > 0},
		{hasLocation, p.Location != ""},
		{hasEnvelope, p.Envelope != nil},
		{hasSummary, p.Summary != nil},
		{hasChildren, len(p.Children) > 0},
		{isTruncated, p.Truncated},
	} {
		if o.set {
			flags |= o.bit
		}
	}
	return flags
}

func appendEnvelope(b []byte, e *Envelope) []byte {
	flags := 0
	if !slices.Equal(e.Sender, e.From) {
		flags |= ownSender
	}
	if !slices.Equal(e.ReplyTo, e.From) {
		flags |= ownReplyTo
	}
	b = binary.AppendUvarint(b, uint64(flags))
	for _, s := range [...]string{e.Date, e.Subject, e.InReplyTo, e.MessageID} {
		b = appendString(b, s)
	}
	b = appendAddresses(b, e.From)
	if flags&ownSender != 0 {
		b = appendAddresses(b, e.Sender)
	}
	if flags&ownReplyTo != 0 {
		b = appendAddresses(b, e.ReplyTo)
	}
	return appendAddresses(appendAddresses(appendAddresses(b, e.To), e.Cc), e.Bcc)
}

func appendAddresses(b []byte, list []Address) []byte {
	b = binary.AppendUvarint(b, uint64(len(list)))
	for _, a := range list {
		b = append(b, byte(a.Kind))
		b = appendString(appendString(appendString(b, a.Name), a.Local), a.Host)
	}
	return b
}

func appendSummary(b []byte, s *Summary) []byte {
	flags := byte(0)
	if s.Partial {
		flags |= isPartial
	}
	if s.Attachment {
		flags |= isAttachment
	}
	b = append(b, flags)
	b = append(binary.AppendUvarint(b, uint64(len(s.Fields))), s.Fields...)
	return appendString(b, s.Preview)
}

func appendParams(b []byte, params []Param) []byte {
	b = binary.AppendUvarint(b, uint64(len(params)))
	for _, p := range params {
		b = appendToken(appendToken(b, p.Name), p.Value)
	}
	return b
}

func appendString(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

// appendToken writes a common word as one octet.
func appendToken(b []byte, s string) []byte {
	if i := slices.Index(codecTokens[:], s); i >= 0 {
		return binary.AppendUvarint(b, uint64(i))
	}
	return append(binary.AppendUvarint(b, uint64(tokenCount+len(s))), s...)
}
