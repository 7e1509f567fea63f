package mtasts

import (
	"strconv"
	"strings"
	"time"

	"postel/internal/mail"
)

// Mode is what the owner wants done when a host does not fit (RFC 8461 §5).
type Mode string

// The modes.
const (
	None    Mode = "none"    // there is no policy any more
	Testing Mode = "testing" // deliver all the same
	Enforce Mode = "enforce" // do not deliver to that host
)

// Policy is what a domain's owner published.
type Policy struct {
	Mode   Mode          `json:"mode"`
	MX     []string      `json:"mx,omitempty"` // host names in A-labels, or "*." and a name
	MaxAge time.Duration `json:"max_age"`
}

// Bounds on a policy.
const (
	maxPolicy = 64 << 10 // octets (RFC 8461 §3.3)
	maxHosts  = 500      // mx lines
	longest   = 31557600 // seconds of max_age (§3.2)
)

// ParsePolicy reads the body of a policy (RFC 8461 §3.2). Lines may end with LF or CRLF; fields that are not known are
// left alone; of those given twice, but mx, the first counts. Errors have Kind Invalid and say what is wrong.
func ParsePolicy(body []byte) (Policy, error) {
	if len(body) > maxPolicy {
		return Policy{}, bad("it is larger than 64 KiB")
	}
	var p Policy
	seen := map[string]bool{}
	for line := range strings.SplitSeq(string(body), "\n") {
		line = strings.Trim(strings.TrimSuffix(line, "\r"), " \t")
		if line == "" {
			continue
		}
		name, value, ok := strings.Cut(line, ":")
		name, value = strings.TrimRight(name, " \t"), strings.Trim(value, " \t")
		if !ok || !fieldName(name) {
			return Policy{}, bad("a line is not a name, a colon and a value")
		}
		if seen[name] && name != "mx" {
			continue
		}
		seen[name] = true
		if err := p.field(name, value); err != nil {
			return Policy{}, err
		}
	}
	switch {
	case !seen["version"]:
		return Policy{}, bad("it has no version")
	case !seen["mode"]:
		return Policy{}, bad("it has no mode")
	case !seen["max_age"]:
		return Policy{}, bad("it has no max_age")
	case p.Mode != None && len(p.MX) == 0:
		return Policy{}, bad("it names no mx")
	}
	return p, nil
}

func (p *Policy) field(name, value string) error {
	switch name {
	case "version":
		if value != "STSv1" {
			return bad("its version is not STSv1")
		}
	case "mode":
		p.Mode = Mode(value)
		if p.Mode != None && p.Mode != Testing && p.Mode != Enforce {
			return bad("its mode is none of enforce, testing and none")
		}
	case "max_age":
		n, err := strconv.ParseUint(value, 10, 64)
		if err != nil || len(value) > 10 {
			return bad("its max_age is not a number of seconds")
		}
		p.MaxAge = time.Duration(min(n, longest)) * time.Second
	case "mx":
		host, wild := strings.CutPrefix(value, "*.")
		d, err := mail.ParseDomain(host)
		if _, literal := d.Literal(); err != nil || literal {
			return bad("an mx is not a host name")
		}
		if len(p.MX) == maxHosts {
			return bad("it names more than 500 mx")
		}
		if host = string(d); wild {
			host = "*." + host
		}
		p.MX = append(p.MX, host)
	}
	return nil
}

// Covers tells whether the policy names a host; a leading "*" stands for exactly one label (RFC 8461 §4.1).
func (p Policy) Covers(host string) bool {
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	_, parent, _ := strings.Cut(host, ".")
	for _, mx := range p.MX {
		if wild, ok := strings.CutPrefix(mx, "*."); mx == host || ok && wild == parent {
			return true
		}
	}
	return false
}

// ParseRecord reads the TXT records at _mta-sts.DOMAIN and gives the policy's id (RFC 8461 §3.1). Records of other
// kinds do not count. With none, or more than one, or one that is broken, the domain has no policy: "" and why.
func ParseRecord(texts []string) (id, why string) {
	var found []string
	for _, t := range texts {
		if rest, ok := strings.CutPrefix(t, "v=STSv1"); ok && strings.HasPrefix(strings.TrimLeft(rest, " \t"), ";") {
			found = append(found, rest)
		}
	}
	if len(found) != 1 {
		return "", map[bool]string{true: "no record begins with v=STSv1;", false: "more than one record begins with v=STSv1;"}[len(found) == 0]
	}
	fields := strings.Split(found[0], ";")[1:]
	for i, f := range fields {
		f = strings.Trim(f, " \t")
		name, value, ok := strings.Cut(f, "=")
		switch {
		case f == "" && i == len(fields)-1:
		case !ok || !fieldName(name):
			return "", "the record is not a list of name=value"
		case name == "id" && id == "":
			if !policyID(value) {
				return "", "the id is not 1 to 32 letters and digits"
			}
			id = value
		}
	}
	if id == "" {
		return "", "the record has no id"
	}
	return id, ""
}

func policyID(s string) bool {
	for i := range len(s) {
		if !alnum(s[i]) {
			return false
		}
	}
	return s != "" && len(s) <= 32
}

// fieldName checks the name of a field, one to come included: 32 letters, digits, "_", "-" and "." at most.
func fieldName(s string) bool {
	for i := range len(s) {
		if !alnum(s[i]) && (i == 0 || strings.IndexByte("_-.", s[i]) < 0) {
			return false
		}
	}
	return s != "" && len(s) <= 32
}

func alnum(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
}

func bad(why string) error {
	return mail.E("mtasts.policy", mail.Invalid, "the policy cannot be read: %s", why)
}
