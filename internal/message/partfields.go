package message

import "strings"

// maxPinned is the largest header section that may stay in memory as a whole for the strings cut out of it.
const maxPinned = 16 << 10

// setDefaults gives what holds without any field: text/plain in US-ASCII (RFC 2045 §5.2), or a message in a digest
// (RFC 2046 §5.1.5).
func (p *Part) setDefaults(digest bool) {
	p.Type, p.Subtype, p.Encoding = "text", "plain", "7bit"
	p.Params = []Param{{Name: "charset", Value: "us-ascii"}}
	if digest {
		p.Type, p.Subtype, p.Params = "message", "rfc822", nil
	}
}

// readFields fills the innermost part from the header section at hand and gives the boundary of a multipart, or "".
func (p *Parser) readFields(part *Part) (boundary string) {
	part.Truncated = part.Truncated || p.hdrLong
	if p.hdrLong {
		p.stack[0].part.Truncated = true
	}
	parent := p.parent()
	message := parent == nil || parent.Type == "message"
	if message {
		part.Envelope = new(Envelope)
	}
	if parent == nil {
		part.Summary = new(Summary)
	}
	part.setDefaults(!message && parent.Subtype == "digest")
	k := &p.keep
	k.pinned = len(p.hdr) <= maxPinned && len(p.hdr) <= k.room
	if k.pinned {
		k.room -= len(p.hdr)
	}
	typed, encoded := false, false
	for rest := string(p.hdr); rest != ""; {
		var raw string
		raw, rest = cutField(rest)
		f := newField(raw)
		id := fieldOf(f.Name())
		switch {
		case id == fieldOther:
			continue
		case id == fieldContentType && !typed:
			typed = true
			boundary = part.readType(k, raw[f.name:])
		case id == fieldContentEncoding && !encoded:
			encoded = true
			part.readEncoding(k, raw[f.name:])
		case id > fieldContentEncoding || id == fieldContentID || id == fieldContentDescription:
			part.readContent(k, id, raw[f.name:])
		case message && id < fieldContentType:
			part.Envelope.take(k, id, raw[f.name:])
		}
		if part.Summary != nil && id.kept() {
			part.Summary.keepField(raw)
		}
	}
	if message {
		part.Envelope.finish()
	}
	return boundary
}

// keepField keeps the raw field if there is room.
func (s *Summary) keepField(raw string) {
	if len(s.Fields)+len(raw) > MaxKeptFields {
		s.Partial = true
		return
	}
	if s.Fields == nil {
		s.Fields = make([]byte, 0, 512)
	}
	s.Fields = append(s.Fields, raw...)
}

// readType reads Content-Type. What is no media type leaves the defaults.
func (p *Part) readType(k *keeper, s string) (boundary string) {
	typ, subtype, params, ok := ParseMediaType(unfold(s))
	if !ok {
		return ""
	}
	p.Type, p.Subtype, p.Params = k.own(typ), k.own(subtype), k.params(params)
	if p.Type == "" || p.Subtype == "" { // no room
		p.Type, p.Subtype = "application", "octet-stream"
	}
	if p.Type != "multipart" {
		return ""
	}
	for _, param := range p.Params {
		if strings.EqualFold(param.Name, "boundary") {
			boundary = param.Value
			break
		}
	}
	if boundary == "" {
		boundary = ParamValue(p.Params, "boundary")
	}
	if boundary = strings.TrimRight(boundary, " \t\r\n"); len(boundary) > maxBoundary {
		return ""
	}
	return boundary
}

// readEncoding reads Content-Transfer-Encoding (RFC 2045 §6.1).
func (p *Part) readEncoding(k *keeper, s string) {
	s = strings.Trim(stripComments(unfold(s)), " \t;\"")
	if i := strings.IndexAny(s, " \t;,"); i >= 0 {
		s = s[:i]
	}
	if s = k.own(strings.ToLower(s)); s != "" {
		p.Encoding = s
	}
}

// readContent reads the other fields that describe a part; the first of each counts.
func (p *Part) readContent(k *keeper, id fieldID, s string) {
	switch id {
	case fieldContentID:
		k.first(&p.ID, s)
	case fieldContentDescription:
		k.first(&p.Description, s)
	case fieldContentLocation:
		k.first(&p.Location, s)
	case fieldContentMD5:
		k.first(&p.MD5, s)
	case fieldContentDisposition:
		if p.Disposition == "" {
			value, params := ParseParams(unfold(s))
			if i := strings.IndexAny(value, " \t("); i > 0 {
				value = value[:i]
			}
			p.Disposition, p.DispositionParams = k.own(strings.ToLower(value)), k.params(params)
		}
	case fieldContentLanguage:
		if p.Language == nil {
			p.Language = k.languages(unfold(s))
		}
	}
}

// maxLanguages is the largest number of languages that a part tells.
const maxLanguages = 100

// languages reads Content-Language (RFC 3282 §2).
func (k *keeper) languages(s string) []string {
	var list []string
	for tag := range strings.SplitSeq(stripComments(s), ",") {
		if tag = strings.Trim(tag, " \t"); tag != "" && len(list) < maxLanguages && k.pay(paramCost) {
			list = append(list, k.own(tag))
		}
	}
	return list
}
