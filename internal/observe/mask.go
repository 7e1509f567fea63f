package observe

import (
	"bytes"
	"encoding/base64"
	"strings"
	"unicode/utf8"
)

const dots = "••••••••"

// Mask gives the text to keep of a line: cut at MaxLine, control characters made visible, and for a secret line
// only its command word (tag and verb, "AUTH PLAIN", "PASS") with dots for the rest.
func Mask(line []byte, secret bool) string { return string(appendMasked(nil, line, secret)) }

func appendMasked(dst, line []byte, secret bool) []byte {
	if secret {
		return append(dst, maskSecret(line)...)
	}
	if word, ok := scramChallenge(line); ok {
		return append(append(append(dst, word...), ' '), dots...)
	}
	kept := line[:min(len(line), MaxLine)]
	if bytes.IndexFunc(kept, unclean) < 0 {
		dst = append(dst, kept...)
	} else {
		dst = append(dst, clean(kept)...)
	}
	if len(kept) < len(line) {
		dst = append(dst, "…"...)
	}
	return dst
}

// unclean tells what clean would change.
func unclean(r rune) bool { return r < 0x20 && r != '\t' || r == 0x7f || r == utf8.RuneError }

// maskSecret keeps leading words of up to 24 letters, digits and dots that name the command, never the last
// word: what follows AUTH x, LOGIN, AUTHENTICATE x, PASS, APOP is hidden whole.
func maskSecret(line []byte) string {
	var kept []string
	words := bytes.Fields(line[:min(len(line), 256)])
	for i, w := range words {
		verb := strings.ToUpper(string(w))
		isVerb := verb == "AUTH" || verb == "LOGIN" || verb == "AUTHENTICATE" || verb == "PASS" || verb == "APOP"
		if !isVerb {
			continue
		}
		for _, t := range words[:i] {
			kept = append(kept, clean(t))
		}
		kept = append(kept, verb)
		if (verb == "AUTH" || verb == "AUTHENTICATE") && i+1 < len(words) && len(words[i+1]) <= 24 {
			kept = append(kept, clean(words[i+1]))
		}
		break
	}
	if len(kept) > 3 { // a verb that far inside is data
		kept = nil
	}
	return strings.Join(append(kept, dots), " ")
}

// scramChallenge tells a server's line of SCRAM (RFC 5802 §7) by its text, and gives its first word. The salt and the
// server's signature together let whoever reads them guess the password at leisure.
func scramChallenge(line []byte) (word string, ok bool) {
	w, text, _ := bytes.Cut(bytes.TrimSpace(line), []byte(" "))
	if string(w) != "334" && string(w) != "+" {
		return "", false
	}
	b, err := base64.StdEncoding.DecodeString(string(text))
	return string(w), err == nil && (bytes.HasPrefix(b, []byte("r=")) || bytes.HasPrefix(b, []byte("v=")))
}

// clean makes control characters and octets that are not UTF-8 visible.
func clean(b []byte) string {
	s := strings.ToValidUTF8(string(b), "�")
	return strings.Map(func(r rune) rune {
		if r < 0x20 && r != '\t' {
			return 0x2400 + r // the control pictures
		}
		if r == 0x7f {
			return 0x2421
		}
		return r
	}, s)
}

// refuses tells whether a server's line is a refusal in SMTP, POP3 or IMAP.
func refuses(line []byte) bool {
	if len(line) >= 3 && (line[0] == '4' || line[0] == '5') && digit(line[1]) && digit(line[2]) {
		return len(line) == 3 || line[3] == ' ' || line[3] == '-'
	}
	if bytes.HasPrefix(line, []byte("-ERR")) {
		return true
	}
	_, rest, ok := bytes.Cut(line, []byte(" "))
	return ok && (bytes.HasPrefix(rest, []byte("NO ")) || bytes.HasPrefix(rest, []byte("BAD ")))
}

func digit(c byte) bool { return c >= '0' && c <= '9' }
