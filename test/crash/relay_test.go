package crash

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"time"

	"postel/internal/admin"
	"postel/test/harness"
)

// What becomes of a message that is relayed is in its recipient's domain.
const (
	taken   = "taken.test"   // by the sink, at once
	bounced = "bounced.test" // refused for good: a report comes back
	waiting = "waiting.test" // refused for now, until the sink is told otherwise
)

// How far an operator's deed has come.
type deed uint8

const (
	no deed = iota
	begun
	done
)

// relay is what is known of a message for elsewhere.
type relay struct {
	sender, domain string
	begun          time.Time
	acked          bool
	held           bool // of one that waits
	holding        bool // a hold or release was begun: held is what it shall become
	dropped, late  deed // late: it is let through and tried again
	taken          []harness.Taken
}

// relay is a session that submits mail for elsewhere.
func (d *driver) relay(w int) error {
	user := d.users[w%len(d.users)]
	c, err := dialSMTP(d.srv.Addr("submission"), user)
	if err != nil {
		return err
	}
	defer func() { _ = c.Close() }()
	for {
		m := d.ledger.message()
		domain := []string{taken, taken, taken, bounced, waiting}[rand.IntN(5)]
		d.ledger.relaying(m.id, user, domain)
		err := c.send(user, m, m.id+"@"+domain)
		if err != nil {
			return d.note(err)
		}
		d.ledger.relayed(m.id)
		time.Sleep(2 * time.Millisecond)
	}
}

func (l *ledger) relaying(id, sender, domain string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.relays[id] = &relay{sender: sender, domain: domain, begun: time.Now()}
	if domain == bounced {
		l.bounds(owner{sender, report + id}, home).max++
	}
}

func (l *ledger) relayed(id string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.late(l.relays[id].begun, id) {
		return
	}
	l.relays[id].acked = true
	l.total.relayed++
	l.answered()
}

// rcpt is the sink's answer to a recipient.
func (l *ledger) rcpt(path string) string {
	id, domain, _ := strings.Cut(strings.Trim(path, "<>"), "@")
	l.mu.Lock()
	defer l.mu.Unlock()
	switch r := l.relays[id]; {
	case r == nil:
		l.wrong("%s is sent, which was never taken or has ended", path)
		return "550 5.1.1 who is that"
	case domain == bounced:
		return "550 5.1.1 no such user"
	case domain == waiting && r.late == no:
		return "451 4.3.0 not now"
	}
	return "250 2.1.5 ok"
}

// operate is an operator who holds, releases, drops and retries what waits.
func (d *driver) operate(int) error {
	items, err := d.queue("?domain=" + waiting)
	if err != nil {
		return err
	}
	var idle []admin.QueueItem
	for _, it := range items {
		r := it.Recipients[0]
		if r.State == "held" || r.Attempts > 0 && time.Until(r.Due) > time.Minute { // no attempt is under way
			idle = append(idle, it)
		}
	}
	if len(idle) == 0 {
		time.Sleep(5 * time.Millisecond)
		return nil
	}
	it := idle[rand.IntN(len(idle))]
	verb := []string{"hold", "retry", "drop"}[rand.IntN(3)]
	switch {
	case len(items) > 40:
		verb = "drop"
	case it.State == "held" && verb != "drop":
		verb = "release"
	}
	id, _, _ := strings.Cut(it.Recipients[0].Address, "@")
	d.ledger.operating(id, verb)
	resp, err := d.control().Post("http://postel/v1/queue/"+it.ID+"/"+verb, "application/json", nil)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	switch _, _ = io.Copy(io.Discard, resp.Body); resp.StatusCode {
	case http.StatusOK:
		d.ledger.operated(id, verb)
	case http.StatusServiceUnavailable, http.StatusInternalServerError: // it has failed
	default:
		d.ledger.refused("%s of %s: %s", verb, id, resp.Status)
	}
	time.Sleep(2 * time.Millisecond)
	return nil
}

func (l *ledger) operating(id, verb string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	r := l.relays[id]
	if r == nil {
		l.wrong("the queue has %s, which was never taken or has ended", id)
		l.relays[id] = &relay{domain: waiting}
		return
	}
	switch verb {
	case "hold", "release":
		r.held, r.holding = verb == "hold", true
	case "drop":
		r.dropped = begun
	case "retry":
		r.late = max(r.late, begun)
	}
}

func (l *ledger) operated(id, verb string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.dark {
		return
	}
	r := l.relays[id]
	switch verb {
	case "hold", "release":
		r.holding = false
		l.total.held++
	case "drop":
		r.dropped = done
		l.total.dropped++
	case "retry":
		r.late = done
		l.total.late++
	}
}

func (d *driver) control() *http.Client {
	return &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", filepath.Join(d.data, "control.sock"))
	}}}
}

// queue lists what waits.
func (d *driver) queue(query string) ([]admin.QueueItem, error) {
	resp, err := d.control().Get("http://postel/v1/queue" + query)
	if err != nil {
		return nil, err
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("queue: %s", resp.Status)
	}
	var all []admin.QueueItem
	dec := json.NewDecoder(resp.Body)
	for {
		var it admin.QueueItem
		if err := dec.Decode(&it); err == io.EOF {
			return all, nil
		} else if err != nil {
			return nil, err
		}
		all = append(all, it)
	}
}
