package smtp

import (
	"strings"
	"testing"

	"postel/internal/mail"
)

// TestExplain: whatever refuses has a meaning, a mend and a clause; the status goes before the code.
func TestExplain(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		code int
		e    mail.Enhanced
		want string
	}{
		{550, mail.Enhanced{5, 1, 1}, "no such mailbox"},
		{550, mail.Enhanced{}, "the mailbox does not exist, or"},
		{452, mail.Enhanced{4, 2, 2}, "the mailbox is full"},
		{550, mail.Enhanced{5, 99, 99}, "the mailbox does not exist, or"},
		{530, mail.Enhanced{5, 7, 10}, "what was asked for needs TLS"},
		{550, mail.Enhanced{5, 7, 2}, "the members of a list"},
		{550, mail.Enhanced{5, 6, 8}, "the answer is not ASCII"},
		{599, mail.Enhanced{}, "refused, without a reason"},
	} {
		m := Explain(tt.code, tt.e)
		if !strings.HasPrefix(m.Text, tt.want) || m.Mend == "" || !strings.HasPrefix(m.Clause, "RFC ") {
			t.Errorf("%d %s: %+v", tt.code, tt.e, m)
		}
	}
	for kind := range answers { // what we say ourselves is explained by its status
		e := answers[kind].enhanced
		if _, ok := meanings[[2]uint16{e[1], e[2]}]; !ok && e != (mail.Enhanced{5, 5, 0}) {
			t.Errorf("%s has no meaning", e)
		}
	}
}
