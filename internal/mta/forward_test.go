package mta

import (
	"slices"
	"strings"
	"sync"
	"testing"

	"postel/internal/mail"
	"postel/internal/vfs"
)

// TestForwardedSender: what an alias leads elsewhere goes out under a sender of the alias's domain where the author's is not
// ours (RFC 7208 §D.3); our reports go to the author all the same, and the null sender stays null.
func TestForwardedSender(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, from, to string
		off            bool
		want           []string // recipient and sender
	}{
		{name: "a stranger's", from: "x@far.test", to: "away@postel.test", want: []string{"me@elsewhere.test from srs.x.far.test@postel.test"}},
		{name: "ours", from: "alice@postel.test", to: "away@postel.test", want: []string{"me@elsewhere.test from alice@postel.test"}},
		{name: "no forward", from: "x@far.test", to: "b@remote.test", want: []string{"b@remote.test from x@far.test"}},
		{name: "the null sender", to: "away@postel.test", want: []string{"me@elsewhere.test from "}},
		{name: "turned off", from: "x@far.test", to: "away@postel.test", off: true, want: []string{"me@elsewhere.test from x@far.test"}},
		{name: "too long", from: "long@far.test", to: "away@postel.test", want: []string{"me@elsewhere.test from long@far.test"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			f := newFixture(t, vfs.NewMem(), func(o *Options) {
				o.Forward = func(from mail.Address, by mail.Domain) (mail.Address, bool) {
					if from.Local == "long" {
						return from, false
					}
					return mail.Address{Local: "srs." + from.Local + "." + string(from.Domain), Domain: by}, true
				}
				if c.off {
					o.Forward = nil
				}
			})
			var mu sync.Mutex
			var got []string
			f.world.reply = func(_ string, e mail.Envelope, rcpt mail.Address) mail.Result {
				mu.Lock()
				defer mu.Unlock()
				got = append(got, rcpt.String()+" from "+e.From.String())
				return reply(mail.ScopeRecipient, 550, "no")
			}
			f.initAccounts(alice)
			f.start()
			if _, _, err := f.accept(envelope(c.from, c.to)); err != nil {
				t.Fatal(err)
			}
			until(t, "it is done", func() bool { return len(f.items()) == 0 })
			mu.Lock()
			defer mu.Unlock()
			want := c.want
			if c.from != "" && !strings.HasSuffix(c.from, "@postel.test") { // the report, which fails too
				want = append(want, c.from+" from ")
			}
			if !slices.Equal(got, want) {
				t.Errorf("sent %q, want %q", got, want)
			}
		})
	}
}
