package admin

import (
	"net/http"
	"time"

	"postel/internal/mail"
	"postel/internal/message"
	"postel/internal/store"
)

// Expunged is a message that can be brought back, as JSON.
type Expunged struct {
	Message  string    `json:"message"`
	Mailbox  string    `json:"mailbox,omitempty"` // where it was
	UID      uint32    `json:"uid"`               // there, and then
	Expunged time.Time `json:"expunged"`
	Until    time.Time `json:"until"` // it can be brought back
	Size     int64     `json:"size"`
	From     string    `json:"from"`
	Subject  string    `json:"subject"`
}

// Undelete says what is brought back, and then what was.
type Undelete struct {
	Since     time.Time      `json:"since,omitzero"`
	Mailbox   string         `json:"mailbox,omitempty"`
	Messages  int            `json:"messages"`
	Mailboxes map[string]int `json:"mailboxes,omitempty"` // how many went where
	OverQuota int            `json:"over_quota"`          // how many have no room, and can be brought back once they have
}

// listExpunged answers what can be brought back, the oldest first.
func (a *api) listExpunged(w http.ResponseWriter, r *http.Request) error {
	acc, err := a.accountOf(r)
	if err != nil {
		return err
	}
	f := store.ExpungedFilter{Mailbox: r.URL.Query().Get("mailbox")}
	if s := r.URL.Query().Get("since"); s != "" {
		if f.Since, err = time.Parse(time.RFC3339, s); err != nil {
			return mail.E("admin.expunged", mail.Invalid, "since is not a time of RFC 3339")
		}
	}
	return lines(w, a.Store.Expunged(r.Context(), acc.ID, f), func(x store.Expunged) Expunged { return a.expunged(r, acc.ID, x) })
}

func (a *api) expunged(r *http.Request, id mail.AccountID, x store.Expunged) Expunged {
	out := Expunged{Mailbox: x.Mailbox, UID: uint32(x.UID), Expunged: x.At.UTC(), Until: x.Until.UTC()}
	e, err := a.Store.Email(r.Context(), id, x.Email)
	if err != nil {
		return out // gone meanwhile, or damaged: what is known is told
	}
	out.Message, out.Size = "m-"+e.Blob.String(), e.Size
	if e.Root != nil && e.Root.Summary != nil {
		h, _ := message.ParseHeader(string(e.Root.Summary.Fields))
		out.From, out.Subject = h.Text("From"), h.Text("Subject")
	}
	return out
}

// undelete brings messages back.
func (a *api) undelete(w http.ResponseWriter, r *http.Request) error {
	var in Undelete
	if err := read(r, &in); err != nil {
		return err
	}
	acc, err := a.accountOf(r)
	if err != nil {
		return err
	}
	done, err := a.Store.Undelete(r.Context(), acc.ID, store.ExpungedFilter{Since: in.Since, Mailbox: in.Mailbox})
	if err != nil {
		return err
	}
	in.Messages, in.Mailboxes, in.OverQuota = done.Messages, done.Mailboxes, done.Full
	return answer(w, in)
}

// purgeExpunged removes for good what could be brought back.
func (a *api) purgeExpunged(w http.ResponseWriter, r *http.Request) error {
	acc, err := a.accountOf(r)
	if err != nil {
		return err
	}
	n, err := a.Store.PurgeExpunged(r.Context(), acc.ID)
	if err != nil {
		return err
	}
	return answer(w, map[string]int{"purged": n})
}
