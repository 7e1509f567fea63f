package admin

import (
	"context"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"postel/internal/mail"
	"postel/internal/queue"
	routing "postel/internal/route" // route is a row of the API here
)

// QueueChange is what a change wants to know beside its items.
type QueueChange struct {
	Text string `json:"text,omitempty"` // what a bounce says; "" is a text of ours
	Via  string `json:"via,omitempty"`  // by which host to reroute; "" is the way of the destination again
}

// deed is what can be done to items: one of them, or all that match a filter.
type deed struct {
	state string                                                               // the state of what it changes; "" is any
	check func(a *api, ctx context.Context, in *QueueChange) error             // once before; may be nil
	do    func(a *api, ctx context.Context, id queue.ID, in QueueChange) error // to each
}

func deeds() map[string]deed {
	return map[string]deed{
		"retry": {state: "waiting", do: func(a *api, ctx context.Context, id queue.ID, _ QueueChange) error {
			return a.Queue.Retry(ctx, id)
		}},
		"hold": {state: "waiting", do: func(a *api, ctx context.Context, id queue.ID, _ QueueChange) error {
			return a.Queue.Hold(ctx, id)
		}},
		"release": {state: "held", do: func(a *api, ctx context.Context, id queue.ID, _ QueueChange) error {
			return a.Queue.Release(ctx, id)
		}},
		"drop": {do: func(a *api, ctx context.Context, id queue.ID, _ QueueChange) error {
			_, err := a.Queue.Drop(ctx, id)
			return err
		}},
		"bounce": {check: checkText, do: func(a *api, ctx context.Context, id queue.ID, in QueueChange) error {
			return a.Queue.Bounce(ctx, id, in.Text)
		}},
		"reroute": {check: checkVia, do: func(a *api, ctx context.Context, id queue.ID, in QueueChange) error {
			return a.Queue.Reroute(ctx, id, in.Via)
		}},
	}
}

// checkText makes sure that a text can stand in a report: one line, not too long.
func checkText(_ *api, _ context.Context, in *QueueChange) error {
	if in.Text == "" {
		in.Text = "returned by the postmaster before its time was over"
	}
	if len(in.Text) > 500 || !utf8.ValidString(in.Text) || strings.ContainsFunc(in.Text, unicode.IsControl) {
		return mail.E("admin.queue", mail.Invalid, "the text of a bounce is one line of at most 500 octets")
	}
	return nil
}

// checkVia makes sure that a host is one, and not this server.
func checkVia(a *api, ctx context.Context, in *QueueChange) (err error) {
	switch {
	case in.Via == "":
	case a.Router == nil:
		in.Via, err = routing.CheckVia(in.Via)
	default:
		ctx, cancel := context.WithTimeout(ctx, routeTime)
		defer cancel()
		in.Via, err = a.Router.CheckVia(ctx, in.Via)
	}
	return err
}

// deedOf reads what is to be done.
func (a *api) deedOf(r *http.Request) (verb string, d deed, in QueueChange, err error) {
	verb = r.PathValue("verb")
	d, ok := deeds()[verb]
	if !ok {
		return verb, d, in, mail.E("admin.queue", mail.NotFound, "no such verb: %.40s", verb)
	}
	if err = read(r, &in); err == nil && d.check != nil {
		err = d.check(a, r.Context(), &in)
	}
	return verb, d, in, err
}

// changeQueue does something to one item.
func (a *api) changeQueue(w http.ResponseWriter, r *http.Request) error {
	id, err := queueID(r)
	if err != nil {
		return err
	}
	verb, d, in, err := a.deedOf(r)
	if err == nil {
		err = d.do(a, r.Context(), id, in)
	}
	if err != nil {
		return err
	}
	return answer(w, map[string]string{"id": id.String(), "done": verb})
}

// QueueCount counts items, and the recipients in them that match; of what has ended there are recipients only.
type QueueCount struct {
	Items      int    `json:"items,omitempty"`
	Recipients int    `json:"recipients,omitempty"`
	Done       string `json:"done,omitempty"` // the verb that was carried out on the items
}

// changeMany does something to all items that match, or with dry_run counts them.
func (a *api) changeMany(w http.ResponseWriter, r *http.Request) error {
	verb, d, in, err := a.deedOf(r)
	if err != nil {
		return err
	}
	f, err := queueFilter(r, waitingStates)
	if err != nil {
		return err
	}
	if f.State == "" {
		f.State = d.state
	}
	if r.URL.Query().Get("dry_run") != "" {
		n, err := a.count(r.Context(), f)
		if err != nil {
			return err
		}
		return answer(w, n)
	}
	n, err := a.Queue.Each(r.Context(), f, func(ctx context.Context, id queue.ID) error { return d.do(a, ctx, id, in) })
	if err != nil {
		return err
	}
	return answer(w, QueueCount{Items: n, Done: verb})
}

// countQueue counts what listQueue, or listEnded, would show.
func (a *api) countQueue(w http.ResponseWriter, r *http.Request) error {
	f, err := queueFilter(r, waitingStates)
	if err != nil {
		return err
	}
	n, err := a.count(r.Context(), f)
	if err != nil {
		return err
	}
	return answer(w, n)
}

func (a *api) count(ctx context.Context, f queue.Filter) (n QueueCount, err error) {
	for it, err := range a.Queue.All(ctx, f) {
		if err != nil {
			return n, err
		}
		n.Items++
		n.Recipients += len(it.Recipients)
	}
	return n, nil
}

func (a *api) countEnded(w http.ResponseWriter, r *http.Request) error {
	f, err := queueFilter(r, endedStates)
	if err != nil {
		return err
	}
	var n QueueCount
	for _, err := range a.Queue.AllEnded(r.Context(), f) {
		if err != nil {
			return err
		}
		n.Recipients++
	}
	return answer(w, n)
}

// The states that filters know.
var (
	waitingStates = []string{"waiting", "held"}
	endedStates   = []string{"delivered", "relayed", "bounced", "dropped"}
)

// queueFilter reads the filter of a request; states are those that may be asked for.
func queueFilter(r *http.Request, states []string) (f queue.Filter, err error) {
	q := r.URL.Query()
	f = queue.Filter{
		Domain: q.Get("domain"), Sender: q.Get("from"), Recipient: q.Get("to"),
		State: strings.ToLower(q.Get("state")), Reply: q.Get("error"),
	}
	if d, err := mail.ParseDomain(f.Domain); err == nil {
		f.Domain = string(d)
	}
	if f.State != "" && !slices.Contains(states, f.State) {
		return f, mail.E("admin.queue", mail.Invalid, "no such state: %.40s; there are %s", f.State, strings.Join(states, ", "))
	}
	for name, t := range map[string]*time.Time{"before": &f.Before, "since": &f.Since} {
		if v := q.Get(name); v != "" {
			if *t, err = time.Parse(time.RFC3339, v); err != nil {
				return f, mail.E("admin.queue", mail.Invalid, "%s is no time: %.40s", name, v)
			}
		}
	}
	if v := q.Get("priority"); v != "" {
		n, err := strconv.ParseInt(v, 10, 8)
		if err != nil || n < -9 || n > 9 { // RFC 6710 §3
			return f, mail.E("admin.queue", mail.Invalid, "a priority is a number from -9 to 9, not %.40s", v)
		}
		p := int8(n)
		f.Priority = &p
	}
	return f, nil
}
