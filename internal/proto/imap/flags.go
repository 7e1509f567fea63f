package imap

import "strings"

// The system flags (RFC 3501 §2.3.2) and those of PERMANENTFLAGS.
const (
	Seen     = `\Seen`
	Answered = `\Answered`
	Flagged  = `\Flagged`
	Deleted  = `\Deleted`
	Draft    = `\Draft`
	Recent   = `\Recent`
	Any      = `\*` // in PERMANENTFLAGS: keywords may be made
)

var systemFlags = [...]string{Seen, Answered, Flagged, Deleted, Draft, Recent}

// maxFlag bounds a keyword in octets.
const maxFlag = 255

// flag is a system flag in its usual writing, any other flag-extension as given, or a keyword as given.
func (d *Decoder) flag() string {
	prefix := ""
	if d.take('\\') {
		prefix = `\`
	}
	f := prefix + d.atom()
	if len(f) > maxFlag {
		d.invalid("flag is too long")
		return ""
	}
	for _, s := range systemFlags {
		if strings.EqualFold(f, s) {
			return s
		}
	}
	return f
}

// flagList is flags in parentheses.
func (d *Decoder) flagList() []string {
	var flags []string
	d.list(maxItems, func() { flags = append(flags, d.flag()) })
	return flags
}
