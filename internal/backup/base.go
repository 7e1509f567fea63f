package backup

import (
	"encoding/json"

	"postel/internal/mail"
	"postel/internal/store"
)

// baseJSON is a Base on its way to the server: numbers that follow one another are one range.
type baseJSON struct {
	Head     Head              `json:"head"`
	Accounts []baseAccountJSON `json:"accounts"`
}

type baseAccountJSON struct {
	ID       mail.AccountID `json:"id"`
	Validity uint32         `json:"validity"`
	Emails   [][2]uint64    `json:"emails"` // first, how many
}

// MarshalJSON writes it for UnmarshalJSON.
func (b *Base) MarshalJSON() ([]byte, error) {
	out := baseJSON{Head: b.Head}
	for id, a := range b.accounts {
		x := baseAccountJSON{ID: id, Validity: a.validity, Emails: [][2]uint64{}}
		for _, e := range a.emails {
			if n := len(x.Emails); n > 0 && x.Emails[n-1][0]+x.Emails[n-1][1] == uint64(e) {
				x.Emails[n-1][1]++
				continue
			}
			x.Emails = append(x.Emails, [2]uint64{uint64(e), 1})
		}
		out.Accounts = append(out.Accounts, x)
	}
	return json.Marshal(out)
}

// maxBase bounds the messages that a Base names.
const maxBase = 1 << 28

// UnmarshalJSON reads what MarshalJSON wrote.
func (b *Base) UnmarshalJSON(v []byte) error {
	var in baseJSON
	if err := json.Unmarshal(v, &in); err != nil {
		return err
	}
	*b = Base{Head: in.Head, accounts: map[mail.AccountID]baseAccount{}}
	total := uint64(0)
	for _, a := range in.Accounts {
		x := baseAccount{validity: a.Validity}
		for _, r := range a.Emails {
			if r[1] > maxBase || total+r[1] > maxBase {
				return mail.E("backup.base", mail.TooMany, "more messages than a backup can build on")
			}
			total += r[1]
			for e := range r[1] {
				x.emails = append(x.emails, store.EmailID(r[0]+e))
			}
		}
		b.accounts[a.ID] = x
	}
	return nil
}
