package smtpd

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"postel/internal/mail"
	"postel/internal/proto/smtp"
	"postel/internal/server/listen"
)

// keeper is a policy that keeps what it took: sender, recipients and content of each message.
type keeper struct {
	fakePolicy
	mu       sync.Mutex
	kept     []string
	contents []string
}

func (k *keeper) Begin(ctx context.Context, p smtp.Peer) (smtp.Transaction, error) {
	tx, err := k.fakePolicy.Begin(ctx, p)
	if err != nil {
		return nil, err
	}
	return keeping{tx.(*fakeTransaction), k}, nil
}

type keeping struct {
	*fakeTransaction
	k *keeper
}

func (t keeping) Data(ctx context.Context, body io.Reader) ([]smtp.Result, error) {
	var content strings.Builder
	res, err := t.fakeTransaction.Data(ctx, io.TeeReader(body, &content))
	if err == nil {
		t.k.mu.Lock()
		defer t.k.mu.Unlock()
		t.k.kept = append(t.k.kept, taken(t.from, t.rcpts, content.String()))
		t.k.contents = append(t.k.contents, content.String())
	}
	return res, err
}

func taken(from string, to []string, content string) string {
	return fmt.Sprintf("%s to %s: %q", from, strings.Join(to, " "), content)
}

// model is a transaction as one would keep it on paper: what each command is answered, and what it leaves.
type model struct {
	lmtp    bool
	state   state
	from    string
	to      []string
	refused bool
	binary  bool
	content string
	kept    []string
}

func (m *model) drop() {
	if m.state != fresh {
		m.state = greeted
	}
	m.from, m.to, m.refused, m.binary, m.content = "", nil, false, false, ""
}

// move is one command with what it sends behind its line, or behind the 354 that it is answered.
type move struct {
	line string
	body string // behind the line of BDAT
	data string // behind 354, without the final dot
}

// moves are all that a client may think of.
func moves() *rapid.Generator[move] {
	pieces := []string{"", "a\r\n", "x", "\r", "\n", "\r\n", ".\r\n", "\x00", "spam\r\n", "QUIT\r\n", "b\nc"}
	plain := []string{
		"EHLO c", "LHLO c", "HELO c", "NOOP", "HELP", "VRFY x", "RSET", "RSET x", "FOO", "STARTTLS",
		"MAIL FROM:<a@b.org>", "MAIL FROM:<b@b.org>", "MAIL FROM:<a@b.org> BODY=BINARYMIME", "MAIL FROM:<denied@b.org>",
		"MAIL FROM:a", "MAIL FROM:<a@b.org> FOO", "RCPT TO:<c@b.org>", "RCPT TO:<d@b.org>", "RCPT TO:<nobody@b.org>", "RCPT TO:c",
	}
	usual := []string{"EHLO c", "LHLO c", "MAIL FROM:<a@b.org>", "RCPT TO:<c@b.org>", "RCPT TO:<d@b.org>"}
	return rapid.Custom(func(t *rapid.T) move {
		switch rapid.IntRange(0, 9).Draw(t, "kind") {
		case 0, 1, 2:
			return move{line: rapid.SampledFrom(plain).Draw(t, "line")}
		case 3, 4, 5:
			return move{line: rapid.SampledFrom(usual).Draw(t, "line")}
		case 6:
			return move{line: "DATA", data: rapid.SampledFrom([]string{"x\r\n", "..\r\n.x\r\n", "spam\r\n", "a\n.\r\nb\r\n", "\r\n"}).Draw(t, "data")}
		}
		body := strings.Join(rapid.SliceOfN(rapid.SampledFrom(pieces), 0, 3).Draw(t, "pieces"), "")
		return move{line: fmt.Sprintf("BDAT %d%s", len(body), rapid.SampledFrom([]string{"", "", " LAST", " LAST", " FOO"}).Draw(t, "marker")), body: body}
	})
}

// answer gives the codes of the replies to a move, and makes it.
func (m *model) answer(v move) []int {
	verb, _, _ := strings.Cut(v.line, " ")
	was := m.state
	code := m.command(verb, v)
	// Between chunks only BDAT and what has nothing to do with mail leave the transaction alone.
	if was == between && code[0] >= 400 {
		m.drop()
	}
	return code
}

func (m *model) command(verb string, v move) []int {
	switch {
	case verb == "NOOP":
		return []int{250}
	case verb == "HELP":
		return []int{214}
	case verb == "VRFY":
		return []int{252}
	case (verb == "EHLO" || verb == "HELO") && m.lmtp, verb == "LHLO" && !m.lmtp, verb == "FOO":
		return []int{500}
	case verb == "EHLO", verb == "HELO", verb == "LHLO":
		m.drop()
		m.state = greeted
		return []int{250}
	case verb == "STARTTLS":
		return []int{502}
	case v.line == "RSET":
		m.drop()
		return []int{250}
	case verb == "RSET":
		return []int{501}
	case verb == "MAIL":
		return []int{m.mail(v.line)}
	case verb == "RCPT":
		return []int{m.rcpt(v.line)}
	case verb == "DATA":
		return m.dataCodes(v)
	}
	return m.bdat(v)
}

func (m *model) mail(line string) int {
	switch {
	case m.state != greeted:
		return 503
	case line == "MAIL FROM:a":
		return 501
	case strings.HasSuffix(line, "FOO"):
		return 555
	case strings.Contains(line, "denied"):
		return 550
	}
	m.state, m.binary, m.from = sender, strings.Contains(line, "BINARY"), line[11:12]
	return 250
}

