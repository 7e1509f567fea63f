package mta

import (
	"strings"
	"testing"
	"time"

	"postel/internal/mail"
	"postel/internal/message"
	"postel/internal/proto/smtp"
)

// TestBinary: a binary message is filed with its binary leaves in base64 and relayed as it came (RFC 3030 §3); one that
// may not be converted is for no mailbox, 5.6.3.
func TestBinary(t *testing.T) {
	t.Parallel()
	const (
		head   = "MIME-Version: 1.0\r\nContent-Type: image/x\r\n"
		binary = head + "Content-Transfer-Encoding: binary\r\n\r\n\x00\r\xff\n"
		base64 = head + "Content-Transfer-Encoding: base64\r\n\r\nAA3/Cg==\r\n"
		signed = "Content-Type: multipart/signed; boundary=b\r\n\r\n--b\r\nContent-Transfer-Encoding: binary\r\n\r\n\x00\r\n--b--\r\n"
	)
	for _, c := range []struct {
		name, text string
		to         []string
		hold       bool
		refused    string
		relayed    string
		filed      string
	}{
		{name: "both", text: binary, to: []string{"alice@postel.test", "b@remote.test"}, relayed: binary, filed: base64},
		{name: "mailbox", text: binary, to: []string{"alice@postel.test"}, filed: base64},
		{name: "relay", text: binary, to: []string{"b@remote.test"}, relayed: binary},
		{name: "through the queue", text: binary, to: []string{"alice@postel.test", "b@remote.test"}, hold: true, relayed: binary, filed: base64},
		{name: "signed for a mailbox", text: signed, to: []string{"alice@postel.test"}, refused: "5.6.3"},
		{name: "signed for a host", text: signed, to: []string{"b@remote.test"}, relayed: signed},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			bubble(t, nil, func(t *testing.T, f *fixture) {
				f.world.extensions = "CHUNKING BINARYMIME"
				e := envelope("x@far.test", c.to...)
				e.Body = mail.BodyBinaryMIME
				if c.hold {
					e.Hold = time.Now().Add(time.Second)
				}
				in := Intake{Envelope: e, Body: strings.NewReader(c.text), Edit: func(*message.Header) error { return nil }}
				_, err := f.Take(t.Context(), in)
				got := ""
				if err != nil {
					got = smtp.ReplyOf(err, true).Enhanced.String()
				}
				if got != c.refused {
					t.Fatalf("%v, want %q", err, c.refused)
				}
				time.Sleep(time.Minute)
				var relayed, filed string
				for _, d := range f.world.deliveries() {
					relayed = withoutTrace(d.body)
				}
				for _, m := range f.mailbox(alice, "INBOX") {
					filed = withoutTrace(m)
				}
				if relayed != c.relayed || filed != c.filed || len(f.items()) > 0 {
					t.Errorf("relayed %q, filed %q", relayed, filed)
				}
				f.verify()
			})
		})
	}
}

// withoutTrace cuts off what was put in front.
func withoutTrace(m string) string {
	for _, first := range []string{"MIME-Version:", "Content-Type:"} {
		if i := strings.Index(m, first); i >= 0 {
			return m[i:]
		}
	}
	return m
}
