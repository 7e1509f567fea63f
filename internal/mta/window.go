package mta

import "time"

// Concurrency bounds what is done at once. The zero value is the default.
type Concurrency struct {
	Window  int // items in work or ready; 0 is 5,000
	Start   int // sessions to a destination of which nothing is known; 0 is 5
	Most    int // sessions to one destination; 0 is 20
	All     int // sessions altogether; 0 is 200
	Commits int // results being recorded; 0 is 128
}

func (c Concurrency) withDefaults() Concurrency {
	for _, f := range []struct {
		v   *int
		def int
	}{{&c.Window, 5000}, {&c.Start, 5}, {&c.Most, 20}, {&c.All, 200}, {&c.Commits, 128}} {
		if *f.v <= 0 {
			*f.v = f.def
		}
	}
	c.Start = min(c.Start, c.Most)
	return c
}

// window is how many sessions a destination gets: one more when as many as there are have succeeded, one less after
// a failure of the host; after as many failures in a row as there may be sessions it is taken for dead a while.
type window struct {
	start, most int
	size        float64
	failures    int // in a row
	deaths      int // in a row
	until       time.Time
	proven      bool // it answered, and did not fail since

	pause  time.Duration // the last one, see slow.go
	resume time.Time     // when it ends
}

func newWindow(c Concurrency) window {
	return window{start: c.Start, most: c.Most, size: float64(c.Start)}
}

// limit is the number of sessions allowed now.
func (w *window) limit() int { return max(int(w.size), 1) }

// dead tells whether nothing is tried now.
func (w *window) dead(now time.Time) bool { return now.Before(w.until) }

// succeeded says that the host took a message, or answered for it at least.
func (w *window) succeeded() {
	w.failures, w.deaths, w.until, w.proven = 0, 0, time.Time{}, true
	w.size = min(w.size+1/w.size, float64(w.most))
	w.recover()
}

// failed says that no host could be spoken to. first and most bound for how long it is dead then.
func (w *window) failed(now time.Time, first, most time.Duration) {
	w.failures++
	w.proven = false
	if w.failures >= w.limit() {
		w.die(now, first, most)
		return
	}
	w.size = max(w.size-1, 1)
}

// die has nothing tried for a time that doubles from death to death; one attempt decides when it is over.
func (w *window) die(now time.Time, first, most time.Duration) {
	w.until = now.Add(min(first<<min(w.deaths, 20), most))
	w.deaths++
	w.failures, w.size = 0, 1
}

// revive forgets what was held against the host.
func (w *window) revive() {
	w.failures, w.deaths, w.until = 0, 0, time.Time{}
	w.pause, w.resume = 0, time.Time{}
	w.size = max(w.size, float64(min(w.start, w.most)))
}
