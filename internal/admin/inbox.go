package admin

import (
	"io"
	"net/http"
	"strconv"
	"time"

	"postel/internal/mail"
	"postel/internal/message"
	"postel/internal/store"
)

// Caught is a message in the catcher's inbox as JSON.
type Caught struct {
	ID       string    `json:"id"` // its UID
	Message  string    `json:"message"`
	From     string    `json:"from"`
	To       string    `json:"to"`
	Subject  string    `json:"subject"`
	Size     int64     `json:"size"`
	Received time.Time `json:"received"`
	Preview  string    `json:"preview,omitempty"`
}

// inboxPage is how many emails are read at once.
const inboxPage = 200

// listInbox answers what was caught, the newest last.
func (a *api) listInbox(w http.ResponseWriter, r *http.Request) error {
	snap, closeBox, err := a.inbox(r)
	if err != nil {
		return err
	}
	defer closeBox()
	return lines(w, func(yield func(Caught, error) bool) {
		for from := 1; from <= snap.Len(); from += inboxPage {
			page, err := a.page(r, snap, from, min(from+inboxPage-1, snap.Len()))
			if err != nil {
				yield(Caught{}, err)
				return
			}
			for _, c := range page {
				if !yield(c, nil) {
					return
				}
			}
		}
	}, func(c Caught) Caught { return c })
}

func (a *api) inbox(r *http.Request) (*store.Snapshot, func(), error) {
	if a.Catcher == 0 {
		return nil, nil, mail.E("admin.inbox", mail.Unsupported, "nothing is caught here: this is the inbox of `postel dev --deliver catch`")
	}
	v, err := a.Store.Open(r.Context(), a.Catcher, store.Inbox, true)
	if err != nil {
		return nil, nil, err
	}
	snap, err := v.Latest(r.Context())
	if err != nil {
		v.Close()
		return nil, nil, err
	}
	return snap, v.Close, nil
}

func (a *api) page(r *http.Request, snap *store.Snapshot, from, to int) ([]Caught, error) {
	var ids []store.EmailID
	var uids []store.UID
	for seq := from; seq <= to; seq++ {
		e := snap.At(seq)
		ids, uids = append(ids, e.Email), append(uids, e.UID)
	}
	emails, err := a.Store.Emails(r.Context(), a.Catcher, ids)
	if err != nil {
		return nil, err
	}
	out := make([]Caught, 0, len(emails))
	for i, e := range emails {
		if e != nil {
			out = append(out, caught(uids[i], e))
		}
	}
	return out, nil
}

func caught(uid store.UID, e *store.Email) Caught {
	c := Caught{ID: strconv.FormatUint(uint64(uid), 10), Message: "m-" + e.Blob.String(), Size: e.Size, Received: e.InternalDate}
	if s := e.Root.Summary; s != nil {
		h, _ := message.ParseHeader(string(s.Fields))
		c.From, c.To, c.Subject, c.Preview = h.Text("From"), h.Text("To"), h.Text("Subject"), s.Preview
	}
	return c
}

// showInbox answers one caught message whole, as it is.
func (a *api) showInbox(w http.ResponseWriter, r *http.Request) error {
	uid, err := strconv.ParseUint(r.PathValue("id"), 10, 32)
	if err != nil {
		return mail.E("admin.inbox", mail.Invalid, "a caught message is named by its number")
	}
	snap, closeBox, err := a.inbox(r)
	if err != nil {
		return err
	}
	defer closeBox()
	seq := snap.Seq(store.UID(uid))
	if seq == 0 {
		return mail.E("admin.inbox", mail.NotFound, "no message %d", uid)
	}
	e, err := a.Store.Email(r.Context(), a.Catcher, snap.At(seq).Email)
	if err != nil {
		return err
	}
	body, err := a.Store.OpenBody(r.Context(), e, 0, -1)
	if err != nil {
		return err
	}
	defer func() { _ = body.Close() }()
	w.Header().Set("Content-Type", "message/rfc822")
	w.Header().Set("Content-Length", strconv.FormatInt(e.Size, 10))
	_, err = io.Copy(w, body)
	if err != nil {
		a.Log.WarnContext(r.Context(), "admin", "path", r.URL.Path, "err", err) // the status is sent
	}
	return nil
}
