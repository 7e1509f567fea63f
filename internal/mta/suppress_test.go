package mta

import (
	"context"
	"slices"
	"strings"
	"sync"
	"testing"

	"postel/internal/directory"
	"postel/internal/mail"
	"postel/internal/vfs"
)

// suppressions is a suppression list that remembers.
type suppressions struct {
	mu  sync.Mutex
	all []directory.Suppression
}

func (s *suppressions) Suppressed(context.Context, mail.Address) (directory.Suppression, error) {
	return directory.Suppression{}, mail.E("fake", mail.NotFound, "nobody")
}

func (s *suppressions) Suppress(_ context.Context, e directory.Suppression) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all = append(s.all, e)
	return nil
}

func (s *suppressions) addresses() (all []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range s.all {
		all = append(all, e.Address.String()+" "+string(e.Source))
	}
	slices.Sort(all)
	return all
}

// TestSuppress: what a bulk sender's mail is refused for good with, for the sake of its address, is remembered (RFC 3463
// §3.2); what is full, refused by policy or without a status that says so is not, nor what others send.
func TestSuppress(t *testing.T) {
	t.Parallel()
	for _, bulk := range []bool{true, false} {
		list := &suppressions{}
		f := newFixture(t, vfs.NewMem(), func(o *Options) { o.Suppress = list })
		f.world.reply = func(_ string, _ mail.Envelope, rcpt mail.Address) mail.Result {
			r := reply(mail.ScopeRecipient, 550, "no")
			switch rcpt.Local {
			case "gone":
				r.Enhanced = mail.Enhanced{5, 1, 1}
			case "off":
				r.Enhanced = mail.Enhanced{5, 2, 1}
			case "full":
				r.Code, r.Enhanced = 552, mail.Enhanced{5, 2, 2}
			case "spam":
				r.Enhanced = mail.Enhanced{5, 7, 1}
			case "sender": // said of the message
				r.Scope, r.Enhanced = mail.ScopeMessage, mail.Enhanced{5, 1, 1}
			case "bare":
			default:
				r = reply(mail.ScopeMessage, 250, "taken")
			}
			return r
		}
		f.initAccounts(alice)
		f.start()
		e := envelope("alice@postel.test", "x@null.test")
		for _, name := range []string{"gone", "off", "full", "spam", "sender", "bare", "fine"} {
			e.Recipients = append(e.Recipients, mail.Recipient{Address: address(name + "@remote.test")})
		}
		in := Incoming{Envelope: e, Message: f.message(sample), Submitted: true, Bulk: bulk}
		if _, err := f.Accept(context.Background(), in); err != nil {
			t.Fatal(err)
		}
		until(t, "it is done", func() bool { return len(f.items()) == 0 })
		want := []string{"gone@remote.test bounce", "off@remote.test bounce", "x@null.test bounce"}
		if !bulk {
			want = nil
		}
		until(t, "the bounces are remembered", func() bool { return len(list.addresses()) >= len(want) })
		if got := list.addresses(); !slices.Equal(got, want) {
			t.Errorf("bulk %v: suppressed %q, want %q", bulk, got, want)
		}
		if bulk && !strings.Contains(list.all[0].Reason+list.all[1].Reason, "550 5.") {
			t.Errorf("%+v", list.all)
		}
	}
}
