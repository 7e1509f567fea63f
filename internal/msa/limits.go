package msa

import (
	"context"
	"fmt"
	"strings"
	"time"

	"postel/internal/mail"
	"postel/internal/message"
	"postel/internal/mta"
	"postel/internal/proto/smtp"
	"postel/internal/rate"
)

// Limits are how much one user may send: a stolen password is no reason for all the world to hear of us. The zero value
// is no limit.
type Limits struct {
	Messages   int // in a minute
	Recipients int // in a day
}

// counts is what the users have sent lately.
type counts struct {
	limits     Limits
	messages   *rate.Counter[mail.AccountID]
	recipients *rate.Counter[mail.AccountID]
	notices    *rate.Counter[mail.AccountID] // of a limit, one a day
}

func newCounts(l Limits, clock func() time.Time) counts {
	count := func(n int, per time.Duration) *rate.Counter[mail.AccountID] {
		return rate.New[mail.AccountID](rate.Rate{N: n, Per: per}, clock)
	}
	const day = 24 * time.Hour
	return counts{l, count(l.Messages, time.Minute), count(l.Recipients, day), count(1, day)}
}

// countMessage counts a message of the user, or refuses it for now.
func (t *transaction) countMessage(ctx context.Context) error {
	if t.peer.Account == 0 || t.counts.messages.Take(t.peer.Account, 1) {
		return nil
	}
	return t.tooMuch(ctx, fmt.Sprintf("%d messages a minute", t.counts.limits.Messages))
}

// countRecipient counts a recipient of the user, or refuses it for now.
func (t *transaction) countRecipient(ctx context.Context) error {
	if t.peer.Account == 0 || t.counts.recipients.Take(t.peer.Account, 1) {
		return nil
	}
	return t.tooMuch(ctx, fmt.Sprintf("%d recipients a day", t.counts.limits.Recipients))
}

// tooMuch is the refusal beyond a limit; the first of a day is told to the postmaster.
func (t *transaction) tooMuch(ctx context.Context, limit string) error {
	if t.counts.notices.Take(t.peer.Account, 1) {
		if err := t.notify(ctx, limit); err != nil {
			t.Log.Error("the postmaster could not be told of a user at a limit", "login", t.peer.Login, "err", err)
		}
	}
	return smtp.Fail(450, mail.TooMany, mail.Enhanced{4, 7, 1}, "you may send %s, go on later", limit)
}

// notify writes to the postmaster that the user has reached a limit.
func (t *transaction) notify(ctx context.Context, limit string) error {
	t.Log.Warn("a user has reached a limit", "login", t.peer.Login, "limit", limit, "remote", t.peer.Remote)
	var h message.Header
	h.AddAddresses("From", message.Address{Name: "Postel", Local: "postmaster", Host: string(t.Hostname)})
	h.AddAddresses("To", message.Address{Local: "postmaster", Host: string(t.Hostname)})
	h.AddText("Subject", t.peer.Login+" has reached the limit of "+limit)
	h.Add("Date", message.FormatDate(t.Clock()))
	h.Add("Message-ID", "<"+t.IDs.New(t.Clock()).String()+"@"+string(t.Hostname)+">")
	h.Add("Auto-Submitted", "auto-generated") // RFC 3834 §5
	text := fmt.Sprintf("%s has sent as much as one user may: %s.\r\n"+
		"What is beyond that is refused with 450 4.7.1 for now; more of today is not told.\r\n\r\n"+
		"The session is s-%s, from %s. If this is not the user, change the password:\r\n"+
		"postel account passwd %s\r\n", t.peer.Login, limit, t.peer.Session, t.peer.Remote, t.peer.Login)
	to, err := t.postmaster(ctx)
	if err != nil {
		return err
	}
	_, err = t.MTA.Take(ctx, mta.Intake{
		Envelope: mail.Envelope{Recipients: []mail.Recipient{{Address: to}}, Received: t.Clock()},
		Body:     strings.NewReader(h.String() + text), Edit: func(*message.Header) error { return nil },
	})
	return err
}
