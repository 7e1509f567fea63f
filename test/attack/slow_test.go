package attack

import (
	"sync"
	"testing"
	"time"

	"postel/test/harness"
)

// TestSlowClients: two thousand clients that send an octet in ten seconds, some in a command, some in the content, cost
// no more than 100 MiB, and honest clients are answered within 5 s.
func TestSlowClients(t *testing.T) {
	if testing.Short() {
		t.Skip("2,000 clients")
	}
	const clients, most, answered = 2000, 100 << 20, 5 * time.Second
	s := harness.Dev(t)
	if resident(t, s) == 0 {
		t.Skip("no /proc on this system")
	}
	conns := make([]*harness.Conn, clients)
	var wg sync.WaitGroup
	for part := range 20 {
		wg.Go(func() {
			for i := part; i < clients; i += 20 {
				c := harness.Dial(t, s.Addr("smtp"))
				c.Reply()
				if i%2 == 0 {
					c.Put("EHLO slow.example\r\nMAIL FROM:<a@slow.example>\r\nRCPT TO:<alice@postel.test>\r\nDATA\r\n")
					for range 4 {
						c.Reply()
					}
				}
				conns[i] = c
			}
		})
	}
	wg.Wait()
	for i := range 3 {
		for _, c := range conns {
			c.Put("S"[:1])
		}
		began := time.Now()
		if r := harness.SMTP(t, s.Addr("smtp")).Send("a@b.example", "alice@postel.test", "Subject: honest\r\n\r\nx\r\n"); r[:3] != "250" {
			t.Error(r)
		}
		if took := time.Since(began); took > answered {
			t.Errorf("round %d: an honest client was answered after %s", i, took)
		}
		// What the start left behind counts too, as it may be given back meanwhile.
		if all := resident(t, s); all > most {
			t.Errorf("round %d: %d octets", i, all)
		} else {
			t.Logf("round %d: %d MiB in all", i, all>>20)
		}
		time.Sleep(2 * time.Second) // slower than that it only waits longer
	}
	s.Kill()
}
