package imapd

import (
	"io"
	"strings"

	"postel/internal/mail"
	"postel/internal/message"
	"postel/internal/proto/imap"
	"postel/internal/search"
	"postel/internal/store"
)

// scope is where a term looks for its text (RFC 3501 §6.4.4).
func (t *term) scope() message.Scope {
	switch t.op {
	case imap.SearchHeader:
		return message.InHeader
	case imap.SearchBody:
		return message.InBody
	}
	return message.Anywhere
}

// findTexts asks the index for the texts of the search, when so many messages are looked at that it is worth it.
func (q *query) findTexts(t *term) error {
	for _, sub := range t.terms {
		if err := q.findTexts(sub); err != nil {
			return err
		}
	}
	index := q.s.srv.o.Index
	if t.finder == nil || t.any || index == nil || q.s.box.snap.Len() < leastIndexed {
		return nil
	}
	var err error
	t.hits, err = index.Find(q.ctx, q.s.account(), t.scope(), t.finder.Needle())
	return err
}

// leastIndexed is how many messages a mailbox has when its searches use the index.
const leastIndexed = 200

// byIndex decides by the index where it can.
func (t *term) byIndex(e store.EmailID) verdict {
	switch t.hits.Look(uint64(e)) {
	case search.No:
		return no
	case search.Yes:
		if t.op != imap.SearchHeader { // which field it is remains to be seen
			return yes
		}
	}
	return unknown
}

// textHolds tells whether the text is in the message: for TEXT in its header, decoded, and for both in its body.
func (q *query) textHolds(m *store.Email, t *term) (found bool, err error) {
	if t.any {
		return true, nil
	}
	if t.hits.Look(uint64(m.ID)) == search.Unknown {
		q.read++
	}
	t.finder.Reset()
	err = q.walk.Each(m.Root, q.body, t.scope(), func(p message.Piece) bool {
		found = t.finder.Find(p)
		return !found
	})
	return found, mail.Wrap("imapd.search", err)
}

// header gives the header section of the message being decided.
func (q *query) header(p *message.Part) (string, error) {
	r, err := q.body.Section(p.HeaderStart, min(p.BodyStart-p.HeaderStart, maxHeader))
	if err != nil {
		return "", err
	}
	var s strings.Builder
	if _, err := io.Copy(&s, r); err != nil {
		return "", mail.Wrap("imapd.search", err)
	}
	return s.String(), nil
}
