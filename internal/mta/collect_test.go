package mta

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"postel/internal/mail"
	"postel/internal/observe"
	"postel/internal/vfs"
)

// never is a session's stopping that does not stop.
func never() bool { return false }

// onDemandFixture is one whose mail for customer.test waits for its customer.
func onDemandFixture(t *testing.T, edit func(*Options)) (*fixture, *syncBuffer) {
	t.Helper()
	log := &syncBuffer{}
	f := newFixture(t, vfs.NewMem(), func(o *Options) {
		o.OnDemand = func(_ context.Context, d mail.Domain) (bool, error) { return d == "customer.test", nil }
		o.Log = slog.New(slog.NewTextHandler(log, nil))
		o.IDs = new(mail.IDs)
		o.Glass = observe.NewGlass(o.IDs, time.Now, nil)
		if edit != nil {
			edit(o)
		}
	})
	f.initAccounts(alice)
	f.start()
	until(t, "the scheduler runs", func() bool {
		c, err := f.Collect(t.Context(), []mail.Domain{"idle.test"}, "x")
		if err == nil {
			c.Close()
		}
		return !mail.Is(err, mail.Unavailable)
	})
	return f, log
}

type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

// take gives what was written and empties it.
func (s *syncBuffer) take() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	defer s.b.Reset()
	return s.b.String()
}

// customer is the server of a turned session. What it says to a command can be changed by its verb, as of a sink.
type customer struct {
	replies map[string]string
	banner  string

	mu       sync.Mutex
	taken    []string // recipients of messages of which it saw the end
	commands []string
}

func (c *customer) serve(conn net.Conn) {
	defer func() { _ = conn.Close() }()
	r := bufio.NewReader(conn)
	say := func(verb, normal string) bool {
		if v, ok := c.replies[verb]; ok {
			normal = v
		}
		if normal == "close" {
			return false
		}
		_, err := io.WriteString(conn, normal+"\r\n")
		return err == nil
	}
	if c.banner == "" {
		c.banner = "220 customer.test ready"
	}
	ok := say("GREETING", c.banner)
	var rcpts []string
	for ok {
		line, err := r.ReadString('\n')
		if err != nil {
			return
		}
		line = strings.TrimSpace(line)
		c.mu.Lock()
		c.commands = append(c.commands, line)
		c.mu.Unlock()
		switch verb := strings.ToUpper(strings.FieldsFunc(line, func(r rune) bool { return r == ' ' || r == ':' })[0]); verb {
		case "EHLO":
			ok = say(verb, "250 customer.test")
		case "MAIL":
			rcpts = nil
			ok = say(verb, "250 ok")
		case "RCPT":
			rcpts = append(rcpts, strings.Trim(line[len("RCPT TO:"):], "<>"))
			ok = say(line, "250 ok")
		case "DATA":
			ok = say(verb, "354 go")
			for ok && c.replies[verb] == "" {
				if line, err = r.ReadString('\n'); err != nil {
					return
				}
				if line == ".\r\n" {
					c.mu.Lock()
					c.taken = append(c.taken, rcpts...)
					c.mu.Unlock()
					ok = say("END", "250 taken")
					break
				}
			}
		case "QUIT":
			say(verb, "221 bye")
			return
		default:
			ok = say(verb, "250 ok")
		}
	}
}

// collect lets the customer take what waits, over a connection that cut may break.
func (f *fixture) collect(c *customer, cut *cutConn, domains ...mail.Domain) error {
	f.t.Helper()
	col, err := f.Collect(f.t.Context(), domains, "customer.test")
	if err != nil {
		return err
	}
	defer col.Close()
	ours, theirs := net.Pipe()
	cut.Conn = ours
	done := make(chan struct{})
	go func() { defer close(done); c.serve(theirs) }()
	col.Run(f.t.Context(), cut, never)
	_ = ours.Close()
	<-done
	return nil
}

// cutConn breaks when so many octets went out or came in; -1 is never.
type cutConn struct {
	net.Conn
	out, in   int
	sent, got int
}

