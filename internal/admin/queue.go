package admin

import (
	"context"
	"net/http"
	"time"

	"postel/internal/mail"
	"postel/internal/mta"
	"postel/internal/queue"
)

// QueueItem is an item of the queue as JSON.
type QueueItem struct {
	ID          string           `json:"id"`
	Message     string           `json:"message"`
	Destination string           `json:"destination"`
	From        string           `json:"from"`
	Size        int64            `json:"size"`
	Received    time.Time        `json:"received"`
	Due         time.Time        `json:"due,omitzero"`
	State       string           `json:"state"`         // "waiting", or "held" when nothing of it waits
	Via         string           `json:"via,omitempty"` // the host that an operator set
	Recipients  []QueueRecipient `json:"recipients"`
	Way         *QueueWay        `json:"way,omitempty"` // where it would go now; only where one item is shown, by a server
}

// QueueWay is where mail would go, and why.
type QueueWay = mta.Way

// QueueRecipient is one recipient of an item.
type QueueRecipient struct {
	Address  string    `json:"address"`
	State    string    `json:"state"`
	Due      time.Time `json:"due,omitzero"`
	Attempts int       `json:"attempts"`
	Last     string    `json:"last,omitempty"` // the last reply
	LastHost string    `json:"last_host,omitempty"`
	LastTime time.Time `json:"last_time,omitzero"`
	// History is the latest attempts, the last one too, the oldest first; only where one item is shown.
	History []QueueAttempt `json:"history,omitempty"`
}

// QueueAttempt is what came of an attempt for one recipient.
type QueueAttempt struct {
	Time    time.Time `json:"time"`
	Reply   string    `json:"reply"`
	Host    string    `json:"host,omitempty"`    // who said so; this server where it is empty
	Session string    `json:"session,omitempty"` // s-…, for `postel glass show`, which forgets after a while
}

func showItem(it *queue.Item) QueueItem {
	out := QueueItem{
		ID: it.ID.String(), Message: "m-" + it.Blob.String(), Destination: it.Destination, From: it.From.String(),
		Size: it.Size, Received: it.Received, State: queue.Held.String(), Via: it.Via,
	}
	if due, ok := it.Due(); ok {
		out.Due, out.State = due, queue.Waiting.String()
	}
	for _, r := range it.Recipients {
		qr := QueueRecipient{
			Address: r.Address.String(), State: r.State.String(), Due: r.Due, Attempts: r.Attempts,
			LastTime: r.LastTime, LastHost: r.Last.Host,
		}
		if r.Last.Code != 0 {
			qr.Last = r.Last.String()
		}
		out.Recipients = append(out.Recipients, qr)
	}
	return out
}

// QueueEnded is how a recipient of what was queued ended, as JSON.
type QueueEnded struct {
	ID          string    `json:"id"`
	Message     string    `json:"message"`
	Destination string    `json:"destination"`
	From        string    `json:"from"`
	Recipient   string    `json:"recipient"`
	State       string    `json:"state"` // "delivered", "relayed", "bounced" or "dropped"
	Received    time.Time `json:"received"`
	Ended       time.Time `json:"ended"`
	Attempts    int       `json:"attempts"`
	Last        string    `json:"last,omitempty"` // the last reply
	LastHost    string    `json:"last_host,omitempty"`
}

func showEnded(x queue.Ended) QueueEnded {
	out := QueueEnded{
		ID: x.ID.String(), Message: "m-" + x.Blob.String(), Destination: x.Destination, From: x.From.String(),
		Recipient: x.Recipient.String(), State: x.Fate(), Received: x.Received, Ended: x.Time, Attempts: x.Attempts,
		LastHost: x.Result.Host,
	}
	if x.Result.Code != 0 {
		out.Last = x.Result.String()
	}
	return out
}

func (a *api) listQueue(w http.ResponseWriter, r *http.Request) error {
	f, err := queueFilter(r, waitingStates)
	if err != nil {
		return err
	}
	return lines(w, a.Queue.All(r.Context(), f), showItem)
}

func (a *api) listEnded(w http.ResponseWriter, r *http.Request) error {
	f, err := queueFilter(r, endedStates)
	if err != nil {
		return err
	}
	return lines(w, a.Queue.AllEnded(r.Context(), f), showEnded)
}

func (a *api) showQueue(w http.ResponseWriter, r *http.Request) error {
	id, err := queueID(r)
	if err != nil {
		return err
	}
	it, err := a.Queue.Show(r.Context(), id)
	if err != nil {
		return err
	}
	out := showItem(it)
	for n := range it.Recipients {
		for _, x := range it.Recipients[n].Attempted() {
			at := QueueAttempt{Time: x.Time, Reply: x.Result.String(), Host: x.Result.Host}
			if !x.Session.IsZero() {
				at.Session = "s-" + x.Session.String()
			}
			out.Recipients[n].History = append(out.Recipients[n].History, at)
		}
	}
	if a.Router != nil {
		ctx, cancel := context.WithTimeout(r.Context(), routeTime)
		defer cancel()
		way := a.Router.Way(ctx, it)
		out.Way = &way
	}
	return answer(w, out)
}

// routeTime bounds the look-ups for one answer.
const routeTime = 20 * time.Second

// routeQueue tells where mail for an address would go.
func (a *api) routeQueue(w http.ResponseWriter, r *http.Request) error {
	to, err := mail.ParseAddress(r.PathValue("address"))
	if err != nil {
		return mail.E("admin.queue", mail.Invalid, "not an address: %.100s", r.PathValue("address"))
	}
	var from mail.Address
	if s := r.URL.Query().Get("from"); s != "" {
		if from, err = mail.ParseAddress(s); err != nil {
			return mail.E("admin.queue", mail.Invalid, "not an address: %.100s", s)
		}
	}
	if a.Router == nil {
		return mail.E("admin.queue", mail.Unavailable, "only a running server knows its routes")
	}
	ctx, cancel := context.WithTimeout(r.Context(), routeTime)
	defer cancel()
	return lines(w, each(a.Router.Ways(ctx, to, from)), func(v QueueWay) QueueWay { return v })
}

func queueID(r *http.Request) (queue.ID, error) {
	id, ok := queue.ParseID(r.PathValue("id"))
	if !ok {
		return id, mail.E("admin.queue", mail.Invalid, "not a queue id: %.40s", r.PathValue("id"))
	}
	return id, nil
}
