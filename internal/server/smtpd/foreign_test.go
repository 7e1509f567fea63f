package smtpd

import (
	"bytes"
	"context"
	"crypto/tls"
	"io"
	"net"
	"strings"
	"testing"

	gosasl "github.com/emersion/go-sasl"
	gosmtp "github.com/emersion/go-smtp"
	"github.com/google/go-cmp/cmp"

	"postel/internal/mail"
	"postel/internal/proto/sasl"
	"postel/internal/proto/smtp"
)

const sample = "Subject: dots\r\n\r\n.\r\n..\r\n.x\r\nlast\r\n"

// TestForeignClient lets another implementation's client speak to us.
func TestForeignClient(t *testing.T) {
	t.Parallel()
	rig := newRig(t, Options{TLS: testTLS(t), SASL: &sasl.Server{Auth: newFakeAuth()}, AuthRequired: true})
	c, err := gosmtp.DialStartTLS(rig.ln.Addr().String(), &tls.Config{InsecureSkipVerify: true})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	if err := c.Auth(gosasl.NewPlainClient("", "alice@example.org", "postel")); err != nil {
		t.Fatal(err)
	}
	if err := c.SendMail("a@b.org", []string{"b@b.org", "c@b.org"}, strings.NewReader(sample)); err != nil {
		t.Fatal(err)
	}
	if err := c.SendMail("a@b.org", []string{"nobody@b.org"}, strings.NewReader(sample)); err == nil {
		t.Error("an unknown recipient was taken")
	}
	if err := c.Quit(); err != nil {
		t.Error(err)
	}
	log := strings.Join(rig.policy.take(), "\n")
	if !strings.Contains(log, `data "Subject: dots\r\n\r\n.\r\n..\r\n.x\r\nlast\r\n"`) || !strings.Contains(log, "begin ESMTPSA") {
		t.Error(log)
	}
}