func uncut() *cutConn { return &cutConn{out: -1, in: -1} }

func (c *cutConn) Write(p []byte) (int, error) {
	part := p
	if c.out >= 0 {
		part = p[:min(len(p), c.out-c.sent)]
	}
	n, err := 0, error(nil)
	if len(part) > 0 {
		n, err = c.Conn.Write(part)
	}
	c.sent += n
	if err == nil && n < len(p) {
		_ = c.Conn.Close()
		err = errors.New("cut")
	}
	return n, err
}

func (c *cutConn) Read(p []byte) (int, error) {
	if c.in >= 0 {
		p = p[:min(len(p), c.in-c.got)]
	}
	if len(p) == 0 {
		_ = c.Conn.Close()
		return 0, io.ErrUnexpectedEOF
	}
	n, err := c.Conn.Read(p)
	c.got += n
	return n, err
}

// left gives the recipients that wait.
func (f *fixture) left() (out []string) {
	for _, it := range f.items() {
		for _, r := range it.Recipients {
			if !r.State.Final() {
				out = append(out, r.Address.String())
			}
		}
	}
	return out
}

// TestCollect: mail for a customer waits, whoever kicks it, and goes over the turned session in one go, oldest first.
func TestCollect(t *testing.T) {
	t.Parallel()
	f, log := onDemandFixture(t, nil)
	if err := f.collect(&customer{}, uncut(), "customer.test"); !mail.Is(err, mail.NotFound) {
		t.Fatal(err)
	}
	for i := range 120 { // more than a session by MX carries
		f.mustAccept("x@postel.test", fmt.Sprintf("u%03d@customer.test", i))
	}
	msg := f.mustAccept("alice@postel.test", "a@customer.test", "no@customer.test", "b@customer.test", "c@other.test")
	until(t, "the rest is sent", func() bool { return len(f.world.deliveries()) == 1 })
	for _, it := range f.items() {
		if r := it.Recipients[0]; it.Destination == "customer.test" && (r.Attempts != 0 || r.Last.Enhanced != (mail.Enhanced{4, 4, 7}) || !r.Due.After(time.Now().Add(time.Hour))) {
			t.Fatalf("%+v", r)
		}
	}
	if n, err := f.queue.Kick(t.Context(), "customer.test"); n != 121 || err != nil {
		t.Fatal(n, err)
	}
	until(t, "all is parked again", func() bool {
		for _, it := range f.items() {
			if r := it.Recipients[0]; it.Destination != "customer.test" || r.Attempts != 1 || !r.Due.After(time.Now().Add(time.Hour)) || r.Last.Enhanced != (mail.Enhanced{4, 4, 7}) {
				return false
			}
		}
		return f.queue.Leased() == 0
	})
	if got := f.world.deliveries(); len(got) != 1 || len(f.items()) != 121 {
		t.Fatal(got)
	}
	c := &customer{replies: map[string]string{"RCPT TO:<no@customer.test>": "550 5.1.1 who?"}}
	if err := f.collect(c, uncut(), "none.test", "customer.test"); err != nil {
		t.Fatal(err)
	}
	if len(c.taken) != 123 || c.taken[0] != "u000@customer.test" || c.taken[119] != "u119@customer.test" || c.commands[len(c.commands)-1] != "QUIT" {
		t.Errorf("%q", c.taken)
	}
	if got := f.mailbox(alice, "INBOX"); len(got) != 1 || !strings.Contains(got[0], "550 5.1.1 who?") || len(f.items()) != 0 {
		t.Errorf("%q", got)
	}
	if ev := f.events(msg.ID()); !slices.Contains(ev, "relayed a@customer.test") || !slices.Contains(ev, "bounced no@customer.test") {
		t.Error(ev)
	}
	if s := log.take(); strings.Contains(s, "twice") || f.queue.Leased() != 0 {
		t.Error(s, f.queue.Leased())
	}
	f.verify()
}

