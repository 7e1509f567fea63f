package mta

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"text/tabwriter"
	"time"
	"unicode/utf8"

	"postel/internal/mail"
	"postel/internal/queue"
	"postel/internal/route"
)

// The ways to misbehave, and the stages of a session at which a peer does: the rows and the columns of
// testdata/badpeers.txt.
var (
	badWays   = []string{"4xx", "5xx", "421", "drop", "stall", "partial", "endless", "wrong", "garbage", "drip", "tls", "8bit"}
	badStages = []string{"GREETING", "EHLO", "STARTTLS", "TLS", "AUTH", "MAIL", "RCPT1", "RCPT2", "DATA", "BODY", "END", "QUIT"}
	badModes  = []badMode{
		{name: "DATA, a command at a time"},
		{name: "DATA, PIPELINING", ehlo: []string{"250-PIPELINING"}},
		{name: "BDAT, PIPELINING", ehlo: []string{"250-PIPELINING", "250-CHUNKING"}},
		{name: "LMTP, DATA, PIPELINING", ehlo: []string{"250-PIPELINING"}, lmtp: true},
		{name: "DATA, PIPELINING, and a second host in order", ehlo: []string{"250-PIPELINING"}, second: true},
	}
)

type badMode struct {
	name   string
	ehlo   []string
	lmtp   bool
	second bool // the domain has another host, which is in order
}

// badPeer is a host that misbehaves in one way at one stage, until it is mended.
type badPeer struct {
	*sink
	mode       badMode
	way, stage string
	mended     *atomic.Bool
	domain     mail.Domain
	addr       netip.AddrPort
	second     *sink // the other host
}

// applies tells whether there is such a thing.
func (p *badPeer) applies() bool {
	switch {
	case p.way == "tls":
		return p.stage != "GREETING" && p.stage != "EHLO" && (p.stage != "DATA" || len(p.mode.ehlo) < 2)
	case p.stage == "DATA" && len(p.mode.ehlo) == 2:
		return false
	}
	return p.way != "8bit" || p.stage != "BODY"
}

// here tells whether a stage is the one.
func (p *badPeer) here(k *talk, stage string) bool {
	switch stage {
	case "EHLO", "LHLO":
		stage = "EHLO"
		if k.secure {
			stage = "TLS"
		}
	case "RCPT":
		stage = fmt.Sprintf("RCPT%s", map[byte]string{'a': "1", 'b': "2"}[k.rcpts[len(k.rcpts)-1][0]])
	}
	return stage == p.stage && !p.mended.Load()
}

// nonsense is a code that says nothing at a stage.
func nonsense(stage string) string {
	switch stage {
	case "STARTTLS", "AUTH", "DATA", "BODY":
		return "250 2.0.0 fine"
	}
	return "354 go on"
}

// misbehave is a sink's bad.
func (p *badPeer) misbehave(k *talk, stage, normal string) (did, goOn bool) {
	if !p.here(k, stage) {
		return false, true
	}
	switch p.way {
	case "4xx":
		return true, p.refuse(k, stage, "451 4.7.1 not now")
	case "5xx":
		return true, p.refuse(k, stage, "554 5.7.1 not you, caf\xe9\x1b[2J")
	case "421":
		p.refuse(k, stage, "421 4.3.2 going down")
		if stage == "BODY" { // it does not read on
			time.Sleep(time.Hour)
		}
	case "stall":
		time.Sleep(time.Hour)
	case "partial":
		_, _ = k.conn.Write([]byte("250 2.0"))
	case "endless":
		line := []byte("250-" + strings.Repeat("x", 10_000))
		for err := error(nil); err == nil; line = line[4:] {
			_, err = k.conn.Write(line)
			line = append([]byte("xxxx"), line...)
		}
	case "wrong":
		_, err := fmt.Fprintf(k.conn, "%s\r\n", nonsense(stage))
		if stage == "BODY" {
			time.Sleep(time.Hour)
		}
		return true, err == nil
	case "garbage":
		_, err := k.conn.Write([]byte("\x00\xff\xfe\x81\x1b[2J what?\r\n"))
		return true, err == nil
	case "drip":
		p.drip(k, stage)
	case "tls":
		_, _ = k.raw.Write([]byte(normal + "\r\n250 this is not TLS\r\n"))
		if stage == "STARTTLS" {
			time.Sleep(time.Second)
		}
	case "8bit":
		_, _ = fmt.Fprintf(k.conn, "%s-caf\xe9 \xff\x80\r\n", normal[:3])
		return false, true
	}
	return true, false
}

