package tlsrpt

import (
	"bytes"
	"io"
	"strings"

	"postel/internal/mail"
	"postel/internal/message"
)

// maxMessage bounds a message that is looked through for a report, in octets: one of 10 MiB that is not compressed.
const maxMessage = 16 << 20

// IsReport tells by the Content-Type of a message whether it brings a report: multipart/report with report-type=tlsrpt,
// or the report alone (RFC 8460 §5.3).
func IsReport(contentType string) bool {
	typ, subtype, params, ok := message.ParseMediaType(contentType)
	p := message.Part{Type: typ, Subtype: subtype}
	return ok && (p.Is("multipart/report") && strings.EqualFold(message.ParamValue(params, "report-type"), "tlsrpt") || isJSON(&p))
}

func isJSON(p *message.Part) bool {
	return p.Is("application/tlsrpt+gzip") || p.Is("application/tlsrpt+json")
}

// PartOf gives the part of a message that is the report; nil without one. Senders that do not know its media types are
// understood by its file name.
func PartOf(root *message.Part) (found *message.Part) {
	root.Walk(func(p *message.Part) bool {
		name := strings.ToLower(p.Filename())
		switch {
		case isJSON(p) && (found == nil || !isJSON(found)):
			found = p
		case found == nil && !p.IsMultipart() && (strings.HasSuffix(name, ".json.gz") || strings.HasSuffix(name, ".json")):
			found = p
		}
		return true
	})
	return found
}

// ReadPart reads the report from the body of the part of a message.
func ReadPart(p *message.Part, body io.Reader) (*Report, error) {
	return Read(message.DecodeReader(p.Encoding, body))
}

// ReadAny reads a report as it comes: the JSON, compressed or not, or a message that brings it. Errors as Read; Kind
// NotFound when the message brings none.
func ReadAny(r io.Reader) (*Report, error) {
	b, err := io.ReadAll(io.LimitReader(r, maxMessage+1))
	switch {
	case err != nil:
		return nil, err
	case len(b) > maxMessage:
		return nil, mail.E("tlsrpt.read", mail.TooLarge, "it is larger than 16 MiB")
	}
	front := bytes.TrimLeft(bytes.TrimPrefix(b[:min(len(b), 64)], []byte("\xef\xbb\xbf")), " \t\r\n")
	if bytes.HasPrefix(front, []byte{'{'}) || bytes.HasPrefix(b, []byte{0x1f, 0x8b}) {
		return Read(bytes.NewReader(b))
	}
	p := message.NewParser(message.Limits{})
	_, _ = p.Write(b) // never fails
	root, err := p.Close()
	if err != nil {
		return nil, err
	}
	part := PartOf(root)
	if part == nil {
		return nil, mail.E("tlsrpt.read", mail.NotFound, "no report on TLS is in it")
	}
	return ReadPart(part, bytes.NewReader(b[part.BodyStart:part.End]))
}