// TestCollectCutAtEveryOctet: wherever the connection breaks, in either direction, a message is done exactly when its
// own 250 was read; what was not sent waits on; a message comes twice only when its end was sent and its 250 was not
// read, and that is logged (RFC 2645 §5.3, RFC 5321 §4.1.1.10).
func TestCollectCutAtEveryOctet(t *testing.T) {
	t.Parallel()
	f, log := onDemandFixture(t, nil)
	send := func() {
		f.mustAccept("x@postel.test", "a@customer.test")
		f.mustAccept("x@postel.test", "b@customer.test", "c@customer.test")
	}
	all := []string{"a@customer.test", "b@customer.test", "c@customer.test"}
	send()
	whole := uncut()
	if err := f.collect(&customer{}, whole, "customer.test"); err != nil {
		t.Fatal(err)
	}
	doubles := 0
	for _, out := range []bool{true, false} {
		for n := range map[bool]int{true: whole.sent, false: whole.got}[out] {
			send()
			cut, c := uncut(), &customer{}
			if cut.in = n; out {
				cut.in, cut.out = -1, n
			}
			log.take()
			if err := f.collect(c, cut, "customer.test"); err != nil {
				t.Fatal(err)
			}
			twice := strings.Count(log.take(), "it may arrive twice")
			left, both := f.left(), 0
			for _, rcpt := range all {
				took, waits := slices.Contains(c.taken, rcpt), slices.Contains(left, rcpt)
				if !took && !waits {
					t.Fatalf("out %v, cut at %d: %s is lost", out, n, rcpt)
				}
				if took && waits && rcpt != "c@customer.test" { // of the same message as b
					both++
				}
			}
			if both != twice || both > 1 || both > 0 && out {
				t.Fatalf("out %v, cut at %d: %d messages were taken and wait on, %d logged", out, n, both, twice)
			}
			doubles += both
			again := &customer{}
			if err := f.collect(again, uncut(), "customer.test"); err != nil && len(left) > 0 {
				t.Fatal(err)
			}
			if !slices.Equal(again.taken, left) || len(f.items()) != 0 || f.queue.Leased() != 0 {
				t.Fatalf("out %v, cut at %d: then taken %q of %q", out, n, again.taken, left)
			}
		}
	}
	if want := 2 * len("250 taken\r\n"); doubles != want { // the octets of an answer that did not come whole
		t.Errorf("%d doubles, want %d", doubles, want)
	}
	f.verify()
}

// TestCollectOddCustomers: what a customer may do wrong costs no mail.
func TestCollectOddCustomers(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]*customer{
		"no greeting":          {replies: map[string]string{"GREETING": "close"}},
		"refuses":              {banner: "554 not now"},
		"refuses for a while":  {banner: "421 not now"},
		"no server":            {banner: "SSH-2.0-x"},
		"says more":            {banner: "220 ready\r\n250 yes"},
		"refuses EHLO":         {replies: map[string]string{"EHLO": "421 bye"}},
		"refuses EHLO, HELO":   {replies: map[string]string{"EHLO": "500 what?", "HELO": "500 what?"}},
		"refuses all for now":  {replies: map[string]string{"MAIL": "451 later"}},
		"refuses one for now":  {replies: map[string]string{"RCPT TO:<a@customer.test>": "451 later"}},
		"refuses the end":      {replies: map[string]string{"END": "452 full"}},
		"goes at the end":      {replies: map[string]string{"END": "close"}},
		"goes at DATA":         {replies: map[string]string{"DATA": "close"}},
		"does not know DATA":   {replies: map[string]string{"DATA": "421 bye"}},
		"answers with nothing": {replies: map[string]string{"MAIL": ""}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f, _ := onDemandFixture(t, nil)
			f.mustAccept("alice@postel.test", "a@customer.test")
			if err := f.collect(c, uncut(), "customer.test"); err != nil {
				t.Fatal(err)
			}
			if got := f.left(); !slices.Equal(got, []string{"a@customer.test"}) {
				t.Errorf("%q", got)
			}
			if err := f.collect(&customer{replies: map[string]string{"EHLO": "502 no"}}, uncut(), "customer.test"); err != nil {
				t.Error(err)
			}
			if got := f.left(); len(got) != 0 || f.queue.Leased() != 0 {
				t.Errorf("%q", got)
			}
			f.verify()
		})
	}
}

