package mta

import (
	"context"

	"postel/internal/directory"
	"postel/internal/mail"
	"postel/internal/queue"
)

// suppress puts the recipients of a bulk sender that are given up with a hard bounce on the suppression list. What it
// fails to remember is remembered at the next bounce.
func (m *MTA) suppress(ctx context.Context, it *queue.Item, d decision) {
	if m.o.Suppress == nil || !it.Bulk {
		return
	}
	for _, o := range d.outs {
		if o.State != queue.Failed || !hardBounce(o.Result) {
			continue
		}
		s := directory.Suppression{
			Address: it.Recipients[o.N].Address, Source: directory.ByBounce, Reason: o.Result.String(), Since: m.o.Clock(),
		}
		if o.Result.Host != "" {
			s.Reason += " (" + o.Result.Host + ")"
		}
		m.addSuppression(ctx, s, queueName(it))
	}
}

func (m *MTA) addSuppression(ctx context.Context, s directory.Suppression, from string) {
	if err := m.o.Suppress.Suppress(ctx, s); err != nil {
		m.o.Log.Error("a hard bounce could not be remembered", "recipient", s.Address, "from", from, "err", err)
		return
	}
	m.o.Log.Info("a recipient is suppressed for bulk senders", "recipient", s.Address, "from", from, "why", s.Reason)
}

// hardBounce tells whether a result is a verdict on the recipient's address, by its host or by what DNS says of its domain.
func hardBounce(r mail.Result) bool {
	return r.Permanent() && directory.HardBounce(r.Enhanced) && (r.Host == "" || r.Scope == mail.ScopeRecipient)
}
