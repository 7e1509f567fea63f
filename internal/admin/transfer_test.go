package admin

import (
	"testing"

	"postel/internal/mail"
)

// TestPassing: an import stops where trying later helps, and goes on where only that message is at fault.
func TestPassing(t *testing.T) {
	t.Parallel()
	for kind, want := range map[mail.Kind]bool{
		mail.Full: true, mail.OverQuota: true, mail.Unavailable: true, mail.Busy: true, mail.Canceled: true,
		mail.Invalid: false, mail.TooLarge: false, mail.Rejected: false,
	} {
		if got := passing(mail.E("x", kind, "x")); got != want {
			t.Errorf("%v: %v", kind, got)
		}
	}
}
