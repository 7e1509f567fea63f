package mta

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"postel/internal/blob"
	"postel/internal/directory"
	"postel/internal/kv"
	"postel/internal/kv/pebble"
	"postel/internal/mail"
	"postel/internal/observe"
	"postel/internal/proto/sasl"
	"postel/internal/queue"
	"postel/internal/route"
	"postel/internal/store"
	"postel/internal/vfs"
)

// fakeDirectory knows the accounts and aliases of postel.test.
type fakeDirectory struct {
	sasl.Authenticator
	accounts map[string]mail.AccountID
	aliases  map[string][]string
	relay    map[mail.Domain]bool
	mu       sync.Mutex
	down     bool
}

func (d *fakeDirectory) fail(down bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.down = down
}

func (d *fakeDirectory) Domain(_ context.Context, n mail.Domain) (directory.Domain, error) {
	switch {
	case n == "postel.test":
		return directory.Domain{Name: n, Kind: directory.Local}, nil
	case d.relay[n]:
		return directory.Domain{Name: n, Kind: directory.Relay}, nil
	}
	return directory.Domain{}, mail.E("dir", mail.NotFound, "no such domain")
}

func (d *fakeDirectory) Lookup(ctx context.Context, a mail.Address) (directory.Target, error) {
	d.mu.Lock()
	down := d.down
	d.mu.Unlock()
	if down {
		return directory.Target{}, mail.E("dir", mail.Unavailable, "directory is down")
	}
	if d.relay[a.Domain] {
		return directory.Target{Relay: true}, nil
	}
	name := a.Fold().String()
	if to, ok := d.aliases[name]; ok {
		var t directory.Target
		for _, s := range to {
			t.Alias = append(t.Alias, address(s))
		}
		return t, nil
	}
	if id, ok := d.accounts[name]; ok {
		return directory.Target{Account: id}, nil
	}
	user, detail := a.Fold().Sub()
	if id, ok := d.accounts[user.String()]; ok && detail != "" {
		return directory.Target{Account: id, Detail: detail}, nil
	}
	return directory.Target{}, mail.E("dir", mail.NotFound, "no such user")
}

func (d *fakeDirectory) Account(context.Context, mail.AccountID) (directory.Account, error) {
	return directory.Account{}, mail.E("dir", mail.NotFound, "no such account")
}

func (d *fakeDirectory) MaySendAs(context.Context, mail.AccountID, mail.Address) (bool, error) {
	return true, nil
}

func address(s string) mail.Address {
	a, err := mail.ParseAddress(s)
	if err != nil {
		panic(err)
	}
	return a
}

// fakeRouter sends every domain to one host of its name.
type fakeRouter struct {
	hosts     map[mail.Domain][]string
	authentic bool
	limits    *route.Limits // of the route that all takes but what goes to free.test
}

func (r fakeRouter) Route(_ context.Context, d mail.Domain, _ mail.Address) (route.Plan, error) {
	if d == "null.test" {
		return route.Plan{}, &mail.Error{Kind: mail.Denied, Code: mail.Enhanced{5, 1, 10}, Text: "domain null.test takes no mail (null MX)"}
	}
	hosts := r.hosts[d]
	if hosts == nil {
		hosts = []string{"mx." + string(d)}
	}
	p := route.Plan{Domain: d, Authentic: r.authentic}
	for i, h := range hosts {
		p.Hosts = append(p.Hosts, route.Host{
			Name: h, Proto: route.SMTP, TLS: route.May,
			Addrs: []netip.AddrPort{netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, byte(i + 1)}), 25)},
		})
	}
	return p, nil
}

func (r fakeRouter) Limits(d mail.Domain, _ mail.Address) *route.Limits {
	if d == "free.test" {
		return nil
	}
	return r.limits
}

func (r fakeRouter) Apart(mail.Domain, mail.Address) string { return "" }

func (r fakeRouter) Via(_ context.Context, d mail.Domain, _ mail.Address, via string) (route.Plan, error) {
	host, err := netip.ParseAddrPort(via)
	return route.Plan{Domain: d, Ruled: true, Hosts: []route.Host{{
		Name: "via." + via, Proto: route.SMTP, TLS: route.May, Addrs: []netip.AddrPort{host},
	}}}, err
}

// world plays all the servers elsewhere.
type world struct {
	t  testing.TB
	mu sync.Mutex
	// reply gives the result for one recipient at a host; nil is 250 for all.
	reply func(host string, e mail.Envelope, rcpt mail.Address) mail.Result
	// refuse refuses a connection.
	refuse func(host string) *mail.Result
	pace   func(host string) time.Duration // how long a transaction takes; nil is no time
	hold   chan struct{}                   // when not nil, each transaction waits for it to be closed

	extensions               string // that all hosts offer, parted by blanks
	limits                   map[string]int
	transactions             []int // recipients of each
	opened, open, most, sent int
	got                      []delivered
}

