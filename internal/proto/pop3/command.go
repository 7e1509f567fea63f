package pop3

import (
	"strings"
)

// Command is a line, cut into its verb in capitals and what stands behind the one space after it.
type Command struct {
	Verb string
	Args string
}

// ParseCommand cuts a line. A verb has at most 16 octets; what is longer is no verb.
func ParseCommand(line []byte) Command {
	verb, args, _ := strings.Cut(string(line), " ")
	if len(verb) > 16 {
		return Command{}
	}
	return Command{Verb: strings.ToUpper(verb), Args: args}
}

// None parses the arguments of a command that has none; blanks are forgiven.
func None(args string) (struct{}, error) {
	if strings.Trim(args, " ") != "" {
		return struct{}{}, syntax("the command takes no arguments")
	}
	return struct{}{}, nil
}

// Number parses a message number.
func Number(args string) (int, error) {
	n, ok := number(strings.Trim(args, " "))
	if !ok || n == 0 {
		return 0, syntax("a message number is needed")
	}
	return n, nil
}

// Optional parses a message number that may be left out: then it is 0.
func Optional(args string) (int, error) {
	if strings.Trim(args, " ") == "" {
		return 0, nil
	}
	return Number(args)
}

// Top is the arguments of TOP (RFC 1939 §7).
type Top struct {
	Message int
	Lines   int
}

// ParseTop parses a message number and a number of lines.
func ParseTop(args string) (Top, error) {
	f := strings.Fields(args)
	if len(f) == 2 {
		m, ok := number(f[0])
		n, ok2 := number(f[1])
		if ok && ok2 && m > 0 {
			return Top{m, n}, nil
		}
	}
	return Top{}, syntax("a message number and a number of lines are needed")
}

// number reads up to nine digits.
func number(s string) (n int, ok bool) {
	if s == "" || len(s) > 9 {
		return 0, false
	}
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return 0, false
		}
		n = n*10 + int(s[i]-'0')
	}
	return n, true
}

// Name parses the argument of USER: all there is, blanks around it aside.
func Name(args string) (string, error) {
	name := strings.Trim(args, " ")
	if name == "" {
		return "", syntax("a name is needed")
	}
	return name, nil
}

// Password parses the argument of PASS, which may have blanks anywhere (RFC 1939 §7).
func Password(args string) (string, error) { return args, nil }

// Digest is the arguments of APOP (RFC 1939 §7).
type Digest struct {
	Name string
	Hex  string // 32 digits in lower case
}

// ParseDigest parses a name and an MD5 digest.
func ParseDigest(args string) (Digest, error) {
	args = strings.Trim(args, " ")
	at := strings.LastIndexByte(args, ' ')
	if at <= 0 || len(args)-at-1 != 32 {
		return Digest{}, syntax("a name and a digest are needed")
	}
	d := Digest{Name: strings.TrimRight(args[:at], " "), Hex: strings.ToLower(args[at+1:])}
	if strings.Trim(d.Hex, "0123456789abcdef") != "" {
		return Digest{}, syntax("the digest is not hexadecimal")
	}
	return d, nil
}

// Auth is the arguments of AUTH (RFC 5034 §4).
type Auth struct {
	Mechanism string // in capitals
	Initial   string // in base64, "=" for an empty one; "" when none was given
}

// ParseAuth parses a mechanism and perhaps an initial response.
func ParseAuth(args string) (Auth, error) {
	f := strings.Fields(args)
	if len(f) == 0 || len(f) > 2 || len(f[0]) > 20 {
		return Auth{}, syntax("a mechanism is needed, and at most an initial response")
	}
	a := Auth{Mechanism: strings.ToUpper(f[0])}
	if len(f) == 2 {
		a.Initial = f[1]
	}
	return a, nil
}
