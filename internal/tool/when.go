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
	if d, ok := strings.CutSuffix(s, "d"); ok {
		if n, err := strconv.ParseUint(d, 10, 16); err == nil {
			return now.AddDate(0, 0, -int(n)), nil
		}
	}
	if d, err := time.ParseDuration(s); err == nil && d >= 0 {
		return now.Add(-d), nil
	}
	return time.Time{}, Fail(Usage, "%q is no time: want 2026-11-20, 2026-11-20T15:04:05Z, or how long ago, as 4h or 3d", s)
}
