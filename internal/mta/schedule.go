package mta

import (
	"time"

	"postel/internal/mail"
	"postel/internal/queue"
)

// Schedule says when an attempt follows another. The zero value is the default.
type Schedule struct {
	First  time.Duration // after the first failure; 0 is 5 minutes
	Max    time.Duration // the interval doubles up to this; 0 is 4 hours
	GiveUp time.Duration // how long it is tried since it was accepted; 0 is 5 days (RFC 5321 §4.5.4.1)
	Warn   time.Duration // after how long the sender is told of the delay; 0 is 4 hours
	// OnlyAsked tells of a delay only who asked for it (NOTIFY=DELAY).
	OnlyAsked bool

	GiveUpNull time.Duration // GiveUp for the null sender, whose mail nobody misses; 0 is 2 days, and never more than GiveUp
}

func (s Schedule) withDefaults() Schedule {
	if s.First <= 0 {
		s.First = 5 * time.Minute
	}
	if s.Max <= 0 {
		s.Max = 4 * time.Hour
	}
	if s.GiveUp <= 0 {
		s.GiveUp = 5 * 24 * time.Hour
	}
	if s.Warn <= 0 {
		s.Warn = 4 * time.Hour
	}
	if s.GiveUpNull <= 0 {
		s.GiveUpNull = 2 * 24 * time.Hour
	}
	s.Max = max(s.Max, s.First)
	return s
}

// interval is the time between the given attempt (from 1) and the next.
func (s Schedule) interval(attempt int) time.Duration {
	d := s.First
	for range min(max(attempt, 1)-1, 40) {
		if d *= 2; d >= s.Max {
			return s.Max
		}
	}
	return d
}

// next gives the time of the attempt that follows the given one, which ended now; false when the time is over. The
// last attempt is made when the time is up.
func (s Schedule) next(attempt int, received, now time.Time) (time.Time, bool) {
	end := received.Add(s.GiveUp)
	if !now.Before(end) {
		return time.Time{}, false
	}
	t := now.Add(s.interval(attempt))
	if t.After(end) {
		t = end
	}
	return t, true
}

// warns tells whether the sender is to be told of the delay now.
func (s Schedule) warns(received, now time.Time) bool { return now.Sub(received) >= s.Warn }

// began gives when an item's time began: it was accepted or, when its sender wanted it held, released (RFC 4865 §4.1).
func began(it *queue.Item) time.Time {
	if it.Hold.After(it.Received) {
		return it.Hold
	}
	return it.Received
}

// overdue tells whether the deadline of a message has passed (RFC 2852 §4.1).
func overdue(by mail.DeliverBy, now time.Time) bool {
	return !by.Deadline.IsZero() && !now.Before(by.Deadline)
}

// sooner gives due, or another time to come at which something is to be done, where that is before; zero is none.
func sooner(due, other, now time.Time) time.Time {
	if other.After(now) && other.Before(due) {
		return other
	}
	return due
}
