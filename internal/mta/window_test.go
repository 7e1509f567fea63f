package mta

import (
	"testing"
	"time"
)

func TestSchedule(t *testing.T) {
	t.Parallel()
	s := Schedule{}.withDefaults()
	start := time.Unix(1_800_000_000, 0)
	var at []time.Duration
	for now, n := start, 1; ; n++ {
		next, ok := s.next(n, start, now)
		if !ok {
			break
		}
		at = append(at, next.Sub(start))
		now = next
	}
	want := []time.Duration{
		5 * time.Minute, 15 * time.Minute, 35 * time.Minute, 75 * time.Minute, 155 * time.Minute,
		315 * time.Minute, 555 * time.Minute,
	}
	for i, w := range want {
		if at[i] != w {
			t.Errorf("attempt %d after %v, want %v", i+2, at[i], w)
		}
	}
	if last := at[len(at)-1]; last != 5*24*time.Hour {
		t.Error("the last attempt is after", last)
	}
	if n := len(at); n < 30 || n > 40 {
		t.Error(n, "attempts")
	}
	if d := (Schedule{First: time.Hour, Max: time.Minute}).withDefaults().interval(9); d != time.Hour {
		t.Error(d)
	}
}

func TestWarns(t *testing.T) {
	t.Parallel()
	start := time.Unix(1_800_000_000, 0)
	for _, c := range []struct {
		warn  time.Duration
		after time.Duration
		want  bool
	}{
		{0, 3 * time.Hour, false},
		{0, 4 * time.Hour, true},
		{time.Hour, 59 * time.Minute, false},
		{time.Hour, time.Hour, true},
	} {
		if got := (Schedule{Warn: c.warn}).withDefaults().warns(start, start.Add(c.after)); got != c.want {
			t.Errorf("%+v: %v", c, got)
		}
	}
}

func TestWindow(t *testing.T) {
	t.Parallel()
	now := time.Unix(1_800_000_000, 0)
	w := newWindow(Concurrency{Start: 2, Most: 4})
	if w.limit() != 2 {
		t.Fatal(w.limit())
	}
	for range 30 {
		w.succeeded()
	}
	if w.limit() != 4 {
		t.Fatal("grew to", w.limit())
	}
	w.failed(now, time.Minute, time.Hour)
	if w.limit() != 3 || w.dead(now) {
		t.Fatal(w.limit(), w.dead(now))
	}
	for range 2 {
		w.failed(now, time.Minute, time.Hour)
	}
	if !w.dead(now) || w.dead(now.Add(time.Minute)) {
		t.Fatal("not dead for a minute")
	}
	w.failed(now, time.Minute, time.Hour)
	if !w.dead(now.Add(119*time.Second)) || w.dead(now.Add(2*time.Minute)) {
		t.Fatal("the second death is not twice as long")
	}
	for range 50 {
		w.failed(now, time.Minute, time.Hour)
	}
	if w.dead(now.Add(time.Hour)) {
		t.Fatal("dead for longer than the most")
	}
	w.revive()
	if w.dead(now) || w.limit() != 2 {
		t.Fatal("revived", w.limit())
	}
}
