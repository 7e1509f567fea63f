package smtp

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"postel/internal/mail"
)

const chunked = hello + "S 250-mx\nS 250-PIPELINING\nS 250-CHUNKING\nS 250-BINARYMIME\nS 250 8BITMIME\n"

// TestBDAT: a small message goes with its envelope in one flight, a large one behind the replies, a binary one as it
// is (RFC 3030).
func TestBDAT(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, lines, body string
		edit              func(*mail.Envelope)
		lmtp              bool
		want              string
	}{
		{
			name: "one flight, mended lines and no dots", body: ".a\nb\rc", edit: func(e *mail.Envelope) { e.Size = 6 },
			lines: chunked + "C MAIL FROM:<a@x.org>\nC RCPT TO:<b@y.org>\nC RCPT TO:<c@y.org>\nC BDAT 9 LAST\nC .a\nC b c\nS 250 ok\nS 250 ok\nS 550 no\nS 250 taken",
			want:  "250 550",
		},
		{
			name: "nobody is left", body: "x", edit: func(e *mail.Envelope) { e.Size = 1 },
			lines: chunked + "C MAIL FROM:<a@x.org>\nC RCPT TO:<b@y.org>\nC RCPT TO:<c@y.org>\nC BDAT 3 LAST\nC x\nS 250 ok\nS 450 no\nS 550 no\nS 503 what for",
			want:  "450 550",
		},
		{
			name: "of unknown size by DATA", body: "x",
			lines: chunked + "C MAIL FROM:<a@x.org>\nC RCPT TO:<b@y.org>\nC RCPT TO:<c@y.org>\nC DATA\nS 250 ok\nS 250 ok\nS 250 ok\nS 354 go\nC x\nC .\nS 250 taken",
			want:  "250 250",
		},
		{
			name: "binary", body: ".\n", edit: func(e *mail.Envelope) { e.Body = mail.BodyBinaryMIME },
			lines: chunked + "C MAIL FROM:<a@x.org> BODY=BINARYMIME\nC RCPT TO:<b@y.org>\nC RCPT TO:<c@y.org>\nS 250 ok\nS 250 ok\nS 250 ok\nC BDAT 2 LAST\nL .\nS 250 taken",
			want:  "250 250",
		},
		{
			name: "binary for nobody", body: "x", edit: func(e *mail.Envelope) { e.Body = mail.BodyBinaryMIME },
			lines: chunked + "C MAIL FROM:<a@x.org> BODY=BINARYMIME\nC RCPT TO:<b@y.org>\nC RCPT TO:<c@y.org>\nS 250 ok\nS 550 no\nS 551 no\n",
			want:  "550 551",
		},
		{
			name: "refused", body: "x", edit: func(e *mail.Envelope) { e.Size = 1 },
			lines: chunked + "C MAIL FROM:<a@x.org>\nC RCPT TO:<b@y.org>\nC RCPT TO:<c@y.org>\nC BDAT 3 LAST\nC x\nS 250 ok\nS 250 ok\nS 250 ok\nS 554 5.7.1 spam",
			want:  "554 554",
		},
		{
			name: "unknown after all", body: "x", edit: func(e *mail.Envelope) { e.Size = 1 },
			lines: chunked + "C MAIL FROM:<a@x.org>\nC RCPT TO:<b@y.org>\nC RCPT TO:<c@y.org>\nC BDAT 3 LAST\nC x\nS 250 ok\nS 250 ok\nS 250 ok\nS 502 what\n",
			want:  "451 451 broken",
		},
		{
			name: "LMTP", body: "x", lmtp: true, edit: func(e *mail.Envelope) { e.Size = 1 },
			lines: strings.Replace(chunked, "EHLO", "LHLO", 1) + "C MAIL FROM:<a@x.org>\nC RCPT TO:<b@y.org>\nC RCPT TO:<c@y.org>\nC BDAT 3 LAST\nC x\nS 250 ok\nS 250 ok\nS 250 ok\nS 250 taken\nS 452 full",
			want:  "250 452",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			cl, done := script(t, ClientOptions{LMTP: c.lmtp}, c.lines)
			if _, err := cl.Greet(t.Context()); err != nil {
				t.Fatal(err)
			}
			if _, err := cl.Hello(t.Context()); err != nil {
				t.Fatal(err)
			}
			e := envelope("a@x.org", "b@y.org", "c@y.org")
			if c.edit != nil {
				c.edit(&e)
			}
			res, err := cl.Send(t.Context(), e, strings.NewReader(c.body))
			got := fmt.Sprint(res[0].Code, res[1].Code)
			if err != nil {
				got += " broken"
			}
			if trouble := done(); got != c.want || trouble != "" {
				t.Errorf("%s, want %s; %s", got, c.want, trouble)
			}
		})
	}
}

// TestBDATInChunks: a large binary message arrives whole, octet by octet the same.
func TestBDATInChunks(t *testing.T) {
	t.Parallel()
	body := bytes.Repeat([]byte("\x00.\r\n\n.\n\xff"), 40_000)
	var got bytes.Buffer
	c, done := server(t, func(s *wire) {
		s.say("220 hi")
		s.line()
		s.say("250-mx\r\n250-CHUNKING\r\n250 BINARYMIME")
		for range 2 {
			s.line()
			s.say("250 ok")
		}
		for last := false; !last; {
			var n int
			l := s.line()
			_, _ = fmt.Sscanf(l, "BDAT %d", &n)
			last = strings.HasSuffix(l, " LAST")
			_, _ = io.CopyN(&got, s.r, int64(n))
			s.say("250 ok")
		}
	})
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if _, err := c.Greet(ctx); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Hello(ctx); err != nil {
		t.Fatal(err)
	}
	e := envelope("a@x.org", "b@y.org")
	e.Body = mail.BodyBinaryMIME
	res, err := c.Send(ctx, e, bytes.NewReader(body))
	if err != nil || res[0].Code != 250 {
		t.Fatal(res, err)
	}
	done()
	if !bytes.Equal(got.Bytes(), body) {
		t.Errorf("%d octets came, want %d", got.Len(), len(body))
	}
}