func (m *model) rcpt(line string) int {
	switch {
	case m.state != sender && m.state != recipients:
		return 503
	case line == "RCPT TO:c":
		return 501
	case strings.Contains(line, "nobody"):
		m.refused = true
		return 550
	}
	m.state, m.to = recipients, append(m.to, line[9:10])
	return 250
}

// misplaced answers content where there is no recipient.
func (m *model) misplaced() int {
	if m.state == sender && m.refused && !m.lmtp {
		return 554
	}
	return 503
}

// each repeats a verdict for every recipient of LMTP.
func (m *model) each(code int) []int {
	n := 1
	if m.lmtp {
		n = len(m.to)
	}
	return slices.Repeat([]int{code}, n)
}

// verdict ends the transaction with content that is whole.
func (m *model) verdict(content string) []int {
	defer m.drop()
	if !m.binary && content != "" && !strings.HasSuffix(content, "\r\n") {
		content += "\r\n"
	}
	if strings.Contains(content, "spam") {
		return m.each(550)
	}
	m.kept = append(m.kept, taken(m.from, m.to, content))
	return m.each(250)
}

func (m *model) dataCodes(v move) []int {
	switch {
	case m.state != recipients:
		return []int{m.misplaced()}
	case m.binary:
		return []int{503}
	case strings.Contains(strings.ReplaceAll(v.data, "\r\n", ""), "\n"):
		defer m.drop()
		return append([]int{354}, m.each(550)...)
	}
	return append([]int{354}, m.verdict(strings.TrimPrefix(strings.ReplaceAll("\r\n"+v.data, "\r\n.", "\r\n"), "\r\n"))...)
}

func (m *model) bdat(v move) []int {
	last := strings.HasSuffix(v.line, " LAST")
	if m.state != recipients && m.state != between {
		defer m.drop()
		return []int{m.misplaced()}
	}
	m.content += v.body
	whole := m.content
	if !last { // the LF may be in the next chunk
		whole = strings.TrimSuffix(whole, "\r")
	}
	rest := strings.ReplaceAll(whole, "\r\n", "")
	switch {
	case strings.HasSuffix(v.line, " FOO"):
		m.drop()
		return []int{501}
	case !m.binary && strings.ContainsAny(rest, "\r\n\x00"):
		defer m.drop()
		if !last {
			return []int{550}
		}
		return m.each(550)
	case last:
		return m.verdict(m.content)
	}
	m.state = between
	return []int{250}
}

// TestModel plays random sessions, some commands in batches, against the server and the model: the same replies, and in
// the end the same messages with the same senders and recipients, so that nothing of a transaction outlives an error.
func TestModel(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		m := &model{state: fresh, lmtp: rapid.Bool().Draw(t, "lmtp")}
		k := &keeper{}
		s := New(Options{
			Policy: k, Hostname: "mx.test", LMTP: m.lmtp, MaxBadCommands: 1 << 30, MaxBadRecipients: 1 << 30,
			Extensions: smtp.Extensions{Binary: true},
		})
		l := listen.New(listen.Options{Handler: s})
		ours, theirs := net.Pipe()
		done := make(chan struct{})
		go func() {
			l.ServeConn(theirs)
			close(done)
		}()
		_ = ours.SetDeadline(time.Now().Add(30 * time.Second))
		p := &modelPeer{t: t, c: ours, r: bufio.NewReader(ours)}
		p.expect("greeting", 220)
		all := rapid.SliceOfN(moves(), 5, 60).Draw(t, "moves")
		for _, v := range all {
			began := m.state
			p.play(v, m.answer(v), began == fresh || rapid.Bool().Draw(t, "now"))
		}
		p.flush()
		_ = ours.Close()
		<-done
		if k.open != 0 {
			t.Fatalf("%d transactions never ended", k.open)
		}
		if d := cmp.Diff(m.kept, k.kept); d != "" {
			t.Fatalf("taken (-model +server):\n%s", d)
		}
	})
}

// modelPeer sends moves, and holds the replies to what was expected.
type modelPeer struct {
	t       *rapid.T
	c       net.Conn
	r       *bufio.Reader
	out     strings.Builder
	pending []move
	codes   []int
}

// play sends a move at once, or with those that follow.
func (p *modelPeer) play(v move, codes []int, now bool) {
	p.out.WriteString(v.line + "\r\n" + v.body)
	p.pending = append(p.pending, v)
	if v.line != "DATA" {
		p.codes = append(p.codes, codes...)
		if now {
			p.flush()
		}
		return
	}
	p.codes = append(p.codes, codes[0]) // nothing may be sent before its reply
	p.flush()
	if codes[0] == 354 {
		p.out.WriteString(v.data + ".\r\n")
		p.pending, p.codes = append(p.pending, move{line: v.data}), codes[1:]
		p.flush()
	}
}

func (p *modelPeer) flush() {
	go func(s string) { _, _ = io.WriteString(p.c, s) }(p.out.String())
	for _, code := range p.codes {
		p.expect(fmt.Sprintf("%q", p.pending), code)
	}
	p.out.Reset()
	p.pending, p.codes = nil, nil
}

func (p *modelPeer) expect(what string, code int) {
	for {
		line, err := p.r.ReadString('\n')
		if err != nil {
			p.t.Fatalf("%s: %v, want %d", what, err, code)
		}
		if _, e, _, more, err := smtp.ParseReplyLine([]byte(strings.TrimRight(line, "\r\n"))); err != nil || code >= 400 && e == (mail.Enhanced{}) {
			p.t.Fatalf("%s: reply %q", what, line)
		} else if more {
			continue
		}
		if !strings.HasPrefix(line, fmt.Sprint(code)) || code >= 400 && !strings.Contains(line, "(s-") {
			p.t.Fatalf("%s: %q, want %d", what, line, code)
		}
		return
	}
}
