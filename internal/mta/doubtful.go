package mta

import (
	"context"

	"postel/internal/mail"
	"postel/internal/queue"
)

// tellDoubtful names, once, what the process before was sending when it ended: what the other servers said to it is not
// recorded, so that it is sent once more and may arrive twice. RFC 5321 §6.1 knows no way to prevent that.
func (m *MTA) tellDoubtful(ctx context.Context) {
	for _, id := range m.o.Sending.Left() {
		it, err := m.o.Queue.Show(ctx, id)
		if ctx.Err() != nil {
			return // the next start tells
		}
		if err == nil || !mail.Is(err, mail.NotFound) || m.o.Queue.Shared() { // another node may have sent it meanwhile
			m.o.Log.Warn("a message was being sent when the server ended, and what came of it is not known: it may arrive twice", doubtful(id, it)...)
		}
		m.o.Sending.End(id)
	}
}

// doubtful gives what is logged of an item; it is nil where it cannot be read.
func doubtful(id queue.ID, it *queue.Item) []any {
	known := []any{"queue", "q-" + id.String()}
	if it == nil {
		return known
	}
	return append(known, "message", "m-"+it.Blob.String(), "from", pathOf(it.From), "to", it.Recipients[0].Address.String(), "recipients", len(it.Recipients))
}
