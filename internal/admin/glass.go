package admin

import (
	"encoding/json"
	"net/http"
	"strconv"

	"postel/internal/mail"
	"postel/internal/observe"
)

func (a *api) listGlass(w http.ResponseWriter, r *http.Request) error {
	n, err := strconv.Atoi(r.URL.Query().Get("n"))
	if err != nil || n <= 0 || n > 10_000 {
		n = 100
	}
	return lines(w, each(a.Glass.List(n)), func(t observe.Transcript) observe.Transcript { return t })
}

func (a *api) showGlass(w http.ResponseWriter, r *http.Request) error {
	id, ok := mail.ParseID(r.PathValue("id"))
	if !ok {
		return mail.E("admin.glass", mail.Invalid, "a session's id is s- and 16 characters")
	}
	t, ok := a.Glass.Show(id)
	if !ok {
		return mail.E("admin.glass", mail.NotFound, "no session s-%s is kept", id)
	}
	return answer(w, t)
}

// tailGlass answers every line of every session from now on, until the client goes away.
func (a *api) tailGlass(w http.ResponseWriter, r *http.Request) error {
	c, stop := a.Glass.Follow()
	defer stop()
	w.Header().Set("Content-Type", "application/x-ndjson")
	rc := http.NewResponseController(w)
	_ = rc.Flush() // the client knows from here on that it misses nothing
	enc := json.NewEncoder(w)
	for {
		select {
		case <-r.Context().Done():
			return nil
		case l := <-c:
			if enc.Encode(l) != nil {
				return nil
			}
			if len(c) == 0 {
				_ = rc.Flush()
			}
		}
	}
}

func (a *api) showJourney(w http.ResponseWriter, r *http.Request) error {
	ev := a.Journey.Of(r.PathValue("id"))
	if len(ev) == 0 {
		return mail.E("admin.journey", mail.NotFound, "nothing is known of %s", r.PathValue("id"))
	}
	return lines(w, each(ev), func(e observe.Event) observe.Event { return e })
}
