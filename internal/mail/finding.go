package mail

import "fmt"

// Finding is one thing that a check found wrong with what is stored: where, what, and what becomes of it.
type Finding struct {
	Part      string    `json:"part"`                 // the table or room: "entries", "queue", "blobs", …
	Account   string    `json:"account,omitempty"`    // its address, where it is known
	AccountID AccountID `json:"account_id,omitempty"` // 0: of no account
	Mailbox   string    `json:"mailbox,omitempty"`    // its name
	UID       uint32    `json:"uid,omitempty"`
	Email     uint64    `json:"email,omitempty"`
	Text      string    `json:"text"`           // what is wrong
	Lost      string    `json:"lost,omitempty"` // what no repair brings back
	State     Mend      `json:"state"`
}

// Mend says whether a Finding is or can be mended.
type Mend string

// The states of a Finding.
const (
	Mendable Mend = "mendable"      // a repair would mend it
	Mended   Mend = "mended"        // by this repair
	Beyond   Mend = "beyond repair" // it stays
	Away     Mend = "not checked"   // what is to be looked at cannot be reached now
)

// String gives the finding in one line: where, what, what is lost.
func (f Finding) String() string {
	s := f.Part + ": "
	switch {
	case f.Account != "":
		s += f.Account + ": "
	case f.AccountID != 0:
		s += fmt.Sprintf("account %d: ", f.AccountID)
	}
	if f.Mailbox != "" {
		s += fmt.Sprintf("mailbox %q: ", f.Mailbox)
	}
	if f.UID != 0 {
		s += fmt.Sprintf("UID %d: ", f.UID)
	}
	s += f.Text
	if f.Lost != "" {
		s += "; lost: " + f.Lost
	}
	return s
}
