package sasl

import (
	"bytes"
	"encoding/base64"

	"postel/internal/mail"
)

// DecodeInitial decodes an initial response as it stands behind the mechanism's name: "=" is an empty one, which
// differs from none (RFC 4954 §4, RFC 5034 §4, RFC 9051 §6.2.2).
func DecodeInitial(word []byte) ([]byte, error) {
	if len(word) == 1 && word[0] == '=' {
		return []byte{}, nil
	}
	if len(word) == 0 {
		return nil, malformed("an empty initial response is =")
	}
	return Decode(word)
}

// Decode decodes a response line without its CRLF; the result is never nil. Errors: Canceled for "*", by which
// a client gives up; TooLarge; Invalid.
func Decode(line []byte) ([]byte, error) {
	if len(line) > MaxLine {
		return nil, &mail.Error{
			Op: "sasl.decode", Kind: mail.TooLarge, Code: mail.Enhanced{5, 5, 6},
			Text: "authentication exchange line is too long",
		}
	}
	if len(line) == 1 && line[0] == '*' {
		return nil, mail.E("sasl.decode", mail.Canceled, "authentication cancelled by the client")
	}
	out := make([]byte, base64.StdEncoding.DecodedLen(len(line)))
	n, err := base64.StdEncoding.Decode(out, line)
	if err != nil || bytes.ContainsAny(line, "\r\n") { // which the decoder would skip
		return nil, &mail.Error{
			Op: "sasl.decode", Kind: mail.Invalid, Code: mail.Enhanced{5, 5, 2},
			Text: "invalid base64 data",
		}
	}
	return out[:n], nil
}

// Encode gives a challenge or response in base64; nothing for nothing.
func Encode(b []byte) string { return base64.StdEncoding.EncodeToString(b) }

// EncodeInitial gives an initial response for the command line: "=" for an empty one.
func EncodeInitial(b []byte) string {
	if len(b) == 0 {
		return "="
	}
	return Encode(b)
}
