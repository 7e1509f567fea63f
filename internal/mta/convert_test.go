package mta

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"postel/internal/mail"
)

// acceptText accepts a message of any content.
func (f *fixture) acceptText(e mail.Envelope, text string) {
	f.t.Helper()
	msg := f.message(text)
	defer msg.Discard()
	if _, err := f.Accept(context.Background(), Incoming{Envelope: e, Message: msg, Trace: []byte("Received: by test\r\n")}); err != nil {
		f.t.Fatal(err)
	}
}

// TestConversion: what a host does not take is converted for it or goes back with the reason, and is else as it came.
func TestConversion(t *testing.T) {
	t.Parallel()
	const (
		latin  = "MIME-Version: 1.0\r\nContent-Type: text/plain; charset=iso-8859-1\r\nContent-Transfer-Encoding: 8bit\r\n\r\n\xfcber\r\n"
		quoted = "MIME-Version: 1.0\r\nContent-Type: text/plain; charset=iso-8859-1\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n=FCber\r\n"
		signed = "MIME-Version: 1.0\r\nContent-Type: multipart/signed; boundary=b\r\n\r\n--b\r\n\r\n\xfcber\r\n--b--\r\n"
		utf8   = "Subject: \xc3\xbcber\r\n\r\nascii\r\n"
	)
	for _, c := range []struct {
		name, ehlo, text string
		edit             func(*mail.Envelope)
		mail             string // behind MAIL FROM:<…>, SIZE left out
		want             string // what comes, or the status that is reported
	}{
		{name: "8bit", ehlo: "8BITMIME", text: latin, mail: " BODY=8BITMIME", want: latin},
		{name: "7bit", text: latin, want: quoted},
		{name: "not declared", ehlo: "8BITMIME", text: "\r\n\xe4\r\n", mail: " BODY=8BITMIME", want: "\r\n\xe4\r\n"},
		{name: "declared in vain", text: sample, edit: func(e *mail.Envelope) { e.Body = mail.Body8BitMIME }, want: sample},
		{name: "signed", text: signed, want: "5.6.3"},
		{name: "signed by 8bit", ehlo: "8BITMIME", text: signed, mail: " BODY=8BITMIME", want: signed},
		{
			name: "long lines", ehlo: "8BITMIME", text: "\r\n" + strings.Repeat("x", 1000) + "\r\n",
			want: "MIME-Version: 1.0\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n" + strings.Repeat(strings.Repeat("x", 75)+"=\r\n", 13) + strings.Repeat("x", 25) + "\r\n",
		},
		{name: "header, never promised", ehlo: "8BITMIME", text: utf8, mail: " BODY=8BITMIME", want: utf8},
		{name: "header", ehlo: "8BITMIME", text: utf8, edit: func(e *mail.Envelope) { e.UTF8 = true }, want: "5.6.9"},
		{name: "header by 7bit", text: utf8, edit: func(e *mail.Envelope) { e.UTF8 = true }, want: "5.6.9"},
		{name: "nothing needs it", text: sample, edit: func(e *mail.Envelope) { e.UTF8 = true }, want: sample},
		{name: "address", text: sample, edit: func(e *mail.Envelope) { e.UTF8, e.Recipients[0].Address.Local = true, "bä" }, want: "5.6.7"},
		{
			name: "binary", ehlo: "8BITMIME", text: "Content-Transfer-Encoding: binary\r\n\r\n\x00\r\n\n", edit: func(e *mail.Envelope) { e.Body = mail.BodyBinaryMIME },
			want: "MIME-Version: 1.0\r\nContent-Transfer-Encoding: base64\r\n\r\nAA0KCg==\r\n",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := &sink{}
			if c.ehlo != "" {
				s.ehlo = []string{"250-" + c.ehlo}
			}
			f := withSink(t, s, nil)
			e := envelope("alice@postel.test", "b@remote.test")
			if c.edit != nil {
				c.edit(&e)
			}
			f.acceptText(e, c.text)
			until(t, "it is done", func() bool { return len(f.items()) == 0 })
			s.mu.Lock()
			defer s.mu.Unlock()
			if c.want[1] == '.' {
				if in := f.mailbox(alice, "INBOX"); len(in) != 1 || !strings.Contains(in[0], "\r\nStatus: "+c.want+"\r\n") || len(s.messages) > 0 {
					t.Errorf("%q, sent %q", in, s.messages)
				}
				return
			}
			if !slices.Equal(s.messages, []string{"Received: by test\r\n" + c.want}) {
				t.Errorf("%q", s.messages)
			}
			if got := s.commands[1]; got != "MAIL FROM:<alice@postel.test>"+c.mail && !strings.HasPrefix(got, fmt.Sprintf("MAIL FROM:<alice@postel.test> SIZE=%d%s", len(s.messages[0]), c.mail)) {
				t.Error(got)
			}
		})
	}
}

// TestChunkless: a host that offers CHUNKING and does not know BDAT gets the message by DATA at the next attempt.
func TestChunkless(t *testing.T) {
	t.Parallel()
	s := &sink{ehlo: []string{"250-PIPELINING", "250-CHUNKING"}, replies: map[string]string{"BDAT": "502 5.5.1 what"}}
	f := withSink(t, s, func(o *Options) { o.Schedule.First = 10 * time.Millisecond })
	f.mustAccept("alice@postel.test", "b@remote.test")
	until(t, "it is sent", func() bool { return len(f.items()) == 0 })
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.dialled != 2 || len(s.messages) != 1 {
		t.Errorf("%d connections, %q", s.dialled, s.commands)
	}
}
