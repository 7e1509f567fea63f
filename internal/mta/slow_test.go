package mta

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"postel/internal/mail"
)

// meter is a provider that takes so many messages a minute and says to others that it is too much.
type meter struct {
	mu      sync.Mutex
	minute  int64
	n       int
	refused int
	at      []time.Duration // when something was tried, since began
	began   time.Time
}

func (p *meter) take(most int) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.at = append(p.at, time.Since(p.began))
	if m := time.Now().Unix() / 60; m != p.minute {
		p.minute, p.n = m, 0
	}
	if p.n++; p.n > most {
		p.refused++
		return false
	}
	return true
}

// TestSlowsDown: where a provider takes 30 messages a minute, hardly more are tried, and all arrive at about that rate.
func TestSlowsDown(t *testing.T) {
	t.Parallel()
	for name, tooMuch := range map[string]mail.Result{
		"421": {Scope: mail.ScopeSession, Code: 421, Enhanced: mail.Enhanced{4, 7, 28}, Text: "unusual rate of mail"},
		"450": {Scope: mail.ScopeMessage, Code: 450, Enhanced: mail.Enhanced{4, 7, 1}, Text: "too much mail from you"},
		"451": {Scope: mail.ScopeRecipient, Code: 451, Enhanced: mail.Enhanced{4, 7, 650}, Text: "temporarily rate limited"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			bubble(t, nil, func(t *testing.T, f *fixture) {
				p := &meter{began: time.Now()}
				f.world.reply = func(string, mail.Envelope, mail.Address) mail.Result {
					if p.take(30) {
						return reply(mail.ScopeMessage, 250, "taken")
					}
					return tooMuch
				}
				for i := range 600 {
					f.mustAccept("x@far.test", fmt.Sprintf("a%d@big.test", i))
				}
				pass(time.Hour)
				p.mu.Lock()
				defer p.mu.Unlock()
				got := len(f.world.deliveries())
				if got < 450 || p.refused > got*2/5 {
					t.Errorf("%d of 600 came within an hour, %d were tried in vain", got, p.refused)
				}
			})
		})
	}
}

// TestPauseGrows: a provider that takes nothing is asked less and less, with one message at a time, and when it takes mail
// again all of it gets through.
func TestPauseGrows(t *testing.T) {
	t.Parallel()
	bubble(t, nil, func(t *testing.T, f *fixture) {
		p := &meter{began: time.Now()}
		most := 0
		f.world.reply = func(string, mail.Envelope, mail.Address) mail.Result {
			if p.take(most) {
				return reply(mail.ScopeMessage, 250, "taken")
			}
			return mail.Result{Scope: mail.ScopeMessage, Code: 450, Enhanced: mail.Enhanced{4, 7, 0}, Text: "slow down"}
		}
		for i := range 200 {
			f.mustAccept("x@far.test", fmt.Sprintf("a%d@big.test", i))
		}
		pass(2 * time.Minute)
		p.mu.Lock()
		var after []time.Duration
		for _, at := range p.at {
			after = append(after, at.Round(time.Second))
		}
		p.mu.Unlock()
		// Behind each pause: of 5, 10, 20 and 40 s; what is over a minute is death.
		want := []time.Duration{0, 5e9, 15e9, 35e9, 75e9}
		after = slices.Compact(after) // those of several sessions
		for i, w := range want {
			if i >= len(after) || after[i] < w || after[i] > w+time.Second {
				t.Fatalf("tried after %v, want %v", after, want)
			}
		}
		f.world.mu.Lock()
		most = 1000
		f.world.mu.Unlock()
		pass(6 * time.Hour)
		if n := len(f.items()); n != 0 {
			t.Errorf("%d are left", n)
		}
	})
}

// TestGreylisting: a host that wants each message to come again is not taken for one that wants less of them.
func TestGreylisting(t *testing.T) {
	t.Parallel()
	bubble(t, nil, func(t *testing.T, f *fixture) {
		p := &meter{began: time.Now()}
		f.world.reply = func(string, mail.Envelope, mail.Address) mail.Result {
			p.take(0)
			return mail.Result{Scope: mail.ScopeRecipient, Code: 450, Enhanced: mail.Enhanced{4, 7, 1}, Text: "Greylisted, try again"}
		}
		for i := range 200 {
			f.mustAccept("x@far.test", fmt.Sprintf("a%d@grey.test", i))
		}
		pass(4 * time.Second)
		p.mu.Lock()
		defer p.mu.Unlock()
		if p.refused != 200 {
			t.Errorf("%d of 200 were tried at once", p.refused)
		}
	})
}
