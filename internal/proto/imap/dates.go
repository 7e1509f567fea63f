package imap

import "time"

// dateTimeLayout is date-time of RFC 3501 §9; the day is padded with a space, and a zero is taken too.
const dateTimeLayout = `_2-Jan-2006 15:04:05 -0700`

// dateTime is a quoted date-time.
func (d *Decoder) dateTime() time.Time {
	s := d.quoted()
	if d.failed() {
		return time.Time{}
	}
	t, err := time.Parse(dateTimeLayout, s)
	if err != nil || len(s) != len(dateTimeLayout) || t.Year() < 1 {
		d.invalid("bad date-time")
		return time.Time{}
	}
	return t
}

// date is date-text, quoted or not: a day without a zone, given as its midnight in UTC.
func (d *Decoder) date() time.Time {
	var s string
	if d.peek() == '"' {
		s = d.quoted()
	} else {
		s = d.atom()
	}
	if d.failed() {
		return time.Time{}
	}
	t, err := time.Parse("2-Jan-2006", s)
	if err != nil {
		d.invalid("bad date")
	}
	return t
}

// AppendDateTime writes t as a quoted date-time in its own zone.
func AppendDateTime(b []byte, t time.Time) []byte {
	b = append(b, '"')
	b = t.AppendFormat(b, dateTimeLayout)
	return append(b, '"')
}
