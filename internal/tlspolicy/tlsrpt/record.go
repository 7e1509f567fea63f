package tlsrpt

import (
	"net/netip"
	"net/url"
	"strings"
)

// maxAddresses is how many addresses of a record are heard.
const maxAddresses = 8

// Record says where a domain's owner wants reports (RFC 8460 §3).
type Record struct {
	HTTPS  []string // addresses to which a report is posted
	Mailto []string // addresses of mail
}

// ParseRecord reads the TXT records at _smtp._tls.DOMAIN (RFC 8460 §3). Records of other kinds do not count, nor do
// fields that are not known, and addresses with another scheme. With none, or more than one, or one that is broken,
// nothing is to be reported: ok is false, and why says so.
func ParseRecord(texts []string) (r Record, why string, ok bool) {
	var found []string
	for _, t := range texts {
		if rest, ok := strings.CutPrefix(t, "v=TLSRPTv1"); ok && strings.HasPrefix(strings.TrimLeft(rest, " \t"), ";") {
			found = append(found, rest)
		}
	}
	switch len(found) {
	case 0:
		return Record{}, "no record begins with v=TLSRPTv1;", false
	case 1:
	default:
		return Record{}, "more than one record begins with v=TLSRPTv1;", false
	}
	fields := strings.Split(found[0], ";")[1:]
	wanted := false
	for i, f := range fields {
		f = strings.Trim(f, " \t")
		name, value, cut := strings.Cut(f, "=")
		switch {
		case f == "" && i == len(fields)-1:
		case !cut || !fieldName(name) || name != "rua" && !fieldValue(value):
			return Record{}, "the record is not a list of name=value", false
		case name == "rua":
			wanted = true
			if why := r.take(value); why != "" {
				return Record{}, why, false
			}
		}
	}
	if !wanted {
		return Record{}, "the record has no rua", false
	}
	return r, "", true
}

// take reads the addresses of one rua.
func (r *Record) take(value string) (why string) {
	for a := range strings.SplitSeq(value, ",") {
		a = strings.Trim(a, " \t")
		u, err := url.Parse(a)
		switch {
		case err != nil || u.Scheme == "" || !addressText(a):
			return "an address of the record is no URI"
		case len(r.HTTPS)+len(r.Mailto) == maxAddresses:
			return ""
		case u.Scheme == "mailto":
			if _, domain, ok := strings.Cut(u.Opaque, "@"); !ok || domain == "" {
				return "an address of the record is no URI"
			}
			r.Mailto = append(r.Mailto, a)
		case u.Scheme == "https":
			if !hostName(u) {
				return "an address of the record has no host"
			}
			r.HTTPS = append(r.HTTPS, a)
		}
	}
	return ""
}

// hostName wants a host with a name and nobody's login: a certificate is for a name, and addresses are for us to look up.
func hostName(u *url.URL) bool {
	host := u.Hostname()
	_, err := netip.ParseAddr(host)
	return host != "" && err != nil && u.User == nil && u.Opaque == ""
}

// addressText wants the characters of a URI (RFC 3986 §2), without those that RFC 8460 §3 wants encoded.
func addressText(s string) bool {
	for i := range len(s) {
		if c := s[i]; c <= ' ' || c >= 0x7f || strings.IndexByte(`!"<>\^`+"`{|}", c) >= 0 {
			return false
		}
	}
	return true
}

// fieldName is the name of a field: 32 letters, digits, "_", "-" and "." at most.
func fieldName(s string) bool {
	for i := range len(s) {
		c := s[i]
		alnum := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
		if !alnum && (i == 0 || strings.IndexByte("_-.", c) < 0) {
			return false
		}
	}
	return s != "" && len(s) <= 32
}

// fieldValue is the value of a field to come.
func fieldValue(s string) bool {
	for i := range len(s) {
		if c := s[i]; c <= ' ' || c >= 0x7f || c == '=' || c == ';' {
			return false
		}
	}
	return s != ""
}