// refuse says a refusal. The content of a message is read to its end behind it, and nothing more is said.
func (p *badPeer) refuse(k *talk, stage, reply string) bool {
	if stage == "END" && p.mode.lmtp {
		p.count(-1, k.rcpts[0])
	} else if stage == "END" {
		p.count(-1, k.rcpts...)
	}
	_, err := fmt.Fprintf(k.conn, "%s\r\n", reply)
	return err == nil
}

// drip says, or in the content reads, an octet every ten seconds.
func (p *badPeer) drip(k *talk, stage string) {
	const endless = "250-x\r\n"
	for i := 0; i < 360; i++ {
		var err error
		if stage == "BODY" {
			_, err = k.r.ReadByte()
		} else {
			_, err = k.conn.Write([]byte{endless[i%len(endless)]})
		}
		if err != nil {
			return
		}
		time.Sleep(10 * time.Second)
	}
}

// badPeers are all of them, each the only host of its domain.
type badPeers struct {
	all    []*badPeer
	byName map[mail.Domain]*badPeer
	byAddr map[string]*badPeer
}

func badAddr(mode, way, stage int) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, byte(mode), byte(way), byte(stage)}), 25)
}

func newBadPeers(cert *tls.Certificate, mended *atomic.Bool) *badPeers {
	ps := &badPeers{byName: map[mail.Domain]*badPeer{}, byAddr: map[string]*badPeer{}}
	for m, mode := range badModes {
		for w, way := range badWays {
			for s, stage := range badStages {
				p := &badPeer{
					mode: mode, way: way, stage: stage, mended: mended,
					domain: mail.Domain(strings.ToLower(fmt.Sprintf("%s.%s.m%d.test", stage, way, m))),
					addr:   badAddr(m, w, s),
				}
				p.sink = &sink{ehlo: slices.Clone(mode.ehlo), lmtp: mode.lmtp, cert: cert, bad: p.misbehave}
				if way == "tls" || stage == "STARTTLS" || stage == "TLS" {
					p.ehlo = append(p.ehlo, "250-STARTTLS")
				}
				if stage == "AUTH" {
					p.ehlo = append(p.ehlo, "250-AUTH PLAIN")
				}
				p.second = &sink{}
				if p.applies() {
					ps.all = append(ps.all, p)
					ps.byName[p.domain], ps.byAddr[p.addr.String()] = p, p
				}
			}
		}
	}
	return ps
}

func (ps *badPeers) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	if p, ok := ps.byAddr[addr]; ok {
		return p.dial(ctx, network, addr)
	}
	at, err := netip.ParseAddrPort(addr)
	if err != nil {
		return nil, err
	}
	a := at.Addr().As4()
	return ps.byAddr[badAddr(int(a[1]), int(a[2]), int(a[3])).String()].second.dial(ctx, network, addr)
}

// Route is Router's.
func (ps *badPeers) Route(_ context.Context, d mail.Domain, _ mail.Address) (route.Plan, error) {
	p := ps.byName[d]
	h := route.Host{Name: "mx." + string(d), Proto: route.SMTP, TLS: route.May, Addrs: []netip.AddrPort{p.addr}}
	if p.mode.lmtp {
		h.Proto = route.LMTP
	}
	if p.stage == "AUTH" {
		h.User, h.Password = "postel", "secret"
	}
	plan := route.Plan{Domain: d, Hosts: []route.Host{h}}
	if p.mode.second {
		a := p.addr.Addr().As4()
		a[0]++
		plan.Hosts = append(plan.Hosts, route.Host{
			Name: "mx2." + string(d), Proto: route.SMTP, TLS: route.May, Addrs: []netip.AddrPort{netip.AddrPortFrom(netip.AddrFrom4(a), 25)},
		})
	}
	return plan, nil
}

