package tlsrpt

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"postel/internal/dns"
	"postel/internal/mail"
)

// records answers TXT look-ups; "fail" is one that fails.
type records map[string]string

// Lookup implements dns.Resolver.
func (r records) Lookup(_ context.Context, name string, t dns.Type) (dns.Answer, error) {
	text, ok := r[name]
	switch {
	case !ok || t != dns.TXT:
		return dns.Answer{}, mail.E("dns", mail.NotFound, "none")
	case text == "fail":
		return dns.Answer{}, mail.E("dns", mail.Unavailable, "nobody can tell")
	}
	return dns.Answer{Records: []dns.Record{{Text: text}}}, nil
}

// office is a Reporter whose reports go to a list.
type office struct {
	*Reporter
	ledger *memory
	mu     sync.Mutex
	down   map[string]bool // addresses that take nothing now
	got    []string        // when, address, report
	ids    map[string]bool
}

func open(dnsRecords records) *office {
	o := &office{ledger: &memory{}, down: map[string]bool{}, ids: map[string]bool{}}
	o.Reporter = New(Options{Ledger: o.ledger, Resolver: dnsRecords, Daily: true, Hostname: "mail.us.test", Contact: "postmaster@us.test"})
	o.hand = func(_ context.Context, address string, rep *Report) error {
		o.mu.Lock()
		defer o.mu.Unlock()
		if o.down[address] {
			return unsent("it is down", nil)
		}
		o.got = append(o.got, fmt.Sprintf("%s %s %v", time.Now().UTC().Format(time.DateTime), address, rep.Total()))
		o.ids[rep.ID] = true
		return nil
	}
	return o
}

func (o *office) set(address string, down bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.down[address] = down
}

func (o *office) take() []string {
	o.mu.Lock()
	defer o.mu.Unlock()
	got := o.got
	slices.Sort(got) // addresses of one report are served at the same time
	o.got = nil
	return got
}

func (o *office) state(t *testing.T, d Day, m mail.Domain) Sending {
	t.Helper()
	row, err := o.ledger.Row(t.Context(), d, m)
	if err != nil {
		t.Error(err)
	}
	return row.Sending
}

// TestDaily: a report goes out once within some hours after its day (RFC 8460 §4.1), to each address that the record
// names, and to nobody who did not ask.
func TestDaily(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		o := open(records{
			"_smtp._tls.a.test": "v=TLSRPTv1; rua=https://one.a.test/, https://two.a.test/",
			"_smtp._tls.b.test": "v=TLSRPTv1; rua=mailto:tls@b.test",
			"_smtp._tls.c.test": "v=TLSRPTv1",
		})
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go o.Run(ctx)
		day := DayOf(time.Now())
		for _, m := range []mail.Domain{"a.test", "b.test", "c.test", "d.test"} {
			o.Note(Session{m, plain(m), Failure{}})
			o.Note(Session{m, plain(m), Failure{Result: NoSTARTTLS}})
		}
		time.Sleep(time.Until(day.End()))
		synctest.Wait()
		if got := o.take(); len(got) != 0 {
			t.Errorf("before the day was over: %q", got)
		}
		time.Sleep(spread + lookAt)
		synctest.Wait()
		got := o.take()
		if len(got) != 2 || !strings.HasSuffix(got[0], "https://one.a.test/ {1 1}") || !strings.HasSuffix(got[1], "https://two.a.test/ {1 1}") || got[0] < day.End().Add(settle).Format(time.DateTime) {
			t.Errorf("%q", got)
		}
		for m, want := range map[mail.Domain]string{
			"a.test": "sent ", "b.test": "unwanted it is wanted by mail alone", "c.test": "unwanted no record begins", "d.test": "unwanted _smtp._tls.d.test has no TXT",
		} {
			if s := o.state(t, day, m); !strings.HasPrefix(fmt.Sprint(s.State, " ", s.Why), want) {
				t.Errorf("%s: %+v", m, s)
			}
		}
		time.Sleep(48 * time.Hour)
		synctest.Wait()
		if got := o.take(); len(got) != 0 {
			t.Errorf("again: %q", got)
		}
		time.Sleep(KeptDays * 24 * time.Hour)
		synctest.Wait()
		if n := len(o.ledger.rows); n != 0 {
			t.Errorf("%d days are kept", n)
		}
	})
}

// TestRetry: what cannot be sent is tried again, ever more seldom, for a day (RFC 8460 §5.5); who has it does not get it
// twice.
func TestRetry(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		dnsRecords := records{"_smtp._tls.a.test": "v=TLSRPTv1;rua=https://one.test,https://two.test", "_smtp._tls.b.test": "fail"}
		o := open(dnsRecords)
		o.set("https://two.test", true)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		day := DayOf(time.Now())
		for _, m := range []mail.Domain{"a.test", "b.test"} {
			o.Note(Session{m, plain(m), Failure{}})
		}
		go o.Run(ctx)
		time.Sleep(time.Until(day.End().Add(spread + 3*time.Hour)))
		synctest.Wait()
		if got := o.take(); len(got) != 1 || !strings.Contains(got[0], "one.test") {
			t.Errorf("%q", got)
		}
		if s := o.state(t, day, "a.test"); s.State != Waiting || s.Tries < 3 || s.Tries > 6 || s.Why != "it is down" || len(s.Done) != 1 {
			t.Errorf("%+v", s)
		}
		o.set("https://two.test", false)
		time.Sleep(longest + lookAt)
		synctest.Wait()
		if got := o.take(); len(got) != 1 || !strings.Contains(got[0], "two.test") || len(o.ids) != 1 {
			t.Errorf("%q, ids %v", got, o.ids)
		}
		time.Sleep(giveUp + time.Hour)
		synctest.Wait()
		s := o.state(t, day, "b.test")
		if over := s.At.Sub(s.First); s.State != Dropped || s.Tries > 12 || over < giveUp || over > giveUp+2*lookAt || s.Why != "_smtp._tls.b.test cannot be looked up" {
			t.Errorf("%+v", s)
		}
	})
}

