package smtpd

import (
	"context"
	"crypto"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"time"

	"postel/internal/mail"
	"postel/internal/proto/sasl"
	"postel/internal/proto/smtp"
)

// fakePolicy does what the addresses say and keeps a log of what it was asked.
type fakePolicy struct {
	ids mail.IDs
	mu  sync.Mutex
	log []string
	// open counts transactions that ended neither by Data nor by Reset.
	open int
}

func (p *fakePolicy) say(format string, args ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.log = append(p.log, fmt.Sprintf(format, args...))
}

// take gives the log and empties it.
func (p *fakePolicy) take() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	l := p.log
	p.log = nil
	return l
}

func (p *fakePolicy) Begin(_ context.Context, peer smtp.Peer) (smtp.Transaction, error) {
	if peer.Helo == "begin.denied" {
		return nil, mail.E("test", mail.Denied, "not from you")
	}
	p.say("begin %s helo=%s login=%s anyone=%v", peer.With(false), peer.Helo, peer.Login, peer.Anyone)
	if peer.Name != "" || peer.Forwarded != "" {
		p.say("stands for %s %s, forwards %q", peer.Name, peer.Remote.Addr(), peer.Forwarded)
	}
	p.mu.Lock()
	p.open++
	p.mu.Unlock()
	return &fakeTransaction{policy: p}, nil
}

type fakeTransaction struct {
	policy *fakePolicy
	from   string
	rcpts  []string
	ended  bool
}

func (t *fakeTransaction) end() {
	if t.ended {
		panic("a transaction ended twice")
	}
	t.ended = true
	t.policy.mu.Lock()
	t.policy.open--
	t.policy.mu.Unlock()
}

func verdict(a mail.Address) error {
	switch a.Local {
	case "denied":
		return mail.E("test", mail.Denied, "you may not")
	case "nobody":
		return mail.E("test", mail.NotFound, "no such mailbox")
	case "full":
		return mail.E("test", mail.OverQuota, "mailbox full")
	case "broken":
		return errors.New("secret cause")
	case "panic":
		panic("as told")
	}
	return nil
}

func (t *fakeTransaction) Mail(_ context.Context, e mail.Envelope) error {
	t.policy.say("mail %s size=%d body=%d%s", e.From, e.Size, e.Body, asked(e))
	t.from = e.From.Local
	return verdict(e.From)
}

// asked gives the parameters that are set.
func asked(e mail.Envelope) string {
	var b strings.Builder
	if e.UTF8 {
		b.WriteString(" utf8")
	}
	if e.Return != "" || e.EnvelopeID != "" {
		fmt.Fprintf(&b, " ret=%s envid=%q", e.Return, e.EnvelopeID)
	}
	if by := e.By; by != (mail.DeliverBy{}) {
		fmt.Fprintf(&b, " by=%s return=%v trace=%v", by.Deadline.Format(time.RFC3339), by.Return, by.Trace)
	}
	if !e.Hold.IsZero() {
		b.WriteString(" hold=" + e.Hold.Format(time.RFC3339))
	}
	if e.Priority != 0 {
		fmt.Fprintf(&b, " priority=%d", e.Priority)
	}
	if e.RequireTLS {
		b.WriteString(" requiretls")
	}
	return b.String()
}

func (t *fakeTransaction) Rcpt(_ context.Context, r mail.Recipient) error {
	if r.Notify != 0 || r.Original != "" {
		t.policy.say("rcpt %s notify=%d original=%q", r.Address, r.Notify, r.Original)
	} else {
		t.policy.say("rcpt %s", r.Address)
	}
	if err := verdict(r.Address); err != nil {
		return err
	}
	t.rcpts = append(t.rcpts, r.Address.Local)
	return nil
}

func (t *fakeTransaction) Data(_ context.Context, body io.Reader) ([]smtp.Result, error) {
	t.end()
	if t.from == "early" {
		return nil, mail.E("test", mail.Unavailable, "no room to write")
	}
	if t.from == "lazy" {
		return []smtp.Result{{}}, nil
	}
	content, err := io.ReadAll(body)
	var broken net.Error
	if errors.As(err, &broken) {
		t.policy.say("data broke off, timeout=%v", broken.Timeout()) // without the ports
		return nil, mail.Wrap("test", err)
	}
	if err != nil {
		t.policy.say("data %v", err)
		return nil, mail.Wrap("test", err)
	}
	t.policy.say("data %q", content)
	switch {
	case strings.Contains(string(content), "spam"):
		return nil, mail.E("test", mail.Rejected, "looks like spam")
	case strings.Contains(string(content), "nothing"):
		return nil, nil
	}
	var rs []smtp.Result
	for _, r := range t.rcpts {
		res := smtp.Result{Message: t.policy.ids.New(time.Unix(1, 0))}
		if r == "late" {
			res.Err = mail.E("test", mail.Busy, "busy")
		}
		rs = append(rs, res)
	}
	return rs, nil
}

func (t *fakeTransaction) Reset() {
	t.end()
	t.policy.say("reset")
}

// telling is a policy that also answers VRFY and EXPN.
type telling struct{ *fakePolicy }

func (p telling) Verify(_ context.Context, peer smtp.Peer, a mail.Address) (mail.Address, error) {
	p.say("verify %s for %s", a, peer.Login)
	if a.Domain == "foreign.org" {
		return a, mail.E("test", mail.Unsupported, "not ours")
	}
	if a.Domain == "" {
		a.Domain = "b.org"
	}
	return a, verdict(a)
}

func (p telling) Expand(_ context.Context, peer smtp.Peer, a mail.Address) ([]mail.Address, error) {
	p.say("expand %s for %s", a, peer.Login)
	switch a.Local {
	case "list":
		return []mail.Address{{Local: "a", Domain: "b.org"}, {Local: "b", Domain: "c.org"}}, nil
	case "wide":
		return []mail.Address{{Local: "é", Domain: "b.org"}}, nil
	}
	return nil, mail.E("test", mail.Denied, "no list of yours")
}

// fakeAuth knows one account.
type fakeAuth struct{ keys sasl.SCRAMKeys }

func newFakeAuth() fakeAuth {
	k, err := sasl.NewSCRAMKeys(crypto.SHA256, "postel", []byte("salt"), 4096)
	if err != nil {
		panic(err)
	}
	return fakeAuth{k}
}

func (fakeAuth) Password(_ context.Context, _, login, password string) (sasl.Identity, error) {
	switch {
	case login == "down":
		return sasl.Identity{}, mail.E("test", mail.Unavailable, "directory down")
	case login == "alice@example.org" && password == "postel":
		return sasl.Identity{Account: 7, Login: login}, nil
	}
	return sasl.Identity{}, sasl.Failed()
}

func (a fakeAuth) SCRAM(_ context.Context, _ crypto.Hash, login string) (sasl.SCRAMKeys, sasl.Identity, error) {
	if login != "alice@example.org" {
		return a.keys, sasl.Identity{}, nil
	}
	return a.keys, sasl.Identity{Account: 7, Login: login}, nil
}

// Every is true of SCRAM-SHA-256, of which alone there are keys.
func (fakeAuth) Every(_ context.Context, mech string, _ sasl.Use) bool {
	return mech == sasl.ScramSHA256
}

func (fakeAuth) Vouched(_ context.Context, login string) (sasl.Identity, error) {
	return sasl.Identity{Account: 7, Login: login}, nil
}

func (fakeAuth) Shared(context.Context, sasl.Use, string) (string, sasl.Identity, error) {
	return "x", sasl.Identity{}, nil
}