// TestCollectAlone: two sessions never take the mail of one domain at once, and a session that ends lets the next.
func TestCollectAlone(t *testing.T) {
	t.Parallel()
	f, _ := onDemandFixture(t, nil)
	f.mustAccept("alice@postel.test", "a@customer.test")
	first, err := f.Collect(t.Context(), []mail.Domain{"other.test", "customer.test"}, "x")
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range []mail.Domain{"other.test", "customer.test"} {
		if _, err := f.Collect(t.Context(), []mail.Domain{"third.test", d}, "x"); !mail.Is(err, mail.Busy) {
			t.Error(d, err)
		}
	}
	if _, err := f.Collect(t.Context(), []mail.Domain{"third.test"}, "x"); !mail.Is(err, mail.NotFound) {
		t.Error("a refusal holds what it did not get:", err)
	}
	first.Close()
	if err := f.collect(&customer{}, uncut(), "customer.test"); err != nil || len(f.left()) != 0 {
		t.Error(err)
	}
}

// TestCollectStops: a stop ends the session behind a message.
func TestCollectStops(t *testing.T) {
	t.Parallel()
	f, _ := onDemandFixture(t, nil)
	for i := range 3 {
		f.mustAccept("x@postel.test", fmt.Sprintf("u%d@customer.test", i))
	}
	col, err := f.Collect(t.Context(), []mail.Domain{"customer.test"}, "x")
	if err != nil {
		t.Fatal(err)
	}
	defer col.Close()
	ours, theirs := net.Pipe()
	c := &customer{}
	done := make(chan struct{})
	go func() { defer close(done); c.serve(theirs) }()
	asked := 0
	col.Run(t.Context(), ours, func() bool { asked++; return asked > 1 })
	<-done
	if left := f.left(); len(c.taken) != 1 || len(left) != 2 || c.commands[len(c.commands)-1] != "QUIT" || f.queue.Leased() != 0 {
		t.Errorf("%q %q", c.taken, left)
	}
}

// TestParkedMailEnds: mail that nobody takes comes back when its time is over, as any other does.
func TestParkedMailEnds(t *testing.T) {
	t.Parallel()
	f, _ := onDemandFixture(t, func(o *Options) { o.Schedule = Schedule{GiveUp: 50 * time.Millisecond} })
	f.mustAccept("alice@postel.test", "a@customer.test")
	until(t, "the report", func() bool { return len(f.mailbox(alice, "INBOX")) == 1 })
	if m := f.mailbox(alice, "INBOX")[0]; !strings.Contains(m, "Status: 4.4.7\r\n") || len(f.left()) != 0 || len(f.world.deliveries()) != 0 {
		t.Error(m)
	}
}

// TestCollectRequireTLS: mail that may not travel in clear is not handed over in clear, and waits for a better day
// (RFC 8689 §4.2.1).
func TestCollectRequireTLS(t *testing.T) {
	t.Parallel()
	f, _ := onDemandFixture(t, nil)
	e := envelope("alice@postel.test", "a@customer.test")
	e.RequireTLS = true
	if _, errs, err := f.accept(e); err != nil || errs[0] != nil {
		t.Fatal(errs, err)
	}
	c := &customer{replies: map[string]string{"EHLO": "250-customer.test\r\n250 REQUIRETLS"}}
	if err := f.collect(c, uncut(), "customer.test"); err != nil {
		t.Fatal(err)
	}
	if items := f.items(); len(items) != 1 || items[0].Recipients[0].Last.Enhanced != (mail.Enhanced{4, 7, 30}) || len(c.taken) != 0 {
		t.Error(items, c.taken)
	}
}
