package message

import (
	"strconv"
	"strings"
	"time"

	"postel/internal/mail"
)

// FormatDate writes a date as RFC 5322 §3.3 wants it, in t's own zone.
func FormatDate(t time.Time) string { return t.Format("Mon, 2 Jan 2006 15:04:05 -0700") }

// ParseDate reads the date of a header (RFC 5322 §3.3 and §4.3) tolerantly: comments, two and three digit years,
// zone names, a missing weekday, zone or seconds, the order of asctime, and RFC 3339 are taken. Without a zone it
// is UTC. What is no date gives Kind Invalid.
func ParseDate(s string) (time.Time, error) {
	s = stripComments(s)
	if len(s) > 128 {
		return time.Time{}, mail.E("message.date", mail.Invalid, "not a date")
	}
	var d dateParts
	for _, w := range strings.FieldsFunc(s, func(r rune) bool { return r == ' ' || r == '\t' || r == ',' }) {
		d.word(w)
	}
	if t, ok := d.time(); ok {
		return t, nil
	}
	if t, err := time.Parse(time.RFC3339, strings.TrimSpace(s)); err == nil {
		return t, nil
	}
	return time.Time{}, mail.E("message.date", mail.Invalid, "not a date")
}

// stripComments turns each comment into a blank; an open one hides the rest.
func stripComments(s string) string {
	if strings.IndexByte(s, '(') < 0 {
		return s
	}
	var b strings.Builder
	for {
		i := strings.IndexByte(s, '(')
		if i < 0 {
			b.WriteString(s)
			return b.String()
		}
		b.WriteString(s[:i])
		_, rest, ok := cutComment(s[i:])
		if !ok {
			return b.String()
		}
		b.WriteByte(' ')
		s = rest
	}
}

// dateParts collects what the words of a date can only mean, in any order.
type dateParts struct {
	day, month, year      int
	hour, minute, second  int
	zone                  int // seconds east
	hasTime, hasYear, bad bool
}

func (d *dateParts) word(w string) {
	switch {
	case w == "":
		d.bad = true
	case strings.Count(w, "-") == 2 && w[0] >= '0' && w[0] <= '9': // 1-Jan-2024
		for part := range strings.SplitSeq(w, "-") {
			d.word(part)
		}
	case strings.Contains(w, ":") && !d.hasTime:
		d.clock(w)
	case w[0] == '+' || w[0] == '-':
		d.offset(w)
	case w[0] >= '0' && w[0] <= '9':
		d.number(w)
	default:
		d.name(w)
	}
}

func (d *dateParts) number(w string) {
	n, err := strconv.Atoi(w)
	switch {
	case err != nil || len(w) > 5:
		d.bad = true
	case d.day == 0 && len(w) <= 2:
		d.day = n
	case !d.hasYear:
		d.hasYear = true
		d.year = fullYear(n, len(w))
	}
}

// fullYear completes obs-year (RFC 5322 §4.3).
func fullYear(n, digits int) int {
	switch {
	case digits >= 4:
		return n
	case digits == 2 && n < 50:
		return n + 2000
	}
	return n + 1900
}

func (d *dateParts) clock(w string) {
	d.hasTime = true
	if i := strings.IndexAny(w, "+-"); i > 0 {
		d.offset(w[i:])
		w = w[:i]
	}
	parts := strings.Split(w, ":")
	if len(parts) > 3 {
		d.bad = true
		return
	}
	for i, field := range []*int{&d.hour, &d.minute, &d.second} {
		if i >= len(parts) {
			break
		}
		digits, _, _ := strings.Cut(parts[i], ".")
		n, err := strconv.Atoi(digits)
		if err != nil || n < 0 || len(digits) > 2 {
			d.bad = true
			return
		}
		*field = n
	}
}

// offset reads "+hhmm"; one that cannot be is UTC, because the local time is still worth having.
func (d *dateParts) offset(w string) {
	digits := strings.ReplaceAll(w[1:], ":", "")
	n, err := strconv.Atoi(digits)
	if err != nil || len(digits) != 4 || digits[0] == '-' || digits[0] == '+' || n/100 > 23 || n%100 > 59 {
		return
	}
	d.zone = n/100*3600 + n%100*60
	if w[0] == '-' {
		d.zone = -d.zone
	}
}

func (d *dateParts) name(w string) {
	if len(w) >= 3 {
		for i, m := range [...]string{"jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"} {
			if strings.EqualFold(w[:3], m) {
				d.month = i + 1
				return
			}
		}
	}
	for _, z := range [...]struct {
		name  string
		hours int
	}{
		{"EST", -5},
		{"EDT", -4},
		{"CST", -6},
		{"CDT", -5},
		{"MST", -7},
		{"MDT", -6},
		{"PST", -8},
		{"PDT", -7},
		{"CET", 1},
		{"CEST", 2},
		{"BST", 1},
		{"JST", 9},
	} {
		if strings.EqualFold(w, z.name) {
			d.zone = z.hours * 3600
		}
	}
}

func (d *dateParts) time() (time.Time, bool) {
	if d.bad || d.day < 1 || d.day > 31 || d.month == 0 || !d.hasYear || d.year < 1 || d.year > 9999 ||
		!d.hasTime || d.hour > 23 || d.minute > 59 || d.second > 60 {
		return time.Time{}, false
	}
	zone := time.UTC
	if d.zone != 0 {
		zone = time.FixedZone("", d.zone)
	}
	t := time.Date(d.year, time.Month(d.month), d.day, d.hour, d.minute, min(d.second, 59), 0, zone)
	return t, t.Day() == d.day
}