// TestSpread: first attempts are hours apart, differ from sender to sender, and stay the same for each.
func TestSpread(t *testing.T) {
	t.Parallel()
	r, other := New(Options{Hostname: "a.test"}), New(Options{Hostname: "b.test"})
	const day = 20_000
	hours, same := map[int]int{}, 0
	for i := range 1000 {
		m := mail.Domain(fmt.Sprintf("%d.test", i))
		after := r.due(day, m, Row{}).Sub(Day(day).End())
		if after < settle || after >= spread {
			t.Fatalf("%s after the day", after)
		}
		hours[int(after/time.Hour)]++
		if r.due(day, m, Row{}) == other.due(day, m, Row{}) {
			same++
		}
	}
	for h := range 4 {
		if hours[h] < 150 {
			t.Errorf("%d in hour %d", hours[h], h)
		}
	}
	if same > 10 {
		t.Errorf("%d at the same moment", same)
	}
}

// TestSendNow: an operator sends a day's reports at once; of a day that goes on, the rest is told later, and once.
func TestSendNow(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		o := open(records{"_smtp._tls.a.test": "v=TLSRPTv1;rua=https://one.test"})
		day := DayOf(time.Now())
		var told []string
		tell := func(m mail.Domain, s Sending) { told = append(told, fmt.Sprintf("%s %s", m, s.State)) }
		if err := o.Send(t.Context(), day, "a.test", tell); !mail.Is(err, mail.NotFound) {
			t.Error(err)
		}
		note := func() { o.Note(Session{"a.test", plain("a.test"), Failure{}}) }
		note()
		note()
		time.Sleep(time.Hour)
		o.set("https://one.test", true)
		if err := o.Send(t.Context(), day, "", tell); err != nil {
			t.Error(err)
		}
		o.set("https://one.test", false)
		for range 2 { // the second has nothing to tell
			if err := o.Send(t.Context(), day, "", tell); err != nil {
				t.Error(err)
			}
		}
		note()
		time.Sleep(24 * time.Hour)
		for range 2 {
			if err := o.Send(t.Context(), day, "a.test", tell); err != nil {
				t.Error(err)
			}
		}
		got := strings.Join(o.take(), "|")
		if strings.Count(got, "|") != 1 || !strings.Contains(got, "{2 0}|") || !strings.HasSuffix(got, "{1 0}") || len(o.ids) != 2 {
			t.Errorf("%s, %d ids", got, len(o.ids))
		}
		if got := strings.Join(told, ","); got != "a.test ,a.test sent,a.test sent,a.test sent,a.test sent" {
			t.Error(got)
		}
		if s := o.state(t, day, "a.test"); s.State != Sent || s.Told != (Summary{1, 0}) {
			t.Errorf("%+v", s)
		}
		if err := New(Options{Ledger: o.ledger}).Send(t.Context(), day, "", tell); !mail.Is(err, mail.Unsupported) {
			t.Error(err)
		}
		o.o.Only = func(context.Context, func()) {}
		if err := o.Send(t.Context(), day, "", tell); !mail.Is(err, mail.Busy) {
			t.Error(err)
		}
	})
}

// TestNodes: nodes that share a ledger send one report of what all of them counted.
func TestNodes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		one := open(records{"_smtp._tls.a.test": "v=TLSRPTv1;rua=https://one.test"})
		var busy sync.Mutex
		one.o.Only = func(_ context.Context, fn func()) {
			if busy.TryLock() {
				defer busy.Unlock()
				fn()
			}
		}
		o := one.o
		o.Hostname = "mail2.us.test"
		two := New(o)
		two.hand = one.hand
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		for _, r := range []*Reporter{one.Reporter, two} {
			go r.Run(ctx)
		}
		day := DayOf(time.Now())
		time.Sleep(time.Until(day.End().Add(-time.Second))) // neither has brought it when the day ends
		one.Note(Session{"a.test", plain("a.test"), Failure{}})
		two.Note(Session{"a.test", plain("a.test"), Failure{Result: NoSTARTTLS}})
		time.Sleep(spread + time.Hour)
		synctest.Wait()
		if got := one.take(); len(got) != 1 || !strings.HasSuffix(got[0], "{1 1}") {
			t.Errorf("%q", got)
		}
	})
}

// TestSilentAddresses: a domain whose addresses all hang holds up the others no longer than one of them does.
func TestSilentAddresses(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		o := open(nil)
		o.hand = func(ctx context.Context, _ string, _ *Report) error {
			time.Sleep(postTime)
			return unsent("it does not answer", nil)
		}
		began := time.Now()
		taken, why := o.handAll(t.Context(), []string{"https://a.test/", "https://b.test/", "https://c.test/"}, sample())
		if d := time.Since(began); d != postTime || len(taken) > 0 || why != "it does not answer" {
			t.Errorf("%v, %v, %q", d, taken, why)
		}
	})
}