type delivered struct {
	host, rcpt, from string
	body             string
}

type fakeLink struct {
	w    *world
	host string
	id   mail.ID
}

func (w *world) openLink(_ context.Context, h target, _ netip.AddrPort) (link, *refusal) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.refuse != nil {
		if r := w.refuse(h.Name); r != nil {
			return nil, &refusal{Result: *r}
		}
	}
	w.opened++
	w.open++
	w.most = max(w.most, w.open)
	return &fakeLink{w: w, host: h.Name}, nil
}

func (l *fakeLink) send(ctx context.Context, e mail.Envelope, body *lazyBody) ([]mail.Result, error) {
	l.w.mu.Lock()
	hold, pace := l.w.hold, l.w.pace
	l.w.mu.Unlock()
	if hold != nil {
		select {
		case <-hold:
		case <-ctx.Done():
			r := ours(mail.ScopeSession, 451, mail.Enhanced{4, 4, 2}, "interrupted")
			return []mail.Result{r}, ctx.Err()
		}
	}
	if pace != nil {
		time.Sleep(pace(l.host))
	}
	b, err := io.ReadAll(body)
	if err != nil && hold != nil { // the message is gone meanwhile: another node has sent it
		return []mail.Result{ours(mail.ScopeSession, 451, mail.Enhanced{4, 3, 0}, "no body")}, err
	}
	if err != nil {
		l.w.t.Error(err)
	}
	l.w.mu.Lock()
	defer l.w.mu.Unlock()
	l.w.sent++
	l.w.transactions = append(l.w.transactions, len(e.Recipients))
	var out []mail.Result
	var broken error
	for _, rcpt := range e.Recipients {
		r := mail.Result{Scope: mail.ScopeMessage, Code: 250, Enhanced: mail.Enhanced{2, 0, 0}, Text: "taken"}
		if l.w.reply != nil {
			r = l.w.reply(l.host, e, rcpt.Address)
		}
		if r.Scope == mail.ScopeSession {
			broken = errors.New("session broke")
		}
		r.Recipient, r.Host = rcpt.Address, l.host
		out = append(out, r)
		if r.Delivered() {
			l.w.got = append(l.w.got, delivered{l.host, rcpt.Address.String(), e.From.String(), string(b)})
		}
	}
	return out, broken
}

func (l *fakeLink) session() mail.ID { return l.id }

func (l *fakeLink) limit(name string) int { return l.w.limits[name] }

func (l *fakeLink) offers(name string) bool {
	return slices.Contains(strings.Fields(l.w.extensions), name)
}

func (l *fakeLink) close(bool) {
	l.w.mu.Lock()
	defer l.w.mu.Unlock()
	l.w.open--
}

func (w *world) deliveries() []delivered {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]delivered(nil), w.got...)
}

// fixture is an MTA over everything real but the directory, DNS and the world.
type fixture struct {
	*MTA
	t     testing.TB
	dir   *fakeDirectory
	world *world
	kv    kv.Store
	blobs *blob.Store
	store *store.Store
	queue *queue.Queue
}

const (
	alice mail.AccountID = 1
	bob   mail.AccountID = 2
)

func newFixture(t testing.TB, fs vfs.FS, edit func(*Options)) *fixture {
	t.Helper()
	at := pebble.Options{FS: fs, Dir: "/kv", MemTableSize: 1 << 20}
	if fs == vfs.Default() {
		at = pebble.Options{FS: fs, Dir: t.TempDir()}
	}
	s, err := pebble.Open(at)
	if err != nil {
		t.Fatal(err)
	}
	return newFixtureOver(t, s, edit)
}

// newFixtureOver is newFixture over a store, which it closes.
func newFixtureOver(t testing.TB, s kv.Store, edit func(*Options)) *fixture {
	t.Helper()
	f := &fixture{t: t, kv: s, world: &world{t: t}, dir: &fakeDirectory{
		accounts: map[string]mail.AccountID{"alice@postel.test": alice, "bob@postel.test": bob},
		aliases: map[string][]string{
			"team@postel.test": {"alice@postel.test", "bob@postel.test", "carol@remote.test"},
			"ring@postel.test": {"gnir@postel.test"}, "gnir@postel.test": {"ring@postel.test"},
			"half@postel.test": {"alice@postel.test", "nobody@postel.test"}, "away@postel.test": {"me@elsewhere.test"},
		},
		relay: map[mail.Domain]bool{"relay.test": true},
	}}
	f.blobs = blob.New(blob.Options{KV: s})
	f.store = store.New(store.Options{KV: s, Blobs: f.blobs})
	f.queue = queue.New(queue.Options{KV: s, Blobs: f.blobs})
	o := Options{
		Hostname: "mail.postel.test", KV: s, Store: f.store, Blobs: f.blobs, Queue: f.queue, Directory: f.dir,
		Router: fakeRouter{}, Journey: observe.NewJourney(nil, time.Now, nil),
	}
	if edit != nil {
		edit(&o)
	}
	f.MTA = New(o)
	f.MTA.open = f.world.openLink
	t.Cleanup(func() { _ = f.store.Close(); _ = s.Close() })
	return f
}

