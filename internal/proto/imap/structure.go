package imap

import (
	"io"
	"strings"

	"postel/internal/message"
)

// FetchEnvelope writes ENVELOPE (RFC 3501 §7.4.2).
func (e *Encoder) FetchEnvelope(env *message.Envelope) {
	e.item()
	e.raw("ENVELOPE ")
	e.envelope(env)
	e.inItem = true
}

func (e *Encoder) envelope(env *message.Envelope) {
	if env == nil {
		env = &message.Envelope{}
	}
	e.byte('(')
	e.nstr(env.Date)
	e.byte(' ')
	e.nstr(env.Subject)
	for _, list := range [...][]message.Address{env.From, env.Sender, env.ReplyTo, env.To, env.Cc, env.Bcc} {
		e.byte(' ')
		e.addresses(list)
	}
	e.byte(' ')
	e.nstr(env.InReplyTo)
	e.byte(' ')
	e.nstr(env.MessageID)
	e.byte(')')
}

func (e *Encoder) addresses(list []message.Address) {
	if len(list) == 0 {
		e.raw("NIL")
		return
	}
	e.byte('(')
	for _, a := range list {
		e.address(a)
	}
	e.byte(')')
}

// address writes (name adl mailbox host). Of an address, mailbox and host are never NIL: that marks groups.
func (e *Encoder) address(a message.Address) {
	switch a.Kind {
	case message.GroupStart:
		e.raw("(NIL NIL ")
		e.str(a.Name)
		e.raw(" NIL)")
	case message.GroupEnd:
		e.raw("(NIL NIL NIL NIL)")
	default:
		e.byte('(')
		e.nstr(a.Name)
		e.raw(" NIL ")
		e.str(a.Local)
		e.byte(' ')
		e.str(a.Host)
		e.byte(')')
	}
}

// FetchStructure writes BODYSTRUCTURE, or BODY without extension data.
func (e *Encoder) FetchStructure(p *message.Part, extended bool) {
	e.item()
	if extended {
		e.raw("BODYSTRUCTURE ")
	} else {
		e.raw("BODY ")
	}
	e.structure(p, extended)
	e.inItem = true
}

func (e *Encoder) structure(p *message.Part, extended bool) {
	e.byte('(')
	if p.IsMultipart() {
		e.multipart(p, extended)
	} else {
		e.onePart(p, extended)
	}
	e.byte(')')
}

func (e *Encoder) multipart(p *message.Part, extended bool) {
	for _, c := range p.Children {
		e.structure(c, extended)
	}
	e.byte(' ')
	e.str(p.Subtype)
	if extended {
		e.byte(' ')
		e.params(p.Params)
		e.extension(p)
	}
}

// onePart writes body-type-basic, body-type-text or body-type-msg. A message/global is a basic one, because only
// message/rfc822 has an envelope in RFC 3501 §9.
func (e *Encoder) onePart(p *message.Part, extended bool) {
	typ, subtype := p.Type, p.Subtype
	rfc822 := p.IsMessage() && subtype == "rfc822"
	if typ == "multipart" || typ == "message" && subtype == "rfc822" && !rfc822 {
		typ, subtype = "application", "octet-stream" // not looked into
	}
	e.str(typ)
	e.byte(' ')
	e.str(subtype)
	e.byte(' ')
	e.params(p.Params)
	e.byte(' ')
	e.nstr(p.ID)
	e.byte(' ')
	e.nstr(p.Description)
	e.byte(' ')
	e.str(p.Encoding)
	e.byte(' ')
	e.number(uint64(max(p.Size(), 0)))
	if rfc822 {
		e.byte(' ')
		e.envelope(p.Children[0].Envelope)
		e.byte(' ')
		e.structure(p.Children[0], extended)
	}
	if rfc822 || typ == "text" {
		e.byte(' ')
		e.number(uint64(max(p.Lines, 0)))
	}
	if extended {
		e.byte(' ')
		e.nstr(p.MD5)
		e.extension(p)
	}
}

// extension writes body-fld-dsp, body-fld-lang and body-fld-loc.
func (e *Encoder) extension(p *message.Part) {
	e.byte(' ')
	if p.Disposition == "" {
		e.raw("NIL")
	} else {
		e.byte('(')
		e.str(p.Disposition)
		e.byte(' ')
		e.params(p.DispositionParams)
		e.byte(')')
	}
	e.byte(' ')
	switch len(p.Language) {
	case 0:
		e.raw("NIL")
	case 1:
		e.str(p.Language[0])
	default:
		e.byte('(')
		for i, l := range p.Language {
			if i > 0 {
				e.byte(' ')
			}
			e.str(l)
		}
		e.byte(')')
	}
	e.byte(' ')
	e.nstr(p.Location)
}

func (e *Encoder) params(list []message.Param) {
	if len(list) == 0 {
		e.raw("NIL")
		return
	}
	e.byte('(')
	for i, p := range list {
		if i > 0 {
			e.byte(' ')
		}
		e.str(p.Name)
		e.byte(' ')
		e.str(p.Value)
	}
	e.byte(')')
}

// FetchLiteral writes an item whose value is n octets of r. When r gives less, Err tells it and the connection
// has to end, because the length was announced.
func (e *Encoder) FetchLiteral(i FetchItem, n int64, r io.Reader) {
	e.fetchName(i)
	e.literal(n, r)
	e.inItem = true
}

// FetchString writes an item whose value is in memory.
func (e *Encoder) FetchString(i FetchItem, s string) {
	e.FetchLiteral(i, int64(len(s)), strings.NewReader(s))
}