// TestForeignParameters lets another implementation write the parameters that it knows.
func TestForeignParameters(t *testing.T) {
	t.Parallel()
	rig := newRig(t, Options{TLS: testTLS(t), Extensions: smtp.Extensions{UTF8: true, DSN: true, RequireTLS: true, Binary: true}})
	c, err := gosmtp.DialStartTLS(rig.ln.Addr().String(), &tls.Config{InsecureSkipVerify: true})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	err = c.Mail("é@b.org", &gosmtp.MailOptions{
		Body: gosmtp.Body8BitMIME, Size: 99, UTF8: true, RequireTLS: true, Return: gosmtp.DSNReturnHeaders, EnvelopeID: "a+b c=d",
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range []*gosmtp.RcptOptions{
		{Notify: []gosmtp.DSNNotify{gosmtp.DSNNotifySuccess, gosmtp.DSNNotifyDelayed}, OriginalRecipientType: gosmtp.DSNAddressTypeRFC822, OriginalRecipient: "x+y@c.org"},
		{Notify: []gosmtp.DSNNotify{gosmtp.DSNNotifyNever}, OriginalRecipientType: gosmtp.DSNAddressTypeUTF8, OriginalRecipient: "é+ü@c.org"},
	} {
		if err := c.Rcpt("b@b.org", o); err != nil {
			t.Error(err)
		}
	}
	want := []string{
		"begin ESMTPS helo=localhost login= anyone=false",
		`mail é@b.org size=99 body=1 utf8 ret=HDRS envid="a+b c=d" requiretls`,
		`rcpt b@b.org notify=10 original="RFC822;x+y@c.org"`,
		`rcpt b@b.org notify=1 original="utf-8;é+ü@c.org"`,
	}
	if d := cmp.Diff(want, rig.policy.take()); d != "" {
		t.Error(d)
	}
}

// client connects our client.
func (r *rig) client(t testing.TB, o smtp.ClientOptions) *smtp.Client {
	t.Helper()
	conn, err := net.Dial("tcp", r.ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	o.Hello = "client.test"
	c := smtp.NewClient(conn, o)
	t.Cleanup(func() { _ = c.Close() })
	if _, err := c.Greet(context.Background()); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Hello(context.Background()); err != nil {
		t.Fatal(err)
	}
	return c
}

func address(local string) mail.Recipient {
	return mail.Recipient{Address: mail.Address{Local: local, Domain: "b.org"}}
}

// TestOwnClient lets our client speak to our server: TLS, every mechanism, several messages.
func TestOwnClient(t *testing.T) {
	t.Parallel()
	rig := newRig(t, Options{TLS: testTLS(t), SASL: &sasl.Server{Auth: newFakeAuth()}, AuthRequired: true})
	for _, mech := range []string{"", "PLAIN", "LOGIN", "SCRAM-SHA-256"} {
		c := rig.client(t, smtp.ClientOptions{})
		if err := c.StartTLS(t.Context(), &tls.Config{InsecureSkipVerify: true}); err != nil {
			t.Fatal(err)
		}
		if err := c.Auth(t.Context(), mech, "alice@example.org", "wrong"); !mail.Is(err, mail.AuthFailed) {
			t.Error(mech, err)
		}
		if err := c.Auth(t.Context(), mech, "alice@example.org", "postel"); err != nil {
			t.Error(mech, err)
		}
		e := mail.Envelope{Recipients: []mail.Recipient{address("b"), address("nobody"), address("full")}}
		for range 2 {
			res, err := c.Send(t.Context(), e, strings.NewReader(sample))
			if err != nil || !res[0].Delivered() || res[1].Code != 550 || res[2].Code != 452 {
				t.Error(mech, res, err)
			}
		}
		if err := c.Quit(t.Context()); err != nil {
			t.Error(err)
		}
		rig.idle()
	}
	if log := strings.Join(rig.policy.take(), "\n"); strings.Count(log, `data "Subject: dots\r\n\r\n.\r\n..`) != 8 {
		t.Error(log)
	}
}

func TestOwnClientLMTP(t *testing.T) {
	t.Parallel()
	rig := newRig(t, Options{LMTP: true})
	c := rig.client(t, smtp.ClientOptions{LMTP: true})
	e := mail.Envelope{Recipients: []mail.Recipient{address("b"), address("nobody"), address("late"), address("c")}}
	res, err := c.Send(t.Context(), e, strings.NewReader(sample))
	var codes []int
	for _, r := range res {
		codes = append(codes, r.Code)
	}
	if err != nil || len(codes) != 4 || codes[0] != 250 || codes[1] != 550 || codes[2] != 450 || codes[3] != 250 {
		t.Error(res, err)
	}
}

// discard takes everything.
type discard struct{ id mail.ID }

func (d discard) Begin(context.Context, smtp.Peer) (smtp.Transaction, error) { return d, nil }
func (discard) Mail(context.Context, mail.Envelope) error                    { return nil }
func (discard) Rcpt(context.Context, mail.Recipient) error                   { return nil }
func (discard) Reset()                                                       {}
func (d discard) Data(_ context.Context, body io.Reader) ([]smtp.Result, error) {
	_, err := io.Copy(io.Discard, body)
	return []smtp.Result{{Message: d.id}}, err
}

func BenchmarkSession(b *testing.B) {
	for _, size := range []struct {
		name string
		n    int
	}{{"5KB", 5000}, {"10MB", 10 << 20}} {
		b.Run(size.name, func(b *testing.B) {
			rig := newRig(b, Options{Policy: discard{}})
			c := rig.client(b, smtp.ClientOptions{})
			e := mail.Envelope{Recipients: []mail.Recipient{address("b")}}
			body := bytes.Repeat([]byte(strings.Repeat("x", 72)+"\r\n"), size.n/74)
			b.SetBytes(int64(len(body)))
			b.ReportAllocs()
			for b.Loop() {
				res, err := c.Send(context.Background(), e, bytes.NewReader(body))
				if err != nil || !res[0].Delivered() {
					b.Fatal(res, err)
				}
			}
		})
	}
}
