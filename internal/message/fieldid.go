package message

// fieldID names the header fields that the MIME parser looks at.
type fieldID uint8

const (
	fieldOther fieldID = iota
	fieldFrom
	fieldTo
	fieldCc
	fieldBcc
	fieldSubject
	fieldDate
	fieldMessageID
	fieldReferences
	fieldInReplyTo
	fieldReplyTo
	fieldSender
	fieldListID
	fieldImportance
	fieldContentType
	fieldContentID
	fieldContentDescription
	fieldContentEncoding
	fieldContentDisposition
	fieldContentLanguage
	fieldContentLocation
	fieldContentMD5
)

// kept tells whether the field belongs into Summary.Fields.
func (id fieldID) kept() bool { return id >= fieldFrom && id <= fieldContentType }

// fieldOf finds the id of a name in any case.
func fieldOf(name string) fieldID {
	var b [32]byte
	if len(name) < 2 || len(name) >= len(b) {
		return fieldOther
	}
	for i := range len(name) {
		c := name[i]
		if c >= 'A' && c <= 'Z' {
			c += 'a' - 'A'
		}
		b[i] = c
	}
	if len(name) > 8 && string(b[:8]) == "content-" {
		return contentField(b[8:len(name)])
	}
	switch string(b[:len(name)]) {
	case "from":
		return fieldFrom
	case "to":
		return fieldTo
	case "cc":
		return fieldCc
	case "bcc":
		return fieldBcc
	case "subject":
		return fieldSubject
	case "date":
		return fieldDate
	case "message-id":
		return fieldMessageID
	case "references":
		return fieldReferences
	case "in-reply-to":
		return fieldInReplyTo
	case "reply-to":
		return fieldReplyTo
	case "sender":
		return fieldSender
	case "list-id":
		return fieldListID
	case "importance":
		return fieldImportance
	}
	return fieldOther
}

// contentField finds the fields of RFC 2045, RFC 2183, RFC 3282, RFC 2557 and RFC 1864 by what follows "content-".
func contentField(b []byte) fieldID {
	switch string(b) {
	case "type":
		return fieldContentType
	case "id":
		return fieldContentID
	case "description":
		return fieldContentDescription
	case "transfer-encoding":
		return fieldContentEncoding
	case "disposition":
		return fieldContentDisposition
	case "language":
		return fieldContentLanguage
	case "location":
		return fieldContentLocation
	case "md5":
		return fieldContentMD5
	}
	return fieldOther
}
