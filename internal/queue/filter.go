package queue

import (
	"strings"
	"time"

	"postel/internal/mail"
)

// Filter narrows a list, of items or of how recipients ended. Empty fields match all; texts match in any case. State and
// Reply are those of one and the same matching recipient.
type Filter struct {
	Domain    string    // the destination
	Sender    string    // the address, or a part of it; "<>" is the null sender
	Recipient string    // the address of a recipient, or a part of it
	State     string    // "waiting" or "held"; of what has ended, a Fate
	Reply     string    // a part of the last reply, or of the name of the host that gave it
	Before    time.Time // accepted before this time; of what has ended, ended before it
	Since     time.Time // accepted at this time or later; of what has ended, ended then
	Priority  *int8     // of items only (RFC 6710)
	After     ID        // begin behind this item
	Limit     int       // of List; 0 is 1,000
}

func (f *Filter) matches(it *Item) bool {
	if !f.matchesBoth(it.Destination, it.From, it.Received) || f.Priority != nil && *f.Priority != it.Priority {
		return false
	}
	for i := range it.Recipients {
		r := &it.Recipients[i]
		if f.matchesRecipient(r.Address, r.State.String(), &r.Last) {
			return true
		}
	}
	return false
}

func (f *Filter) matchesEnded(x *Ended) bool {
	return f.matchesBoth(x.Destination, x.From, x.Time) && f.matchesRecipient(x.Recipient, x.Fate(), &x.Result)
}

func (f *Filter) matchesBoth(destination string, from mail.Address, at time.Time) bool {
	switch {
	case f.Domain != "" && !strings.EqualFold(f.Domain, destination),
		!f.Before.IsZero() && !at.Before(f.Before), at.Before(f.Since):
		return false
	case f.Sender == "<>":
		return from.IsNull()
	}
	return contains(from.String(), f.Sender)
}

func (f *Filter) matchesRecipient(a mail.Address, state string, last *mail.Result) bool {
	return contains(a.String(), f.Recipient) && (f.State == "" || strings.EqualFold(f.State, state)) &&
		(f.Reply == "" || last.Code != 0 && contains(last.String()+" "+last.Host, f.Reply))
}

func contains(text, part string) bool {
	return part == "" || strings.Contains(strings.ToLower(text), strings.ToLower(part))
}
