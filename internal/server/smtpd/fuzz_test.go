package smtpd

import (
	"bufio"
	"context"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"postel/internal/proto/sasl"
	"postel/internal/proto/smtp"
	"postel/internal/server/listen"
)

// FuzzSession plays any octets to a server in pieces of any size. Whatever they are: every reply is well-formed, a
// transaction ends exactly once (the fake panics otherwise), and the pieces make no difference to the replies. The server
// is a forgiving one: others mind what comes before they asked for it.
func FuzzSession(f *testing.F) {
	for _, s := range []string{
		"EHLO c\r\nMAIL FROM:<a@b.org>\r\nRCPT TO:<b@b.org>\r\nDATA\r\nx\r\n.\r\nQUIT\r\n",
		"EHLO c\r\nAUTH PLAIN AGFsaWNlQGV4YW1wbGUub3JnAHBvc3RlbA==\r\nAUTH LOGIN\r\n*\r\n",
		"EHLO c\r\nAUTH SCRAM-SHA-256 biwsbj1hbGljZSxyPUM=\r\nYz1iaXdzLHI9Q1MscD1BQUFB\r\nAUTH CRAM-MD5\r\nYWxpY2UgMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDA=\r\n",
		"EHLO c\r\nAUTH OAUTHBEARER biwsAWF1dGg9QmVhcmVyIHgBAQ==\r\nAQ==\r\nAUTH PLAIN =\r\nAUTH EXTERNAL =\r\nAUTH PLAIN\r\n!!!!\r\n",
		"EHLO c\r\nMAIL FROM:<>\r\nRSET\r\nMAIL FROM:<early@b>\r\nRCPT TO:<nobody@x>\r\nRCPT TO:<b@x>\r\nDATA\r\n\n.\r\n.\r\n",
		"LHLO c\r\nEHLO c\r\nMAIL FROM:<a@b.org>\r\nRCPT TO:<b@b.org>\r\nBDAT 3\r\na\r\nNOOP\r\nBDAT 0\r\nBDAT 2 LAST\r\nb\nQUIT\r\n",
		"EHLO c\r\nMAIL FROM:<a@b.org>\r\nRCPT TO:<b@b.org>\r\nBDAT 3\r\na\nbBDAT 6 LAST\r\nQUIT\r\nRCPT TO:<x@y>\r\n",
		"EHLO c\r\nMAIL FROM:<a@b.org>\r\nRCPT TO:<b@b.org>\r\nBDAT 3\r\nabcRCPT TO:<c@d>\r\nBDAT 9 FOO\r\nQUIT\r\nDATABDAT x\r\nQUIT\r\n",
		"EHLO c\r\nMAIL FROM:<lazy@b.org>\r\nRCPT TO:<b@b.org>\r\nBDAT 3\r\nabcRSET\r\nMAIL FROM:<early@b>\r\nRCPT TO:<b@x>\r\nBDAT 2 LAST\r\nab",
		"GET / HTTP/1.1\r\n", "\x16\x03\x01", "EHLO c\nMAIL\r\n", "HELO c\r\nEHLO c\r\nLHLO c\r\nVRFY x\r\nHELP\r\nFOO\r\n",
	} {
		f.Add([]byte(s), uint8(1), false)
		f.Add([]byte(s), uint8(200), true)
	}
	f.Fuzz(func(t *testing.T, in []byte, piece uint8, lmtp bool) {
		if len(in) > 4096 {
			return
		}
		whole := playOctets(t, in, len(in)+1, lmtp)
		split := playOctets(t, in, int(piece)+1, lmtp)
		// At a bare LF and at AUTH, what has come already counts: there pieces may differ.
		text := strings.ToUpper(string(in))
		if strings.Contains(strings.ReplaceAll(text, "\r\n", ""), "\n") || strings.Contains(text, "AUTH") || strings.Contains(text, "TLS") {
			return
		}
		if whole != split {
			t.Fatalf("%q:\nat once  %q\nin %d    %q", in, whole, piece+1, split)
		}
	})
}

// playOctets plays in and gives the replies, ids made alike.
func playOctets(t *testing.T, in []byte, piece int, lmtp bool) string {
	p := &fakePolicy{}
	s := New(Options{Policy: p, Hostname: "mx.test", LMTP: lmtp, MaxSize: 64, Forgiving: true, SASL: fuzzLogins(), AuthInClear: true})
	l := listen.New(listen.Options{Handler: s})
	ours, theirs := net.Pipe()
	done := make(chan struct{})
	go func() {
		l.ServeConn(theirs)
		close(done)
	}()
	_ = ours.SetDeadline(time.Now().Add(5 * time.Second))
	go func() {
		for i := 0; i < len(in); i += piece {
			if _, err := ours.Write(in[i:min(i+piece, len(in))]); err != nil {
				return
			}
		}
		// Whatever state that left: ends a line, a message, a login, the session.
		_, _ = io.WriteString(ours, "\r\n.\r\n*\r\nQUIT\r\n")
		if strings.Contains(strings.ToUpper(string(in)), "BDAT") { // and the longest chunk that is taken in
			_, _ = io.WriteString(ours, strings.Repeat("QUIT\r\n", (smtp.MaxJunk+128)/6))
		}
	}()
	var out strings.Builder
	r := bufio.NewReader(ours)
	for {
		line, err := r.ReadSlice('\n')
		if err != nil {
			break
		}
		if _, _, _, _, err := smtp.ParseReplyLine(line[:len(line)-2]); err != nil || len(line) > 512 {
			t.Fatalf("%q: reply %q", in, line)
		}
		out.WriteString(anID.ReplaceAllString(string(line), "$1-ID"))
	}
	<-done
	if n := l.Stats().Panics; n > 0 && !strings.Contains(strings.ToLower(string(in)), "panic") {
		t.Fatalf("%q: %d panics", in, n)
	}
	if p.open != 0 {
		t.Fatalf("%q: %d transactions left", in, p.open)
	}
	return out.String()
}

// newFuzzAuth is newFakeAuth without the work of deriving keys.
func newFuzzAuth() fakeAuth { return fakeAuth{} }

// fuzzLogins offers all that needs no certificate.
func fuzzLogins() *sasl.Server {
	return &sasl.Server{Auth: newFuzzAuth(), Host: "mx.test", Shared: sasl.ForSubmission, SharedAlways: true, Tokens: noTokens{}}
}

// noTokens takes none.
type noTokens struct{}

func (noTokens) Verify(context.Context, string) (string, error) { return "", sasl.Failed() }
func (noTokens) Discovery() string                              { return "" }
