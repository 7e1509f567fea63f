// Package srs rewrites the senders of forwarded mail, so that the mail passes where their domain's SPF is asked, and
// leads what comes back to them: the Sender Rewriting Scheme in the form of libsrs2 and PostSRSd.
//
//	alice@a.example, forwarded by b.example   SRS0=HASH=TT=a.example=alice@b.example
//	and then by c.example                     SRS1=HASH=b.example==HASH=TT=a.example=alice@c.example
//
// HASH is the beginning, in base64, of an HMAC-SHA-1 under a secret of the forwarder over what follows it, in lower case
// and without the signs between (so the sign between host and user may move: the format wants it so); TT are the days since 1970 modulo 1,024 in two letters of base32. Letters may lose their
// case on the way, and base64 may be of either alphabet. Whoever has no secret makes no address that leads anywhere: this
// is what keeps the way back from being an open relay.
//
// It is pure: the caller decides what is forwarded, and whether a domain is its own.
package srs

import (
	"crypto/hmac"
	"crypto/sha1"
	"crypto/subtle"
	"encoding/base64"
	"strings"
	"time"

	"postel/internal/mail"
)

// Options of a Rewriter. Secrets are needed.
type Options struct {
	Secrets [][]byte // the first is used; those of the others are still taken
	Days    int      // for which an address leads back; 0 is 21
	Hash    int      // characters of HASH: what is shorter is taken for forged; 0 is 6, at least 4, at most 27
}

// Rewriter makes addresses and reads them back. Safe for concurrent use.
type Rewriter struct{ o Options }

// New makes a Rewriter.
func New(o Options) *Rewriter {
	if o.Days <= 0 {
		o.Days = 21
	}
	if o.Hash == 0 {
		o.Hash = 6
	}
	o.Hash = min(max(o.Hash, 4), 27) // 20 octets
	return &Rewriter{o}
}

// tagged splits off "SRS0" or "SRS1" with the sign behind it; false for other local parts.
func tagged(local string) (tag byte, rest string, ok bool) {
	if len(local) < 6 || !strings.EqualFold(local[:3], "SRS") || local[3] != '0' && local[3] != '1' || !strings.ContainsRune("=+-", rune(local[4])) {
		return 0, "", false
	}
	return local[3], local[5:], true
}

// Is tells whether an address looks like one of some forwarder.
func Is(a mail.Address) bool {
	_, _, ok := tagged(a.Local)
	return ok
}

// Forward gives the sender under which the domain forwards mail of another; false when that would be no address:
// the null sender, one without a domain, or one that would be too long (RFC 5321 §4.5.3.1.3).
func (w *Rewriter) Forward(from mail.Address, domain mail.Domain, now time.Time) (mail.Address, bool) {
	if from.Local == "" || from.Domain == "" {
		return from, false
	}
	host, user, first := string(from.Domain), from.Local, true
	switch tag, rest, ok := tagged(from.Local); {
	case ok && tag == '0':
		user, first = from.Local[4:], false
	case ok:
		if _, h, u, whole := cut3(rest); whole && strings.ContainsRune("=+-", rune(u[0])) {
			host, user, first = h, u, false
		}
	}
	out := mail.Address{Domain: domain}
	if first {
		stamp := stampOf(now)
		out.Local = "SRS0=" + w.hash(w.o.Secrets[0], stamp, host, user) + "=" + stamp + "=" + host + "=" + user
	} else {
		out.Local = "SRS1=" + w.hash(w.o.Secrets[0], host, user) + "=" + host + "=" + user
	}
	if len(out.String()) > mail.MaxPath-2 {
		return from, false
	}
	return out, true
}

// cut3 splits "a=b=c", of which c may have more of the sign.
func cut3(s string) (a, b, c string, ok bool) {
	a, rest, _ := strings.Cut(s, "=")
	b, c, _ = strings.Cut(rest, "=")
	return a, b, c, a != "" && b != "" && c != ""
}

