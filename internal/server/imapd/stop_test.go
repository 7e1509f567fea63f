package imapd

import (
	"context"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestStop: sessions that wait, in IDLE or not, are told when the server stops.
func TestStop(t *testing.T) {
	t.Parallel()
	w := start(t, setup{clearAuth: true})
	waiting, idling, early := w.login(), w.login(), w.dial()
	early.line()
	waiting.do("SELECT INBOX")
	idling.do("SELECT INBOX")
	idling.do("IDLE")
	time.Sleep(20 * time.Millisecond)
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	must(t, w.listen.Shutdown(ctx))
	for _, c := range []*client{waiting, idling, early} {
		if l := c.line(); l != "* BYE [UNAVAILABLE] server is stopping" {
			t.Error(l)
		}
	}
}

// TestBrokenStore: when the rows can no longer be read, the answers say so and the session lives.
func TestBrokenStore(t *testing.T) {
	t.Parallel()
	w := start(t, setup{clearAuth: true})
	w.deliver("INBOX", hello, 0)
	c := w.login()
	c.do("SELECT INBOX")
	must(t, w.rows.Close())
	for _, cmd := range []string{"FETCH 1 ENVELOPE", "STORE 1 +FLAGS (x)", "LIST \"\" *", "STATUS INBOX (MESSAGES)", "EXPUNGE"} {
		c.send("t " + cmd)
		lines := c.until("t")
		if last := lines[len(lines)-1]; !strings.HasPrefix(last, "t NO [UNAVAILABLE]") {
			t.Errorf("%s: %s", cmd, last)
		}
	}
	c.do("LOGOUT")
}

// TestDrippingMessage: a message that never ends, an octet at a time, ends the session.
func TestDrippingMessage(t *testing.T) {
	t.Parallel()
	w := start(t, setup{clearAuth: true, limits: Limits{Command: 100 * time.Millisecond}})
	c := w.login()
	c.send("t APPEND INBOX {100000}")
	c.until("t")
	ended := make(chan string, 1)
	go func() { ended <- c.line() }()
	for began := time.Now(); time.Since(began) < 10*time.Second; time.Sleep(20 * time.Millisecond) {
		select {
		case l := <-ended:
			if !strings.HasPrefix(l, "* BYE") {
				t.Error(l)
			}
			return
		default:
			_, _ = c.Write([]byte("x"))
		}
	}
	t.Error("the session lives on")
}
