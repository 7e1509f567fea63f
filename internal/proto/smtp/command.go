package smtp

import (
	"strings"

	"postel/internal/mail"
)

// Command is a line taken apart: the verb in capitals and what stands behind it, without outer spaces.
type Command struct {
	Verb string
	Rest string
}

// maxVerb is how much of a first word is kept; no verb is so long.
const maxVerb = 16

// ParseCommand takes a line apart. It never fails: an unknown verb is the server's to refuse, "" included.
func ParseCommand(line []byte) Command {
	s := strings.Trim(string(line), " \t")
	i := strings.IndexAny(s, " \t")
	if i < 0 {
		i = len(s)
	}
	return Command{Verb: strings.ToUpper(s[:min(i, maxVerb)]), Rest: strings.TrimLeft(s[i:], " \t")}
}

// ParseHello reads the argument of EHLO, HELO or LHLO. It is what the client says of itself and nothing relies
// on it, so any printable word passes (RFC 5321 §4.1.4 forbids to refuse one for not matching); what stands
// behind the first word is dropped.
func ParseHello(rest string) (string, error) {
	name, _, _ := strings.Cut(rest, " ")
	if name == "" {
		return "", argError("say your host name, or [address]")
	}
	if len(name) > mail.MaxDomain {
		return "", argError("host name longer than %d octets", mail.MaxDomain)
	}
	for i := range len(name) {
		if name[i] <= 0x20 || name[i] == 0x7f {
			return "", argError("host name with a control character")
		}
	}
	return name, nil
}

// ParseNothing refuses an argument where there is none (RFC 5321 §4.1.1).
func ParseNothing(rest string) (struct{}, error) {
	if rest != "" {
		return struct{}{}, argError("no argument here")
	}
	return struct{}{}, nil
}

// ParseAnything takes any argument, or none (NOOP, HELP).
func ParseAnything(rest string) (string, error) { return rest, nil }

// ParseString wants an argument, of whatever form (VRFY, EXPN).
func ParseString(rest string) (string, error) {
	if rest == "" {
		return "", argError("an argument is missing")
	}
	return rest, nil
}

// Auth is the argument of AUTH (RFC 4954 §4).
type Auth struct {
	Mechanism string // in capitals
	Initial   string // the initial response in base64 or "=", not decoded; "" when there is none
}

// ParseAuth reads the argument of AUTH.
func ParseAuth(rest string) (Auth, error) {
	mech, initial, _ := strings.Cut(rest, " ")
	initial = strings.Trim(initial, " ")
	if mech == "" || len(mech) > 20 || strings.Contains(initial, " ") {
		return Auth{}, argError("AUTH mechanism [initial-response]")
	}
	return Auth{Mechanism: strings.ToUpper(mech), Initial: initial}, nil
}

// String gives the command's argument.
func (a Auth) String() string {
	if a.Initial == "" {
		return a.Mechanism
	}
	return a.Mechanism + " " + a.Initial
}

func argError(format string, args ...any) error {
	return Fail(501, mail.Invalid, mail.Enhanced{5, 5, 4}, format, args...)
}