// Reverse gives the sender to whom an address of ours leads back. Kinds: NotFound when it is none that a forwarder
// makes, Denied (5.7.1) when it was not made with a secret of ours or too long ago.
func (w *Rewriter) Reverse(a mail.Address, now time.Time) (mail.Address, error) {
	tag, rest, ok := tagged(a.Local)
	hash, second, third, whole := cut3(rest)
	if !ok || !whole {
		return mail.Address{}, mail.E("srs.reverse", mail.NotFound, "not the address of a forwarder")
	}
	if tag == '1' {
		if !w.made(hash, second, third) || !strings.ContainsRune("=+-", rune(third[0])) {
			return mail.Address{}, denied("this address was not made by our forwarder")
		}
		return address("SRS0"+third, second)
	}
	host, user, whole := strings.Cut(third, "=")
	if !whole || host == "" || user == "" {
		return mail.Address{}, mail.E("srs.reverse", mail.NotFound, "not the address of a forwarder")
	}
	if !w.made(hash, second, host, user) {
		return mail.Address{}, denied("this address was not made by our forwarder")
	}
	if !w.fresh(second, now) {
		return mail.Address{}, denied("this address of our forwarder has expired")
	}
	return address(user, host)
}

// address checks what was protected: it must be an address that can be written to.
func address(user, host string) (mail.Address, error) {
	d, err := mail.ParseDomain(host)
	a := mail.Address{Local: user, Domain: d}
	if err == nil {
		_, err = mail.ParseAddress(a.String())
	}
	if err != nil {
		return mail.Address{}, denied("this address of our forwarder leads nowhere")
	}
	return a, nil
}

func denied(text string) error {
	return &mail.Error{Op: "srs.reverse", Kind: mail.Denied, Code: mail.Enhanced{5, 7, 1}, Text: text}
}

// made tells whether a hash is ours over these parts.
func (w *Rewriter) made(hash string, parts ...string) bool {
	if len(hash) < w.o.Hash {
		return false
	}
	hash = canonical(hash[:w.o.Hash])
	ok := 0
	for _, s := range w.o.Secrets {
		ok |= subtle.ConstantTimeCompare([]byte(hash), []byte(canonical(w.hash(s, parts...))))
	}
	return ok == 1
}

func (w *Rewriter) hash(secret []byte, parts ...string) string {
	h := hmac.New(sha1.New, secret)
	for _, p := range parts {
		h.Write([]byte(lower(p)))
	}
	return base64.RawURLEncoding.EncodeToString(h.Sum(nil))[:w.o.Hash]
}

// lower is that of ASCII, as all who make such addresses have it.
func lower(s string) string {
	return strings.Map(func(r rune) rune {
		if r >= 'A' && r <= 'Z' {
			return r + 'a' - 'A'
		}
		return r
	}, s)
}

// canonical gives base64 of either alphabet and of any case alike.
func canonical(s string) string { return strings.NewReplacer("+", "-", "/", "_").Replace(lower(s)) }

const (
	base32 = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"
	slots  = len(base32) * len(base32)
)

func day(t time.Time) int { return int(t.Unix() / (24 * 3600) % int64(slots)) }

func stampOf(t time.Time) string {
	d := day(t)
	return string([]byte{base32[d>>5], base32[d&31]})
}

// fresh tells whether a stamp is of the last days.
func (w *Rewriter) fresh(stamp string, now time.Time) bool {
	if len(stamp) != 2 {
		return false
	}
	hi, lo := strings.IndexByte(base32, upper(stamp[0])), strings.IndexByte(base32, upper(stamp[1]))
	if hi < 0 || lo < 0 {
		return false
	}
	return (day(now)-(hi<<5|lo)+slots)%slots <= w.o.Days
}

func upper(c byte) byte {
	if c >= 'a' && c <= 'z' {
		return c - 'a' + 'A'
	}
	return c
}
