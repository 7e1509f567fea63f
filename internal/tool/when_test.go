package tool

import (
	"testing"
	"time"
)

func TestWhen(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	for in, want := range map[string]string{
		"": "0001-01-01T00:00:00Z", "2026-11-20": "2026-11-20T00:00:00Z", "2026-11-20 15:04": "2026-11-20T15:04:00Z",
		"2026-11-20T15:04:05+01:00": "2026-11-20T14:04:05Z", "3d": "2026-11-20T12:00:00Z", "90m": "2026-11-23T10:30:00Z",
		"yesterday": "", "-3h": "", "-3d": "", "99999999999999d": "", "2026-13-01": "",
	} {
		got, err := When(in, now)
		switch {
		case want == "" && err == nil:
			t.Errorf("%q: %v", in, got)
		case want != "" && (err != nil || got.UTC().Format(time.RFC3339) != want):
			t.Errorf("%q: %v %v", in, got, err)
		}
	}
}

func TestUntil(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	for in, want := range map[string]string{
		"90d": "2027-02-21T12:00:00Z", "4h": "2026-11-23T16:00:00Z", "2027-01-31": "2027-01-31T00:00:00Z",
		"2026-11-20": "", "0d": "", "soon": "", "": "",
	} {
		got, err := Until(in, now)
		if want == "" && err == nil || want != "" && (err != nil || got.UTC().Format(time.RFC3339) != want) {
			t.Errorf("%q: %v %v", in, got, err)
		}
	}
}
