// Package postgres carries the notices of bus between the nodes on one PostgreSQL database, by LISTEN and NOTIFY.
//
// A notice reaches the subscribers of this process at once, and those of the others a moment later: what is published
// within gatherTime goes out together, the newest number of each topic alone, as text "K ID NUMBER" in decimal, one
// topic a line, behind a first line that names the sender, which so knows its own. A payload has 8,000 octets at most.
//
// Notices are hints. While the database is away those to other nodes wait or are lost, and once it is back the listener
// tells nobody that it was deaf: who subscribes looks by itself from time to time. A database that speaks PostgreSQL's
// protocol without LISTEN costs latency between nodes, no more.
package postgres

import (
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"postel/internal/bus"
	"postel/internal/mail"
)

// channel is an expression: nodes of one schema hear each other, those of others on the same server do not.
const channel = `'postel_' || left(md5(coalesce(current_schema(), '')), 16)`

const (
	gatherTime = 5 * time.Millisecond
	maxPayload = 7900
	maxTopics  = 100_000 // waiting to be sent; further ones are dropped
	sendTime   = 10 * time.Second
	firstPause = 100 * time.Millisecond // before the database is tried again; it doubles
	lastPause  = 10 * time.Second
	keepAlive  = 30 * time.Second // without a notice the listener asks whether the session lives
)

// Options say over which database.
type Options struct {
	URL    string
	Local  bus.Bus      // of this process: Subscribe is its, and what other nodes say is published there
	Logger *slog.Logger // nil is none
}

// Bus is a bus.Bus over several nodes.
type Bus struct {
	o      Options
	config *pgx.ConnConfig
	me     string // names this sender

	mu      sync.Mutex
	waiting map[bus.Topic]uint64
	filled  chan struct{} // has an element when something waits

	stop    context.CancelFunc
	running sync.WaitGroup
}

var _ bus.Bus = (*Bus)(nil)

// New starts to listen and to send; it does not wait for the database. Kind Invalid for a bad URL.
func New(o Options) (*Bus, error) {
	c, err := pgx.ParseConfig(withoutPool(o.URL))
	if err != nil {
		return nil, &mail.Error{Op: "bus.open", Kind: mail.Invalid, Text: "not a URL of a PostgreSQL database", Err: err}
	}
	if c.ConnectTimeout == 0 {
		c.ConnectTimeout = sendTime
	}
	c.RuntimeParams["application_name"] = "postel bus"
	c.RuntimeParams["synchronous_commit"] = "off" // a notice is no mail
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	ctx, stop := context.WithCancel(context.Background())
	b := &Bus{o: o, config: c, me: rand.Text(), waiting: make(map[bus.Topic]uint64), filled: make(chan struct{}, 1), stop: stop}
	b.running.Go(func() { b.again(ctx, "listen", b.listen) })
	b.running.Go(func() { b.again(ctx, "send", b.send) })
	return b, nil
}

// withoutPool drops the parameters that only a pool of sessions understands.
func withoutPool(url string) string {
	head, query, _ := strings.Cut(url, "?")
	var kept []string
	for p := range strings.SplitSeq(query, "&") {
		if p != "" && !strings.HasPrefix(p, "pool_") {
			kept = append(kept, p)
		}
	}
	if len(kept) == 0 {
		return head
	}
	return head + "?" + strings.Join(kept, "&")
}

// Close ends the sessions; what waits is dropped.
func (b *Bus) Close() error {
	b.stop()
	b.running.Wait()
	return nil
}

// Subscribe implements bus.Bus.
func (b *Bus) Subscribe(t bus.Topic) (<-chan uint64, func()) { return b.o.Local.Subscribe(t) }

// Publish implements bus.Bus.
func (b *Bus) Publish(t bus.Topic, number uint64) {
	b.o.Local.Publish(t, number)
	b.mu.Lock()
	defer b.mu.Unlock()
	old, known := b.waiting[t]
	if !known && len(b.waiting) >= maxTopics {
		return
	}
	b.waiting[t] = max(old, number)
	select {
	case b.filled <- struct{}{}:
	default:
	}
}