// Limits is Router's.
func (ps *badPeers) Limits(mail.Domain, mail.Address) *route.Limits { return nil }

// Apart implements Router.
func (ps *badPeers) Apart(mail.Domain, mail.Address) string { return "" }

// Via is Router's.
func (ps *badPeers) Via(ctx context.Context, d mail.Domain, from mail.Address, _ string) (route.Plan, error) {
	return ps.Route(ctx, d, from)
}

// TestBadPeers sends a message to two recipients at each bad peer, mends the peers, waits, and compares what became of
// the recipients with the table in testdata/badpeers.txt. Time is virtual, so the timeouts are those of RFC 5321
// §4.5.3.2.
func TestBadPeers(t *testing.T) {
	t.Parallel()
	var mended atomic.Bool
	ps, warned := newBadPeers(certificate(t), &mended), &warnings{}
	edit := func(o *Options) {
		o.Router, o.Dial, o.Log = ps, ps.dial, slog.New(warned)
		o.Schedule = Schedule{First: time.Hour}
		o.Concurrency = Concurrency{All: len(ps.all), Window: 2 * len(ps.all)}
	}
	bubble(t, edit, func(t *testing.T, f *fixture) {
		f.MTA.open = f.openSession
		for _, p := range ps.all {
			text := "Subject: hello\r\n\r\n" + strings.Repeat(strings.Repeat("x", 70)+"\r\n", 280)
			msg := f.message(text)
			e := envelope("alice@postel.test", "a@"+string(p.domain), "b@"+string(p.domain))
			if _, err := f.Accept(t.Context(), Incoming{Envelope: e, Message: msg}); err != nil {
				t.Fatal(err)
			}
			msg.Discard()
		}
		pass(50 * time.Minute)
		first := waiting(f)
		mended.Store(true)
		pass(100 * time.Minute)
		if left := waiting(f); len(left) > 0 {
			t.Error("still waiting:", left)
		}
		f.verify()
		reports := reportedFailures(t, f.mailbox(alice, "INBOX"))
		compareTable(t, "testdata/badpeers.txt", badTable(func(p *badPeer, user string) string {
			rcpt := user + "@" + string(p.domain)
			end := ending(t, p, rcpt, first[rcpt], reports[rcpt])
			if strings.HasPrefix(end, "twice") && !warned.about("mx."+string(p.domain)) {
				t.Errorf("%s may have got it twice, and the log does not say so", rcpt)
			}
			return end
		}, ps))
	})
}

// warnings keeps the hosts of which the log says that a message may arrive twice.
type warnings struct {
	slog.Handler
	mu    sync.Mutex
	hosts map[string]bool
}

func (w *warnings) Enabled(context.Context, slog.Level) bool { return true }

func (w *warnings) Handle(_ context.Context, r slog.Record) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	r.Attrs(func(a slog.Attr) bool {
		if a.Key == "host" && strings.Contains(r.Message, "may arrive twice") {
			if w.hosts == nil {
				w.hosts = map[string]bool{}
			}
			w.hosts[a.Value.String()] = true
		}
		return true
	})
	return nil
}

func (w *warnings) about(host string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.hosts[host]
}

// waiting gives the status of the last attempt of each recipient that waits for another.
func waiting(f *fixture) map[string]string {
	all := map[string]string{}
	for _, it := range f.items() {
		for _, r := range it.Recipients {
			if r.State == queue.Waiting {
				all[r.Address.String()] = r.Last.Enhanced.String()
			}
		}
	}
	return all
}

var reportBlock = regexp.MustCompile(`Final-Recipient: rfc822; ?(\S+)\r\n(?:[^\r\n]+\r\n)*?Action: failed\r\n(?:[^\r\n]+\r\n)*?Status: (\S+)`)

