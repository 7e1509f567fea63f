package message

import (
	"slices"
	"strconv"
	"strings"
)

// maxParams is the largest number of parameters that one field gives; what follows is left out.
const maxParams = 100

// maxParamText is how much of a field is searched for parameters, in octets.
const maxParamText = 64 << 10

// Param is one parameter of Content-Type or Content-Disposition as it stands in the field, its quotes removed: what
// BODYSTRUCTURE shows. Use ParamValue for its meaning.
type Param struct {
	Name  string // as written
	Value string // without quotes; sections and encodings of RFC 2231 left alone
}

// ParseParams splits "value; name=value; …" (RFC 2045 §5.1) tolerantly: missing quotes around blanks, comments and
// empty parameters are taken. At most 100 parameters in the first 64 KiB are given.
func ParseParams(s string) (value string, params []Param) {
	value, s = cutParam(s[:min(len(s), maxParamText)])
	value = strings.Trim(value, " \t")
	for s != "" && len(params) < maxParams {
		var piece string
		piece, s = cutParam(s)
		name, v, ok := strings.Cut(piece, "=")
		name = strings.Trim(name, " \t\r\n")
		if !ok || name == "" {
			continue
		}
		params = append(params, Param{Name: name, Value: paramValue(v)})
	}
	return value, params
}

// cutParam cuts s at the first semicolon outside of quotes and comments.
func cutParam(s string) (piece, rest string) {
	simple := strings.IndexByte(s, ';')
	if simple >= 0 && strings.IndexByte(s[:simple], '"') < 0 {
		return s[:simple], s[simple+1:]
	}
	if simple < 0 {
		return s, ""
	}
	quoted := false
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '\\' && quoted:
			i++
		case c == '"':
			quoted = !quoted
		case c == ';' && !quoted:
			return s[:i], s[i+1:]
		}
	}
	if quoted { // a quote that is never closed quotes nothing
		return s[:simple], s[simple+1:]
	}
	return s, ""
}

func paramValue(s string) string {
	s = strings.Trim(s, " \t\r\n")
	if !strings.HasPrefix(s, `"`) {
		if i := strings.IndexByte(s, '('); i > 0 && (s[i-1] == ' ' || s[i-1] == '\t') {
			s = strings.TrimRight(s[:i], " \t")
		}
		return strings.Trim(s, `"`)
	}
	for i := 1; i < len(s); i++ {
		switch s[i] {
		case '\\':
			i++
		case '"':
			if s = s[1:i]; strings.IndexByte(s, '\\') >= 0 {
				s = unescape(s)
			}
			return s
		}
	}
	return s[1:]
}

// ParamValue gives the meaning of a parameter as UTF-8 without line ends: sections joined, RFC 2231 decoded, and
// encoded words decoded, which RFC 2047 forbids there and mailers write. "" when it is not there.
func ParamValue(params []Param, name string) string {
	for _, p := range params {
		if strings.EqualFold(p.Name, name) {
			return DecodeText(p.Value)
		}
	}
	var sections []section
	for _, p := range params {
		if s, ok := newSection(p, name); ok {
			sections = append(sections, s)
		}
	}
	slices.SortStableFunc(sections, func(a, b section) int { return a.number - b.number })
	return joinSections(sections)
}

// section is one piece of a parameter (RFC 2231 §3 and §4).
type section struct {
	number  int
	encoded bool
	value   string
}

// newSection takes name*, name*0 and name*0* apart.
func newSection(p Param, name string) (s section, ok bool) {
	if len(p.Name) <= len(name) || !strings.EqualFold(p.Name[:len(name)], name) || p.Name[len(name)] != '*' {
		return s, false
	}
	rest := p.Name[len(name)+1:]
	s.value = p.Value
	if rest == "" {
		s.encoded = true
		return s, true
	}
	rest, s.encoded = strings.CutSuffix(rest, "*")
	n, err := strconv.Atoi(rest)
	if err != nil || n < 0 || n > maxParams {
		return s, false
	}
	s.number = n
	return s, true
}

func joinSections(sections []section) string {
	var b []byte
	charset := ""
	for i, s := range sections {
		if i > 0 && s.number != sections[i-1].number+1 {
			break // a section is missing or there twice
		}
		v := s.value
		if s.encoded && i == 0 {
			if c, rest, ok := strings.Cut(v, "'"); ok {
				if _, text, ok := strings.Cut(rest, "'"); ok {
					charset, v = c, text
				}
			}
		}
		if s.encoded {
			b = appendPercent(b, v)
		} else {
			b = append(b, v...)
		}
	}
	text, _ := DecodeCharset(charset, b)
	return cleanText(text)
}

func appendPercent(b []byte, s string) []byte {
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c == '%' && i+2 < len(s) {
			if v, ok := unhex(s[i+1], s[i+2]); ok {
				c = v
				i += 2
			}
		}
		b = append(b, c)
	}
	return b
}

// FormatParam gives `; name=value` for a field that we write, quoted where it must be and encoded when it is not
// ASCII (RFC 2231 §4).
func FormatParam(name, value string) string {
	value = cleanText(value)
	if isASCII(value) {
		if isParamToken(value) {
			return "; " + name + "=" + value
		}
		return "; " + name + "=" + quoteString(value)
	}
	const hex = "0123456789ABCDEF"
	b := []byte("; " + name + "*=utf-8''")
	for i := range len(value) {
		if c := value[i]; isAlnum(c) || strings.IndexByte("!#$&+-.^_`{}|~", c) >= 0 {
			b = append(b, c)
		} else {
			b = append(b, '%', hex[c>>4], hex[c&15])
		}
	}
	return string(b)
}

// isParamToken tells whether s is a token of RFC 2045 §5.1.
func isParamToken(s string) bool {
	for i := range len(s) {
		if c := s[i]; c <= ' ' || c >= 0x7f || strings.IndexByte(`()<>@,;:\"/[]?=`, c) >= 0 {
			return false
		}
	}
	return s != ""
}

// ParseMediaType reads Content-Type: type and subtype in lower case. What is no media type gives ok false.
func ParseMediaType(s string) (typ, subtype string, params []Param, ok bool) {
	value, params := ParseParams(s)
	if i := strings.IndexByte(value, '('); i >= 0 {
		value = value[:i]
	}
	typ, subtype, _ = strings.Cut(value, "/")
	typ, subtype = strings.Trim(typ, " \t"), strings.Trim(subtype, " \t")
	if i := strings.IndexAny(subtype, " \t"); i >= 0 {
		subtype = subtype[:i]
	}
	if !isParamToken(typ) || !isParamToken(subtype) {
		return "", "", nil, false
	}
	return strings.ToLower(typ), strings.ToLower(subtype), params, true
}
