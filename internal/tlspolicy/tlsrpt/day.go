package tlsrpt

import (
	"time"

	"postel/internal/mail"
)

// Day is a day in UTC, which a report is about (RFC 8460 §4.1): days since 1970-01-01.
type Day uint32

const secondsOfDay = 24 * 60 * 60

// DayOf gives the day of a time.
func DayOf(t time.Time) Day { return Day(t.Unix() / secondsOfDay) }

// Start gives its first moment.
func (d Day) Start() time.Time { return time.Unix(int64(d)*secondsOfDay, 0).UTC() }

// End gives the first moment of the next.
func (d Day) End() time.Time { return (d + 1).Start() }

// String gives "2026-11-27".
func (d Day) String() string { return d.Start().Format(time.DateOnly) }

// ParseDay reads what String gives. Kind Invalid.
func ParseDay(s string) (Day, error) {
	t, err := time.Parse(time.DateOnly, s)
	if err != nil || t.Unix() < 0 || t.Year() > 9999 {
		return 0, mail.E("tlsrpt.day", mail.Invalid, "%q is no day: want 2026-11-27", s)
	}
	return DayOf(t), nil
}