// again runs one side in a session until ctx ends, in a new session whenever one breaks.
func (b *Bus) again(ctx context.Context, what string, side func(context.Context, *pgx.Conn) error) {
	pause := firstPause
	for ctx.Err() == nil {
		c, err := pgx.ConnectConfig(ctx, b.config)
		if err == nil {
			start := time.Now()
			err = side(ctx, c)
			end, cancel := context.WithTimeout(context.Background(), time.Second)
			_ = c.Close(end) // broken, or no longer needed
			cancel()
			if time.Since(start) > lastPause {
				pause = firstPause
			}
		}
		if ctx.Err() != nil {
			return
		}
		b.o.Logger.Debug("bus: session broke", "side", what, "err", err)
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
		pause = min(2*pause, lastPause)
	}
}

// listen publishes to this process what other nodes tell.
func (b *Bus) listen(ctx context.Context, c *pgx.Conn) error {
	var name string
	if err := c.QueryRow(ctx, `SELECT `+channel).Scan(&name); err != nil {
		return err
	}
	if _, err := c.Exec(ctx, `LISTEN `+name); err != nil {
		return err
	}
	for {
		wait, cancel := context.WithTimeout(ctx, keepAlive)
		n, err := c.WaitForNotification(wait)
		timeout := wait.Err() != nil && ctx.Err() == nil
		cancel()
		if timeout && n == nil {
			ping, cancel := context.WithTimeout(ctx, sendTime)
			err = c.Ping(ping)
			cancel()
		}
		if err != nil {
			return err
		}
		if n != nil {
			b.heard(n.Payload)
		}
	}
}

// heard reads a payload; what it does not understand, a newer node may have said.
func (b *Bus) heard(payload string) {
	sender, lines, _ := strings.Cut(payload, "\n")
	if sender == b.me {
		return
	}
	for line := range strings.Lines(lines) {
		if t, number, ok := parse(strings.TrimSuffix(line, "\n")); ok {
			b.o.Local.Publish(t, number)
		}
	}
}

func format(t bus.Topic, number uint64) string {
	return fmt.Sprintf("%d %d %d\n", t.Kind, t.ID, number)
}

func parse(line string) (t bus.Topic, number uint64, ok bool) {
	f := strings.Split(line, " ")
	if len(f) != 3 {
		return t, 0, false
	}
	kind, err1 := strconv.ParseUint(f[0], 10, 8)
	id, err2 := strconv.ParseUint(f[1], 10, 64)
	number, err3 := strconv.ParseUint(f[2], 10, 64)
	return bus.Topic{Kind: bus.Kind(kind), ID: id}, number, err1 == nil && err2 == nil && err3 == nil
}

// send tells other nodes what waits.
func (b *Bus) send(ctx context.Context, c *pgx.Conn) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-b.filled:
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(gatherTime):
		}
		if err := b.sendAll(ctx, c); err != nil {
			return err
		}
	}
}

func (b *Bus) sendAll(ctx context.Context, c *pgx.Conn) error {
	b.mu.Lock()
	topics := b.waiting
	b.waiting = make(map[bus.Topic]uint64)
	b.mu.Unlock()
	var batch pgx.Batch
	payload := b.me + "\n"
	flush := func() {
		batch.Queue(`SELECT pg_notify(`+channel+`, $1)`, payload)
		payload = b.me + "\n"
	}
	for t, number := range topics {
		if payload += format(t, number); len(payload) > maxPayload-64 {
			flush()
		}
	}
	if len(payload) > len(b.me)+1 {
		flush()
	}
	ctx, cancel := context.WithTimeout(ctx, sendTime)
	defer cancel()
	return c.SendBatch(ctx, &batch).Close()
}
