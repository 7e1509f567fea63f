package smtp

import (
	"bytes"

	"postel/internal/mail"
)

// BareLF says what is done with an LF in the content that follows no CR. It never ends a line before the end of
// the message has been found, so neither choice lets a message be smuggled in another.
type BareLF uint8

// The choices.
const (
	RefuseBareLF BareLF = iota // the message is refused once its end has come
	RepairBareLF               // it becomes CRLF, and is counted
)

// content holds the text of a message to the rules that are the same however it comes: its size, and lines that end
// with CRLF and hold neither bare CR, bare LF nor NUL.
type content struct {
	limit int64  // of decoded octets
	bare  BareLF // what to do

	size     int64 // decoded so far
	repaired int
	bol      bool   // at the beginning of a line: CRLF came before, or nothing
	cr       bool   // the last octet was CR
	pend     string // decoded and not yet given: the CRLF of a bare LF
	bad      error  // what is wrong with the message
}

func newContent(limit int64, bare BareLF) content {
	return content{limit: limit, bare: bare, bol: true}
}

// Size gives the number of decoded octets so far.
func (d *content) Size() int64 { return d.size }

// Repaired gives the number of bare LFs that became CRLF.
func (d *content) Repaired() int { return d.repaired }

// scan gives how many octets at the front of a chunk are plain content: up to a line that begins with a dot, up
// to a bare LF that is to be repaired, or all. It keeps the state and notes what is wrong.
func (d *content) scan(chunk []byte) (n int, bareLF bool) {
	pairs := 0 // CRLFs whose CR is in chunk
	hadCR := d.cr
	for n < len(chunk) {
		j := bytes.IndexByte(chunk[n:], '\n')
		if j < 0 {
			n = len(chunk)
			d.bol, d.cr = false, chunk[n-1] == '\r'
			break
		}
		lf := n + j
		inside := lf > 0 && chunk[lf-1] == '\r'
		d.bol, d.cr = inside || lf == 0 && hadCR, false
		if inside {
			pairs++
		}
		if !d.bol && d.bare == RepairBareLF && d.bad == nil {
			n, bareLF = lf, true
			break
		}
		if n = lf + 1; !d.bol {
			d.reject("bare LF in the message: lines end with CRLF")
		} else if n < len(chunk) && chunk[n] == '.' {
			break
		}
	}
	d.check(chunk[:n], hadCR, pairs)
	return n, bareLF
}

// check looks for bare CR and NUL in a run: each CR is one of a CRLF, or the run's last octet.
func (d *content) check(run []byte, hadCR bool, pairs int) {
	if len(run) == 0 {
		return
	}
	if run[len(run)-1] == '\r' {
		pairs++
	}
	if hadCR && run[0] != '\n' || bytes.Count(run, crlf[:1]) != pairs {
		d.reject("bare CR in the message: lines end with CRLF")
	}
	if bytes.IndexByte(run, 0) >= 0 {
		d.reject("NUL in the message")
	}
}

// took counts what scan gave, and gives the octets that it was on the wire.
func (d *content) took(n int, bareLF bool) int {
	d.count(n)
	if !bareLF {
		return n
	}
	d.repaired++
	d.pend = "\r\n"
	d.count(2)
	return n + 1
}

func (d *content) count(n int) {
	if d.size += int64(n); d.size > d.limit {
		d.tooLarge()
	}
}

func (d *content) tooLarge() { d.fail(mail.TooLarge, mail.Enhanced{5, 3, 4}, "message too large") }

func (d *content) reject(text string) { d.fail(mail.Rejected, mail.Enhanced{5, 5, 2}, text) }

// fail notes the first thing that is wrong.
func (d *content) fail(k mail.Kind, e mail.Enhanced, text string) {
	if d.bad == nil {
		d.bad = &mail.Error{Op: "smtp.data", Kind: k, Code: e, Text: text}
	}
}
