package sendmail

import (
	"bufio"
	"bytes"
	"io"

	"postel/internal/message"
)

// maxName bounds how far the colon of a field is looked for.
const maxName = 1000

// headed puts the empty line that ends a header in front of the first line that can be no field, as sendmail does:
// `echo text | sendmail someone` has no header at all.
func headed(in *bufio.Reader) io.Reader {
	var h bytes.Buffer
	for h.Len() <= message.MaxHeader {
		front, err := in.Peek(maxName)
		if len(front) == 0 && err != nil || front[0] == '\n' || bytes.HasPrefix(front, []byte("\r\n")) {
			break
		}
		folded := h.Len() > 0 && (front[0] == ' ' || front[0] == '\t')
		if !folded && !isField(front) {
			h.WriteString("\r\n")
			break
		}
		if !copyLine(&h, in) {
			break
		}
	}
	return io.MultiReader(&h, in)
}

// isField tells whether a line begins with the name of a field and a colon (RFC 5322 §2.2).
func isField(line []byte) bool {
	for i, c := range line {
		switch {
		case c == ':':
			return i > 0
		case c == ' ' || c == '\t':
			rest := bytes.TrimLeft(line[i:], " \t")
			return i > 0 && len(rest) > 0 && rest[0] == ':'
		case c <= ' ' || c >= 0x7f:
			return false
		}
	}
	return false
}

// copyLine moves a line; false at the end of the input, or when it is longer than a header may be.
func copyLine(to *bytes.Buffer, in *bufio.Reader) bool {
	for to.Len() <= message.MaxHeader {
		piece, err := in.ReadSlice('\n')
		to.Write(piece)
		if err == nil {
			return true
		}
		if err != bufio.ErrBufferFull {
			return false
		}
	}
	return false
}