// reportedFailures gives the status of each recipient of whom a report says that it failed.
func reportedFailures(t testing.TB, reports []string) map[string][]string {
	all := map[string][]string{}
	for _, m := range reports {
		blocks := reportBlock.FindAllStringSubmatch(m, -1)
		if strings.Count(m, "Action: failed\r\n") != len(blocks) || !utf8.ValidString(m) || strings.Contains(m, "\x1b") {
			t.Errorf("an odd report: %q", m)
		}
		for _, b := range blocks {
			all[b[1]] = append(all[b[1]], b[2])
		}
	}
	return all
}

// ending says what became of a recipient: how often it was delivered to, what it first waited for, what was reported.
// Exactly one end is right, and only a message whose end was sent and not answered may arrive twice.
func ending(t *testing.T, p *badPeer, rcpt, waited string, reports []string) string {
	copies := 0
	for _, s := range []*sink{p.sink, p.second} {
		s.mu.Lock()
		copies += s.copies[rcpt]
		s.mu.Unlock()
	}
	switch {
	case copies == 0 && waited == "" && len(reports) == 1:
		return "bounce:" + reports[0]
	case copies == 1 && waited == "" && len(reports) == 0:
		return "once"
	case copies == 1 && len(reports) == 0:
		return "later:" + waited
	case copies == 2 && len(reports) == 0 && p.silent(rcpt):
		return strings.TrimSuffix("twice:"+waited, ":")
	}
	t.Errorf("%s, %s at %s: %d copies for %s, which waited for %q, reports %v", p.mode.name, p.way, p.stage, copies, rcpt, waited, reports)
	return "wrong"
}

// silent tells whether the end of the content was sent and no verdict on it was to be had. A small message that goes by
// BDAT is sent with its envelope.
func (p *badPeer) silent(rcpt string) bool {
	verdict := slices.Contains([]string{"4xx", "5xx", "421"}, p.way)
	switch p.stage {
	case "END":
		return !verdict || p.mode.lmtp && p.way == "421" && rcpt[0] == 'b'
	case "MAIL", "RCPT1", "RCPT2":
		return p.way == "garbage" && len(p.mode.ehlo) == 2
	}
	return false
}

// badTable writes a grid for each mode.
func badTable(cell func(p *badPeer, user string) string, ps *badPeers) string {
	var b strings.Builder
	for m, mode := range badModes {
		rows := [][]string{append([]string{""}, badStages...)}
		for w, way := range badWays {
			row := []string{way}
			for s := range badStages {
				p, text := ps.byAddr[badAddr(m, w, s).String()], "-"
				if p != nil {
					if text = cell(p, "a"); cell(p, "b") != text {
						text += "|" + cell(p, "b")
					}
				}
				row = append(row, text)
			}
			rows = append(rows, row)
		}
		fmt.Fprintf(&b, "\n%s\n\n%s", mode.name, columns(rows))
	}
	return b.String()
}

// columns writes a table whose columns are as wide as they need to be.
func columns(rows [][]string) string {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	for _, row := range rows {
		_, _ = fmt.Fprintln(w, strings.Join(row, "\t"))
	}
	_ = w.Flush()
	return b.String()
}

// compareTable compares what stands below the head of a file, which ends with a line of equals signs, with what came out.
func compareTable(t *testing.T, name, got string) {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	head, want, ok := strings.Cut(string(b), "\n====\n")
	if !ok {
		t.Fatalf("%s has no head", name)
	}
	if *update {
		if err := os.WriteFile(name, []byte(head+"\n====\n"+got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	g, w := strings.Split(got, "\n"), strings.Split(want, "\n")
	for i := range max(len(g), len(w)) {
		if i >= len(g) || i >= len(w) || g[i] != w[i] {
			t.Errorf("%s, row %d:\n got %s\nwant %s", name, i, strings.Join(g[min(i, len(g)):min(i+1, len(g))], ""), strings.Join(w[min(i, len(w)):min(i+1, len(w))], ""))
		}
	}
}
