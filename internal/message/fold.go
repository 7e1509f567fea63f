package message

import "strings"

// maxLine is where we fold the fields that we write (RFC 5322 §2.1.1).
const maxLine = 76

// FoldText folds a value that has been encoded, so that lines stay within 76 octets where it has blanks to fold at.
// used is the number of octets that stand in front of it on its line, as the name and ": ".
func FoldText(value string, used int) string {
	if used+len(value) <= maxLine {
		return value
	}
	var b strings.Builder
	for first := true; value != ""; first = false {
		n := strings.IndexAny(value[1:], " \t") + 1 // a piece is a word with the blanks in front of it
		if n <= 0 {
			n = len(value)
		}
		for n < len(value) && (value[n-1] == ' ' || value[n-1] == '\t') {
			n++
		}
		piece := value[:n]
		value = value[n:]
		if !first && used+len(piece) > maxLine && strings.Trim(piece, " \t") != "" {
			b.WriteString("\r\n")
			used = 0
		}
		b.WriteString(piece)
		used += len(piece)
	}
	return b.String()
}

// AddText adds an unstructured field: text in UTF-8 is encoded where it must be, and folded.
func (h *Header) AddText(name, text string) { h.Add(name, FoldText(EncodeText(text), len(name)+2)) }

// AddAddresses adds an address field, folded.
func (h *Header) AddAddresses(name string, list ...Address) {
	h.Add(name, FoldText(FormatAddressList(list), len(name)+2))
}

// FoldLong folds the fields that have a line beyond MaxLineOctets, at their blanks and as late as possible, so that nothing
// else of them changes. It gives the name of a field that has no blank to fold at; "" when all lines fit.
func (h *Header) FoldLong() (tooLong string) {
	for i, f := range h.fields {
		if !hasLongLine(f.raw) {
			continue
		}
		raw := foldLong(f.raw)
		if hasLongLine(raw) {
			return f.Name()
		}
		h.fields[i] = newField(raw)
	}
	return ""
}

func hasLongLine(raw string) bool {
	for line := range strings.Lines(raw) {
		if len(strings.TrimRight(line, "\r\n")) > MaxLineOctets {
			return true
		}
	}
	return false
}
