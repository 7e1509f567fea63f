package tlsrpt

import (
	"context"
	"encoding/json"
	"time"

	"postel/internal/mail"
)

// KeptDays is for how many days back counts are kept, and what became of the reports.
const KeptDays = 14

// MaxDomains bounds the domains of one day.
const MaxDomains = 10_000

// Ledger keeps what was counted, for all nodes that share it. Safe for concurrent use.
type Ledger interface {
	// Add counts more of one day, in one step. Of domains that the day does not have yet only as many are taken as there
	// is room for; refused is how many were not. What is settled is taken out of more, so that after an error the rest is
	// there. It may be lost by a crash.
	Add(ctx context.Context, d Day, more map[mail.Domain]Counts) (refused int, err error)
	// Rows gives what is kept of a day, in the order of the domains' names; fn may call Change.
	Rows(ctx context.Context, d Day, fn func(mail.Domain, Row) error) error
	// Row gives one; Kind NotFound.
	Row(ctx context.Context, d Day, m mail.Domain) (Row, error)
	// Change changes one that is there, in one step, and outlives a crash. fn may run more than once.
	Change(ctx context.Context, d Day, m mail.Domain, fn func(*Row)) error
	// Forget removes all days before one.
	Forget(ctx context.Context, before Day) error
}

// Row is what is kept of a domain and day.
type Row struct {
	Counts  Counts  `json:"counts,omitempty"`
	Sending Sending `json:"sending,omitzero"`
}

// State is what has become of a report.
type State string

// The states.
const (
	Waiting  State = ""         // it is to be sent, or it is to be found out whether it is wanted
	Sent     State = "sent"     // every address that takes HTTPS has it
	Unwanted State = "unwanted" // the owner wants none, or none that we can send
	Dropped  State = "dropped"  // it could not be sent for a day
)

// Sending is how far a report is.
type Sending struct {
	State State     `json:"state,omitempty"`
	ID    string    `json:"id,omitempty"`    // of the report, once it was tried
	First time.Time `json:"first,omitzero"`  // the first attempt
	Next  time.Time `json:"next,omitzero"`   // the next, when it waits
	Tries int       `json:"tries,omitempty"` // so far
	Done  []string  `json:"done,omitempty"`  // the addresses that have it
	Why   string    `json:"why,omitempty"`   // why it is as it is
	At    time.Time `json:"at,omitzero"`     // when it became so
	Told  Summary   `json:"told,omitzero"`   // what was reported
}

const version = 1

type row struct {
	V int `json:"v"`
	Row
}

// Encode gives the value of a row: JSON with its version, "v", which is 1.
func (r Row) Encode() ([]byte, error) { return json.Marshal(row{version, r}) }

// DecodeRow reads the value of a row. Kind Invalid.
func DecodeRow(b []byte) (Row, error) {
	var v row
	if err := json.Unmarshal(b, &v); err != nil || v.V != version {
		return Row{}, &mail.Error{Op: "tlsrpt.decode", Kind: mail.Invalid, Text: "counts of TLS cannot be read", Err: err}
	}
	return v.Row, nil
}
