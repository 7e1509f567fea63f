package store

import (
	"slices"

	"postel/internal/kv"
	"postel/internal/mail"
)

// readExpunged takes down what was expunged and can be brought back, before its emails are looked at.
func (x *survey) readExpunged() error {
	x.kept = map[EmailID]kv.Key{}
	return x.scan(kv.Expunged, func(k kv.Key, v []byte) error {
		key := append(kv.K(kv.Expunged).Account(x.a), k...)
		drop := fix{key, nil}
		if len(k) > 0 && k[0] == udMailbox {
			if _, err := decodeGone(v); err != nil {
				x.tell(mail.Finding{Part: "expunged", Text: "what a deleted mailbox was called is damaged"}, drop)
			}
			return nil
		}
		_, e, ok := expungedKey(key)
		_, err := decodeExpunged(v)
		f := mail.Finding{Part: "expunged", Email: uint64(e)}
		switch _, twice := x.kept[e]; {
		case !ok || err != nil:
			f.Text = "the row of an expunged message is damaged; the message comes back"
		case twice:
			f.Text = "an expunged message is noted twice"
		case len(x.entriesOf(e)) > 0:
			f.Text = "a message that is said to be expunged is in a mailbox"
		default:
			x.kept[e] = slices.Clone(key)
			return nil
		}
		x.tell(f, drop)
		return nil
	})
}

// expungedEmail looks at the row of an email that was expunged; it counts nowhere.
func (x *survey) expungedEmail(e EmailID, row *emailRow) error {
	gone, err := x.links(e, row, nil)
	if err == nil && gone {
		x.tell(mail.Finding{Part: "expunged", Email: uint64(e), Text: "the body of an expunged message is gone"},
			fix{keyEmail(x.a, e), nil}, fix{x.kept[e], nil})
	}
	delete(x.kept, e)
	return err
}

// endExpunged drops what is noted of expunged emails that are not there.
func (x *survey) endExpunged() {
	for e, key := range x.kept {
		x.tell(mail.Finding{Part: "expunged", Email: uint64(e), Text: "an expunged message is noted and not there"}, fix{key, nil})
	}
}