// TestParametersOnTheWay: what MAIL asked for is passed on as far as the server knows it (RFC 3461 §5.1, RFC 2852
// §4.1.3, RFC 6710 §4, RFC 6152 §3), and a message asks for what its content needs.
func TestParametersOnTheWay(t *testing.T) {
	t.Parallel()
	full := mail.Envelope{From: mail.Address{Local: "a", Domain: "x.org"}, Parameters: mail.Parameters{
		Return: "HDRS", EnvelopeID: "id+1", Priority: -3,
		By: mail.DeliverBy{Deadline: time.Now().Add(90*time.Second + 500*time.Millisecond), Trace: true},
	}, Content: mail.ContentKnown | mail.EightBitBody}
	known := mail.ContentKnown
	for _, c := range []struct {
		ehlo string
		edit func(e *mail.Envelope)
		want string // MAIL, or the code of the refusal
	}{
		{"", nil, "MAIL FROM:<a@x.org>"},
		{"DSN", nil, "MAIL FROM:<a@x.org> RET=HDRS ENVID=id+2B1"},
		{"8BITMIME", nil, "MAIL FROM:<a@x.org> BODY=8BITMIME"},
		{"DELIVERBY", nil, "MAIL FROM:<a@x.org> BY=90;NT"},
		{"DELIVERBY 600", nil, "MAIL FROM:<a@x.org> BY=90;NT"},
		{"MT-PRIORITY STANAG4406", nil, "MAIL FROM:<a@x.org> MT-PRIORITY=-3"},
		{"DELIVERBY 60", func(e *mail.Envelope) { e.By.Return, e.By.Trace = true, false }, "MAIL FROM:<a@x.org> BY=90;R"},
		{"DELIVERBY 600", func(e *mail.Envelope) { e.By.Return = true }, "451 4.4.7"},
		{"DSN", func(e *mail.Envelope) { e.By.Return = true }, "451 4.4.7"},
		{"DELIVERBY", func(e *mail.Envelope) { e.By.Deadline = time.Now().Add(-2500 * time.Millisecond) }, "MAIL FROM:<a@x.org> BY=-2;NT"},
		{"8BITMIME", func(e *mail.Envelope) { e.UTF8, e.Content = true, known|mail.EightBitHeader }, "554 5.6.9"},
		{"8BITMIME", func(e *mail.Envelope) { e.Content = known | mail.EightBitHeader }, "MAIL FROM:<a@x.org> BODY=8BITMIME"},
		{"DSN", func(e *mail.Envelope) { e.Content = known | mail.EightBitHeader }, "554 5.6.9"},
		{"8BITMIME", func(e *mail.Envelope) { e.UTF8, e.Content = true, known }, "MAIL FROM:<a@x.org>"},
		{"SMTPUTF8", func(e *mail.Envelope) { e.UTF8, e.Content = true, known }, "MAIL FROM:<a@x.org> SMTPUTF8"},
		{"SMTPUTF8", func(e *mail.Envelope) { e.Content = known | mail.EightBitHeader }, "MAIL FROM:<a@x.org> SMTPUTF8"},
		{"SMTPUTF8", func(e *mail.Envelope) { e.Content = known }, "MAIL FROM:<a@x.org>"},
		{"8BITMIME", func(e *mail.Envelope) { e.From.Local = "ä" }, "553 5.6.7"},
		{"REQUIRETLS", func(e *mail.Envelope) { e.RequireTLS = true }, "550 5.7.30"}, // in clear
	} {
		e := full
		e.Recipients = envelope("", "b@y.org").Recipients
		if c.edit != nil {
			c.edit(&e)
		}
		var got string
		cl, done := server(t, func(s *wire) {
			s.say("220 hi")
			s.line()
			s.say("250-mx\r\n250 " + c.ehlo)
			got = s.line()
			s.say("550 5.0.0 enough")
		})
		if _, err := cl.Greet(t.Context()); err != nil {
			t.Fatal(err)
		}
		if _, err := cl.Hello(t.Context()); err != nil {
			t.Fatal(err)
		}
		res, _ := cl.Send(t.Context(), e, strings.NewReader("x"))
		_ = cl.Close()
		done()
		if got == "" {
			got = fmt.Sprintf("%d %s", res[0].Code, res[0].Enhanced)
		}
		if got != c.want {
			t.Errorf("%s: %q, want %q", c.ehlo, got, c.want)
		}
	}
}

func TestLimits(t *testing.T) {
	t.Parallel()
	c := &Client{extensions: map[string]string{"LIMITS": "RCPTMAX=20 mailmax=5 X=y RCPTDOMAINMAX=99999999999"}}
	if a, b, d, e := c.Limit("RCPTMAX"), c.Limit("MAILMAX"), c.Limit("RCPTDOMAINMAX"), c.Limit("X"); a != 20 || b != 5 || d != 0 || e != 0 {
		t.Error(a, b, d, e)
	}
}
