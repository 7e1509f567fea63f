package dsn

import (
	"bytes"
	"io"
	"os"
	"strings"
	"testing"

	"postel/internal/mail"
)

// firstSentence is what a reader sees first of a report on one recipient.
func firstSentence(t *testing.T, r *Report) string {
	t.Helper()
	_, bodies, _ := parts(t, r, nil)
	text, _, _ := strings.Cut(bodies[0], "\r\n\r\n")
	s, _, _ := strings.Cut(strings.Join(strings.Fields(text), " "), ". ")
	return s
}

// The first sentence of a report says what to do, by what went wrong (RFC 3463 §3).
func TestAdvice(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		status     mail.Enhanced
		diagnostic string
		want       string
	}{
		{mail.Enhanced{5, 1, 1}, "550 5.1.1 no", "Check the address"},
		{mail.Enhanced{5, 1, 10}, "", "Check what stands behind the @"},
		{mail.Enhanced{5, 1, 2}, "", "Check what stands behind the @"},
		{mail.Enhanced{5, 2, 2}, "552 5.2.2 full", "Send your message again in some days"},
		{mail.Enhanced{5, 0, 0}, "552 full", "Send your message again in some days"},
		{mail.Enhanced{5, 2, 1}, "", "Reach the recipient by other means: the mailbox is out of use"},
		{mail.Enhanced{5, 3, 4}, "552 5.3.4 big", "Send your message in smaller parts"},
		{mail.Enhanced{5, 2, 3}, "", "Send your message in smaller parts"},
		{mail.Enhanced{5, 6, 3}, "", "Send your message in another form"},
		{mail.Enhanced{5, 7, 1}, "550 5.7.1 spam", "Reach the recipient by other means, or show this report"},
		{mail.Enhanced{5, 7, 26}, "", "Reach the recipient by other means, or show this report"},
		{mail.Enhanced{5, 7, 30}, "", "Reach the recipient by other means, or ask the recipient's postmaster"},
		{mail.Enhanced{4, 4, 1}, "", "Send your message again later, or reach"},
		{mail.Enhanced{5, 4, 6}, "", "Tell the recipient's postmaster"},
		{mail.Enhanced{4, 4, 7}, "451 4.3.0 busy", "Check the address and send your message again later"},
		{mail.Enhanced{4, 4, 7}, "452 4.2.2 full", "Send your message again in some days"},
		{mail.Enhanced{5, 0, 0}, "550 5.1.1 no", "Check the address"},
		{mail.Enhanced{5, 0, 0}, "554 no", "Read the reply below"},
		{mail.Enhanced{5, 5, 1}, "", "Read the reply below"},
	} {
		r := report()
		r.Recipients = r.Recipients[:1]
		r.Recipients[0].Status, r.Recipients[0].Diagnostic = c.status, c.diagnostic
		if got := firstSentence(t, r); !strings.HasPrefix(got, c.want) {
			t.Errorf("%v %q: %q", c.status, c.diagnostic, got)
		}
	}
	for _, a := range []Action{Delayed, Delivered, Relayed, Expanded} {
		r := report()
		r.Recipients = r.Recipients[:1]
		r.Recipients[0].Action = a
		if got := firstSentence(t, r); !strings.HasPrefix(got, "You need do nothing") {
			t.Errorf("%s: %q", a, got)
		}
	}
}

// Every language says everything.
func TestLanguages(t *testing.T) {
	t.Parallel()
	for _, l := range languages() {
		for k, s := range l.advice {
			if s == "" {
				t.Errorf("%s has no advice %d", l.tag, k)
			}
		}
	}
	r := report()
	r.Languages = []string{"fr", "en"}
	_, bodies, _ := parts(t, r, nil)
	fr, en := strings.Index(bodies[0], "Vérifiez l'adresse"), strings.Index(bodies[0], "Check the address")
	if fr != 0 || en < 0 {
		t.Errorf("French at %d, English at %d of\n%s", fr, en, bodies[0])
	}
	r.Languages = []string{"en"}
	root, bodies, _ := parts(t, r, nil)
	if strings.Contains(bodies[0], "Vérifiez") || root.Children[0].Encoding == "quoted-printable" {
		t.Errorf("English alone is\n%s", bodies[0])
	}
	var b bytes.Buffer
	r.Languages = []string{"fr"}
	if _, err := r.WriteTo(&b, nil); err != nil || !strings.Contains(b.String(), "\r\nContent-Language: fr\r\n") {
		t.Errorf("%v\n%s", err, b.String())
	}
}

// Success and delay, as they are sent.
func TestGoldenNews(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	for _, a := range []Action{Delivered, Relayed, Expanded, Delayed} {
		r := report()
		r.Languages = []string{"fr", "en"}
		r.Recipients = r.Recipients[:1]
		r.Recipients[0].Action, r.Recipients[0].Status, r.Recipients[0].WillRetry = a, mail.Enhanced{2, 0, 0}, at(20)
		r.Recipients[0].Diagnostic = "250 2.0.0 ok"
		if _, err := r.WriteTo(&b, strings.NewReader(mailText)); err != nil {
			t.Fatal(err)
		}
		b.WriteString("\r\n==========\r\n")
	}
	const name = "testdata/news.eml"
	if *update {
		if err := os.WriteFile(name, b.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(name)
	if err != nil || !bytes.Equal(want, b.Bytes()) {
		t.Errorf("%v; got\n%s", err, b.Bytes())
	}
}

// A message of up to 256 KiB is returned whole, a larger one as its header: never a part of a body.
func TestReturnedWhole(t *testing.T) {
	t.Parallel()
	const limit = 256 << 10
	for _, c := range []struct {
		size int
		typ  string
	}{{limit, "message/rfc822"}, {limit + 1, "text/rfc822-headers"}} {
		text := mailText + strings.Repeat("0123456789abcdef\r\n", limit)
		text = text[:c.size-2] + "\r\n"
		r := report()
		r.Return = ReturnFull
		root, bodies, _ := parts(t, r, io.LimitReader(strings.NewReader(text), int64(c.size)))
		if last := root.Children[2]; !last.Is(c.typ) {
			t.Errorf("%d octets: %s/%s", c.size, last.Type, last.Subtype)
		}
		if c.size > limit && strings.Contains(bodies[2], "Hello") {
			t.Error("a part of the body is returned")
		}
	}
}
