package message

import (
	"bufio"
	"errors"
	"io"
	"strings"

	"postel/internal/mail"
)

// ReadHeader reads a header section and leaves r at the first octet of the body. It takes broken lines as they are
// and an input that ends without an empty line. A section above limit octets (0 is MaxHeader) or of more than
// MaxFields fields gives Kind TooLarge, 5.3.4; other errors are those of r.
func ReadHeader(r *bufio.Reader, limit int) (Header, error) {
	if limit <= 0 {
		limit = MaxHeader
	}
	var b strings.Builder
	b.Grow(min(limit, 1024))
	lineLen, first := 0, byte(0) // of the current line so far
	for {
		piece, err := r.ReadSlice('\n')
		if b.Len()+len(piece) > limit {
			return Header{}, tooLarge("header section is larger than %d octets", limit)
		}
		b.Write(piece)
		if lineLen == 0 && len(piece) > 0 {
			first = piece[0]
		}
		lineLen += len(piece)
		switch {
		case err == nil && isBlankLine(lineLen, first), errors.Is(err, io.EOF):
			h, _ := ParseHeader(b.String())
			if len(h.fields) > MaxFields {
				return Header{}, tooLarge("header section has more than %d fields", MaxFields)
			}
			return h, nil
		case err == nil:
			lineLen = 0
		case !errors.Is(err, bufio.ErrBufferFull):
			return Header{}, err
		}
	}
}

// isBlankLine tells whether a line of n octets, line feed included, that starts with first is empty.
func isBlankLine(n int, first byte) bool { return n == 1 || n == 2 && first == '\r' }

func tooLarge(format string, args ...any) error {
	e := mail.E("message.header", mail.TooLarge, format, args...)
	e.Code = mail.Enhanced{5, 3, 4}
	return e
}

// EditHeader reads the header section of a message, lets edit change it, and gives a reader of the edited section
// and the untouched body, which is streamed. The section is mended first, so that fields may be put in front of the
// result (see Header.Mend). limit is as for ReadHeader, whose errors it gives, and those of edit.
// What edit leaves is written without an empty line when the message had none.
func EditHeader(r io.Reader, limit int, edit func(*Header) error) (io.Reader, error) {
	br := bufio.NewReaderSize(r, 4096)
	h, err := ReadHeader(br, limit)
	if err != nil {
		return nil, err
	}
	h.Mend()
	if err := edit(&h); err != nil {
		return nil, err
	}
	return &edited{h.String(), br}, nil
}

// edited is a header section and the body behind it. Copied from, it needs no buffer but the body's.
type edited struct {
	header string // what is left of it
	body   *bufio.Reader
}

func (e *edited) Read(p []byte) (int, error) {
	if e.header == "" {
		return e.body.Read(p)
	}
	n := copy(p, e.header)
	e.header = e.header[n:]
	return n, nil
}

// WriteTo implements io.WriterTo.
func (e *edited) WriteTo(w io.Writer) (int64, error) {
	n, err := io.WriteString(w, e.header)
	e.header = e.header[n:]
	if err != nil {
		return int64(n), err
	}
	m, err := e.body.WriteTo(w)
	return int64(n) + m, err
}

// Hops counts the Received fields, by which a loop is noticed (RFC 5321 §6.3).
func (h *Header) Hops() int { return h.Count("Received") }

// maxDelivered is how many addresses of Delivered-To fields are looked at: far more than a way through servers that
// bound it by MaxHops can leave. The newest stand first.
const maxDelivered = 1000

// DeliveredTo gives what tells whether a Delivered-To field names an address, the local part in any case. The fields
// are read now, so that many recipients cost no more than one and the header need not be kept.
func (h *Header) DeliveredTo() func(mail.Address) bool {
	seen := map[mail.Address]struct{}{}
	for f := range h.Fields("Delivered-To") {
		if len(seen) >= maxDelivered {
			break
		}
		for _, x := range ParseAddressList(f.Text()) {
			if a, err := mail.ParseAddress(x.Spec()); err == nil && len(seen) < maxDelivered {
				seen[a.Fold()] = struct{}{}
			}
		}
	}
	return func(a mail.Address) bool {
		_, ok := seen[a.Fold()]
		return ok
	}
}
