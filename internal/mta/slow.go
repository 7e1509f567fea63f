package mta

import (
	"strings"
	"time"

	"postel/internal/mail"
)

// A host that finds that we send too much says so with 421, or with a status 4.7.x (RFC 3463 §3.8) as the big providers do.
// Then its destination gets half the sessions and a pause, which doubles from one such reply to the next; a success takes
// back half of it. A host that goes on saying so is taken for dead a while, like one that fails.

const firstPause = 5 * time.Second

// asksForLess tells whether the reply to a message says that we send too much. Greylisting, which is told with the same
// status, is about the message: others may come.
func asksForLess(r mail.Result) bool {
	if r.Host == "" || r.Code/100 != 4 || isTLSFailure(r) || r.Enhanced[1] == 7 && r.Enhanced[2] == noRequireTLS[2] {
		return false
	}
	text := strings.ToLower(r.Text)
	greylisted := strings.Contains(text, "greylist") || strings.Contains(text, "graylist") || strings.Contains(text, "grey list")
	return !greylisted && (r.Code == 421 || r.Enhanced[0] == 4 && r.Enhanced[1] == 7)
}

// hears notes that a host asks for less.
func (a *attempt) hears(r mail.Result) {
	if a.slow = asksForLess(r); a.slow {
		a.reason = r
	}
}

// slowed tells whether a host asked for less and nobody got the message in the end.
func (a *attempt) slowed() bool {
	for _, v := range a.results {
		if v.result.Delivered() {
			return false
		}
	}
	return a.slow
}

// slow says that the host asks for less. Replies to what was under way when a pause began say nothing new.
func (w *window) slow(now time.Time, first, most time.Duration) {
	if w.paused(now) || w.dead(now) {
		return
	}
	w.size = max(w.size/2, 1)
	w.pause = max(2*w.pause, firstPause)
	if w.pause >= first {
		w.pause = first
		w.die(now, first, most)
		return
	}
	w.resume = now.Add(w.pause)
}

// paused tells whether nothing is sent now, because the host asked for less.
func (w *window) paused(now time.Time) bool { return now.Before(w.resume) }

// recover takes back half of the pause.
func (w *window) recover() {
	if w.pause /= 2; w.pause < firstPause {
		w.pause = 0
	}
}
