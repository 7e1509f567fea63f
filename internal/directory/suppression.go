package directory

import (
	"context"
	"fmt"
	"time"

	"postel/internal/mail"
)

// SuppressionSource says who put a recipient on the suppression list.
type SuppressionSource string

// The sources.
const (
	ByOperator SuppressionSource = "operator"
	ByBounce   SuppressionSource = "bounce" // a delivery of ours was refused for good
	ByReport   SuppressionSource = "report" // a report came to a sender that names its recipient (VERP)
)

// Suppression is a recipient to whom bulk senders of ours may not write.
type Suppression struct {
	Address mail.Address // folded
	Source  SuppressionSource
	Reason  string    // one line: the reply that brought it here, or what an operator says
	Since   time.Time // when it was put there
	Expires time.Time // zero: never
}

// String tells why, for a refusal.
func (s Suppression) String() string {
	text := "on the suppression list since " + s.Since.UTC().Format(time.DateOnly)
	if s.Reason != "" {
		text += ": " + s.Reason
	}
	return text
}

// Suppressions is the suppression list. Safe for concurrent use. Addresses are compared folded.
type Suppressions interface {
	// Suppressed gives the entry of an address; Kind NotFound when there is none, or it has expired. It is one read.
	Suppressed(ctx context.Context, a mail.Address) (Suppression, error)
	// Suppress puts an address on the list. An entry that is there stays as it is, unless an operator says otherwise.
	// Kind Invalid.
	Suppress(ctx context.Context, s Suppression) error
}

// HardBounce tells whether a refusal says that an address takes no mail, now and later: it does not exist (5.1.1, 5.1.3),
// it moved (5.1.6), its domain takes none (5.1.2, 5.1.10), or it is out of use (5.2.1) (RFC 3463 §3.2, RFC 7505 §4.2). A
// bare 550 says nothing of the kind: whole networks are refused with it.
func HardBounce(code mail.Enhanced) bool {
	switch code {
	case mail.Enhanced{5, 1, 1}, mail.Enhanced{5, 1, 2}, mail.Enhanced{5, 1, 3}, mail.Enhanced{5, 1, 6},
		mail.Enhanced{5, 1, 10}, mail.Enhanced{5, 2, 1}:
		return true
	}
	return false
}

// CheckSuppressed refuses an address that is on the list: Denied, 5.7.1.
func CheckSuppressed(ctx context.Context, list Suppressions, a mail.Address) error {
	s, err := list.Suppressed(ctx, a)
	switch {
	case mail.Is(err, mail.NotFound):
		return nil
	case err != nil:
		return err
	}
	return &mail.Error{Op: "directory.suppressed", Kind: mail.Denied, Code: mail.Enhanced{5, 7, 1}, Text: fmt.Sprintf("<%s> is %s", a, s)}
}
