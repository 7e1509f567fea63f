package tool

import (
	"strconv"
	"strings"
	"time"
)

// When reads a time as people give it: 2026-11-20, "2026-11-20 15:04" (both local), RFC 3339, or how long ago it is, as
// 90m, 4h or 3d. "" is the zero time.
func When(s string, now time.Time) (time.Time, error) {
	if s == "" {
		return time.Time{}, nil
	}
	for _, layout := range []string{time.DateOnly, "2006-01-02 15:04", time.DateTime} {
		if t, err := time.ParseInLocation(layout, s, now.Location()); err == nil {
			return t, nil
		}
	}
	if t, err := time.Parse(time.RFC3339, s); err == nil {
		return t, nil
	}
	if days, d, ok := span(s); ok {
		return now.AddDate(0, 0, -days).Add(-d), nil
	}
	return time.Time{}, Fail(Usage, "%q is no time: want 2026-11-20, 2026-11-20T15:04:05Z, or how long ago, as 4h or 3d", s)
}

// span reads how long something is: 90m, 4h or 3d.
func span(s string) (days int, d time.Duration, ok bool) {
	if text, found := strings.CutSuffix(s, "d"); found {
		n, err := strconv.ParseUint(text, 10, 16)
		return int(n), 0, err == nil
	}
	d, err := time.ParseDuration(s)
	return 0, d, err == nil && d >= 0
}

// Until reads a time to come: a date or time as When takes it, or how long it is until then, as 4h or 90d.
func Until(s string, now time.Time) (time.Time, error) {
	t, err := When(s, now)
	if days, d, ok := span(s); ok {
		t = now.AddDate(0, 0, days).Add(d)
	}
	if err == nil && !t.After(now) {
		err = Fail(Usage, "%q has passed: want a time to come, as 90d or 2030-12-31", s)
	}
	return t, err
}
