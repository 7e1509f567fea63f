package message

import "strings"

// Part is a node of a message's MIME tree: the message itself, a part of a multipart, or the message within a
// message/rfc822 part. Offsets are octets from the start of the stream. See the package doc for the invariants.
//
// BODY[n.MIME] and BODY[HEADER] are HeaderStart to BodyStart, the empty line included; BODY[n] and BODY[TEXT] are
// BodyStart to End; the line end in front of a boundary belongs to the boundary (RFC 2046 §5.1.1).
type Part struct {
	HeaderStart int64
	BodyStart   int64
	End         int64
	Lines       int64 // line ends in the body

	// What BODYSTRUCTURE tells (RFC 3501 §7.4.2). Type and Subtype are never empty: text/plain when Content-Type is
	// missing or broken (RFC 2045 §5.2), or when a multipart has no part; application/octet-stream when the content
	// was not looked into, because it is encoded or a limit was reached.
	Type, Subtype     string  // lower case
	Params            []Param // of Content-Type; charset=us-ascii when there is no Content-Type
	ID                string  // Content-ID with its brackets
	Description       string  // as it came, encoded words not decoded
	Encoding          string  // Content-Transfer-Encoding in lower case, "7bit" when missing
	MD5               string
	Disposition       string // lower case
	DispositionParams []Param
	Language          []string
	Location          string

	// Envelope is set for a message: the root, and the only child of a message/rfc822 part.
	Envelope *Envelope
	// Children are the parts of a multipart, or the one message in a message/rfc822 part.
	Children []*Part
	// Truncated tells that a limit was reached in this part, and on the root that one was reached anywhere.
	Truncated bool
	// Summary is set for the root.
	Summary *Summary
}

// Summary is what a store keeps of a message beside its tree.
type Summary struct {
	// Fields holds the octets of the root's fields for which IsKeptField is true, in order, MaxKeptFields at most.
	Fields []byte
	// Partial tells that a field was left out of Fields for want of room, so that a missing one says nothing.
	Partial bool
	// Preview is the first text of the message, 256 characters at most, on one line (RFC 8970 §2).
	Preview string
	// Attachment tells that a part is neither text to be shown inline nor multipart (RFC 8621 §4.1.4).
	Attachment bool
}

// MaxKeptFields is the room for Summary.Fields in octets.
const MaxKeptFields = 4096

// IsKeptField tells whether a root's fields of that name are kept in Summary.Fields.
func IsKeptField(name string) bool { return fieldOf(name).kept() }

// Size gives the octets of the body, encoded as it is.
func (p *Part) Size() int64 { return p.End - p.BodyStart }

// IsMultipart tells whether the part has parts.
func (p *Part) IsMultipart() bool { return p.Type == "multipart" && len(p.Children) > 0 }

// IsMessage tells whether the part is message/rfc822 or message/global and its message was parsed.
func (p *Part) IsMessage() bool { return p.Type == "message" && len(p.Children) > 0 }

// Is tells whether the part has the media type, given in lower case as "text/plain".
func (p *Part) Is(mediaType string) bool {
	t, s, _ := strings.Cut(mediaType, "/")
	return p.Type == t && p.Subtype == s
}

// Param gives the decoded value of a Content-Type parameter, "" when it is not there.
func (p *Part) Param(name string) string { return ParamValue(p.Params, name) }

// Filename gives the decoded file name from Content-Disposition, else from Content-Type's name parameter, or "".
func (p *Part) Filename() string {
	if s := ParamValue(p.DispositionParams, "filename"); s != "" {
		return s
	}
	return p.Param("name")
}

// Shift adapts the tree of a message to a prefix of n octets of header fields that is put in front of it: the
// root's header grows, everything else moves. The tree is then that of prefix and message, provided that the message
// does not start with a blank, which would continue the prefix's last field; EditHeader sees to that.
func (p *Part) Shift(n int64) {
	p.BodyStart += n
	p.End += n
	for _, c := range p.Children {
		c.HeaderStart += n
		c.Shift(n)
	}
}

// Find gives the part that an IMAP section number names (RFC 3501 §6.4.5), nil when there is none. p is a root. A
// message that is no multipart has the one part 1, which is the message itself. The empty path gives p.
func (p *Part) Find(path ...int) *Part {
	in, cur := p, p // the message or multipart whose parts are numbered next, and the part found
	for _, n := range path {
		switch {
		case in == nil || n < 1:
			return nil
		case in.IsMultipart():
			if n > len(in.Children) {
				return nil
			}
			cur = in.Children[n-1]
		case n == 1:
			cur = in
		default:
			return nil
		}
		switch {
		case cur.IsMultipart():
			in = cur
		case cur.IsMessage():
			in = cur.Children[0]
		default:
			in = nil
		}
	}
	return cur
}

// Walk calls fn for the part and all below it, parents first, until fn gives false.
func (p *Part) Walk(fn func(*Part) bool) bool {
	if !fn(p) {
		return false
	}
	for _, c := range p.Children {
		if !c.Walk(fn) {
			return false
		}
	}
	return true
}

// hasAttachment tells what Summary.Attachment says.
func (p *Part) hasAttachment() bool {
	switch {
	case p.isSignature():
		return false
	case p.Disposition == "attachment":
		return true
	case p.Type == "multipart":
		for _, c := range p.Children {
			if c.hasAttachment() {
				return true
			}
		}
		return false
	case p.Type == "text":
		return p.Disposition != "inline" && p.Subtype != "plain" && p.Subtype != "html" && p.Subtype != "enriched" &&
			p.Subtype != "rfc822-headers"
	}
	return p.ID == "" || p.Disposition != "inline" // a picture that the text shows is none
}

// isSignature tells whether the part only serves to check or read the others.
func (p *Part) isSignature() bool {
	if p.Type != "application" {
		return false
	}
	switch p.Subtype {
	case "pgp-signature", "pkcs7-signature", "x-pkcs7-signature", "pgp-encrypted":
		return true
	}
	return false
}
