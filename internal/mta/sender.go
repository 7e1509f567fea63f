package mta

import (
	"context"

	"postel/internal/mail"
	"postel/internal/queue"
)

// sender gives the reverse path of a transaction. Where the item wants VERP it names the only recipient. Mail of strangers that an alias of ours leads elsewhere goes out under a
// sender of the alias's domain, so that the next server does not find us among those who may not write in the name of the
// author's domain (RFC 7208 §D.3); what comes back leads to the author. The item keeps who wrote it, to whom our own
// reports go.
func (m *MTA) sender(ctx context.Context, it *queue.Item, rcpts []mail.Recipient) mail.Address {
	if it.VERP && len(rcpts) == 1 {
		from, _ := mail.VERP(it.From, rcpts[0].Address)
		return from
	}
	if it.Forwarder == "" || it.From.IsNull() || m.o.Forward == nil {
		return it.From
	}
	if _, err := m.o.Directory.Domain(ctx, it.From.Domain); err == nil {
		return it.From // we may write in its name
	}
	from, ok := m.o.Forward(it.From, it.Forwarder)
	if !ok {
		m.o.Log.Warn("a forward keeps its sender, whose address is too long to be rewritten", "queue", queueName(it), "from", it.From)
	}
	return from
}