// accounts makes accounts ready for mail.
func (f *fixture) initAccounts(ids ...mail.AccountID) {
	f.t.Helper()
	for _, a := range ids {
		err := f.kv.Update(context.Background(), kv.Txn{Lock: []kv.Key{kv.LockAccount(a)}}, func(tx kv.Tx) error {
			return f.store.InitAccount(tx, a)
		})
		if err != nil {
			f.t.Fatal(err)
		}
	}
}

// start runs the MTA until the test ends.
func (f *fixture) start() (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); _ = f.Run(ctx) }()
	stop = sync.OnceFunc(func() { cancel(); <-done })
	f.t.Cleanup(stop)
	return stop
}

func (f *fixture) message(text string) *store.Message {
	f.t.Helper()
	in := f.store.Incoming(context.Background())
	if _, err := io.WriteString(in, text); err != nil {
		f.t.Fatal(err)
	}
	m, err := in.Seal()
	if err != nil {
		f.t.Fatal(err)
	}
	return m
}

const sample = "From: x@postel.test\r\nSubject: hello\r\n\r\nbody\r\n"

func envelope(from string, to ...string) mail.Envelope {
	var e mail.Envelope
	if from != "" {
		e.From = address(from)
	}
	for _, s := range to {
		e.Recipients = append(e.Recipients, mail.Recipient{Address: address(s)})
	}
	return e
}

func (f *fixture) accept(e mail.Envelope) (*store.Message, []error, error) {
	f.t.Helper()
	msg := f.message(sample)
	defer msg.Discard()
	errs, err := f.Accept(context.Background(), Incoming{Envelope: e, Message: msg, Trace: []byte("Received: by test\r\n")})
	return msg, errs, err
}

func (f *fixture) mustAccept(from string, to ...string) *store.Message {
	f.t.Helper()
	msg, errs, err := f.accept(envelope(from, to...))
	if err = errors.Join(append(errs, err)...); err != nil {
		f.t.Fatal(err)
	}
	return msg
}

// inbox gives the messages of an account's mailbox as they are read.
func (f *fixture) mailbox(a mail.AccountID, name string) (out []string) {
	f.t.Helper()
	ctx := context.Background()
	box, err := f.store.Mailbox(ctx, a, name)
	if err != nil {
		f.t.Fatal(err)
	}
	v, err := f.store.Open(ctx, a, box.ID, true)
	if err != nil {
		f.t.Fatal(err)
	}
	defer v.Close()
	snap, err := v.Latest(ctx)
	if err != nil {
		f.t.Fatal(err)
	}
	for _, e := range snap.All() {
		em, err := f.store.Email(ctx, a, e.Email)
		if err != nil {
			f.t.Fatal(err)
		}
		r, err := f.store.OpenBody(ctx, em, 0, -1)
		if err != nil {
			f.t.Fatal(err)
		}
		b, err := io.ReadAll(r)
		if err != nil {
			f.t.Fatal(err)
		}
		_ = r.Close()
		out = append(out, string(b))
	}
	return out
}

func (f *fixture) items() []*queue.Item {
	f.t.Helper()
	items, _, err := f.queue.List(context.Background(), queue.Filter{Limit: 1 << 20})
	if err != nil {
		f.t.Fatal(err)
	}
	return items
}

// until waits for a condition.
func until(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(5 * time.Second); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("never came true: ", what)
		}
	}
}

// events gives the kinds and recipients of a message's journey, without those of filing and queueing.
func (f *fixture) events(id mail.ID) (out []string) {
	for _, e := range f.o.Journey.Of("m-" + id.String()) {
		s := e.Kind
		if e.Recipient != "" {
			s += " " + e.Recipient
		}
		out = append(out, s)
	}
	return out
}

func (f *fixture) verify() {
	f.t.Helper()
	problems, err := f.queue.Check(context.Background(), nil)
	if err != nil {
		f.t.Fatal(err)
	}
	if len(problems) > 0 {
		f.t.Error(strings.Join(problems, "\n"))
	}
}

func reply(scope mail.Scope, code int, text string) mail.Result {
	return mail.Result{Scope: scope, Code: code, Enhanced: mail.Enhanced{uint16(code / 100), 0, 0}, Text: text}
}

var _ = fmt.Sprint
