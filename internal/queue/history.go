package queue

import (
	"time"

	"postel/internal/mail"
)

// What is kept of the attempts before the last: so many, and so much of each one's text.
const (
	maxEarlier     = 7
	maxEarlierText = 160
)

// History is the latest attempts but the last, as they stand in the row: a window of items in work holds many that nobody
// looks at.
type History string

// Attempt is what came of an attempt for one recipient.
type Attempt struct {
	Time    time.Time
	Session mail.ID // in glass; zero when no host was spoken to
	Result  mail.Result
}

// Attempted gives what came of the latest attempts, the last one too, the oldest first.
func (r *Recipient) Attempted() []Attempt {
	all := r.Earlier.attempts()
	if r.Last.Code != 0 {
		all = append(all, Attempt{r.LastTime, r.Session, r.Last})
	}
	return all
}

func (h History) attempts() (all []Attempt) {
	for d := (decoder{b: []byte(h)}); d.more() && len(all) < maxEarlier; {
		a := Attempt{Time: d.time(), Session: d.id(), Result: d.result()}
		if d.bad {
			return all
		}
		all = append(all, a)
	}
	return all
}

// remember puts the last attempt among the earlier ones.
func (r *Recipient) remember() {
	all := r.Attempted()
	var e encoder
	for _, a := range all[max(0, len(all)-maxEarlier):] {
		e.time(a.Time)
		e.id(a.Session)
		a.Result.Text = a.Result.Text[:min(len(a.Result.Text), maxEarlierText)]
		e.result(a.Result)
	}
	r.Earlier = History(e)
}
