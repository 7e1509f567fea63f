package fetch

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"postel/internal/mail"
	"postel/internal/proto/smtp"
)

// provider answers each line that it hears with the next of its replies, then closes.
func provider(t *testing.T, greeting string, replies ...string) Source {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ln.Close() })
	go func() {
		c, err := ln.Accept()
		if err != nil {
			return
		}
		defer func() { _ = c.Close() }()
		_, _ = io.WriteString(c, greeting+"\r\n")
		r := bufio.NewReader(c)
		for _, reply := range replies {
			if _, err := r.ReadString('\n'); err != nil {
				return
			}
			_, _ = io.WriteString(c, reply+"\r\n")
		}
	}()
	at := netip.MustParseAddrPort(ln.Addr().String())
	return Source{Host: "127.0.0.1", Port: at.Port(), TLS: "never", Domains: []mail.Domain{"a.test", "b.test"}, Every: time.Hour}
}

// once asks a source, and gives the log and the domains for which a connection was turned round.
func once(t *testing.T, s Source) (log string, turned []mail.Domain) {
	t.Helper()
	var b bytes.Buffer
	f := New(Options{Hello: "us.test", Log: slog.New(slog.NewTextHandler(&b, &slog.HandlerOptions{Level: slog.LevelDebug})), Serve: func(c net.Conn, d []mail.Domain) {
		turned = d
		_ = c.Close()
	}})
	f.once(t.Context(), s)
	return b.String(), turned
}

// Whatever a provider says, the connection is handed on behind a lone 250 to ATRN only, and the rest is told.
func TestATRN(t *testing.T) {
	t.Parallel()
	login := []string{"250-p\r\n250-AUTH PLAIN\r\n250 ATRN", "235 welcome"}
	for _, x := range []struct {
		greeting string
		replies  []string
		log      string
		turned   bool
	}{
		{"220 p", append(login[:2:2], "250 OK now reversing"), "mail is fetched", true},
		{"220 p", append(login[:2:2], "250 OK now reversing\r\nEHLO p"), "spoke out of turn", false},
		{"220 p", append(login[:2:2], "251 what?"), "ATRN was refused", false},
		{"220 p", append(login[:2:2], "450 not yours", "221 bye"), "not yours", false},
		{"220 p", append(login[:2:2], "453 you have no mail", "221 bye"), "nothing waits", false},
		{"220 p", login, "ATRN was refused", false},
		{"220 p", []string{"250-p\r\n250 AUTH PLAIN", "535 no"}, "could not be asked for", false},
		{"220 p", []string{"250 p"}, "no mechanism", false},
		{"554 go away", nil, "go away", false},
		{"HTTP/1.1 400", nil, "could not be asked for", false},
	} {
		s := provider(t, x.greeting, x.replies...)
		s.Method, s.User, s.Password = ATRN, "bob", "secret"
		log, turned := once(t, s)
		if !strings.Contains(log, x.log) || (len(turned) == 2) != x.turned || strings.Contains(log, "secret") {
			t.Errorf("%q: %v, %s", x.replies, turned, log)
		}
	}
	nobody := Source{Host: "127.0.0.1", Port: 1, Method: ATRN, TLS: "may"}
	if log, _ := once(t, nobody); !strings.Contains(log, "no connection to 127.0.0.1:1") {
		t.Error(log)
	}
	must := provider(t, "220 p", "250 p")
	must.Method, must.TLS = ATRN, "must"
	if log, _ := once(t, must); !strings.Contains(log, "does not offer TLS") {
		t.Error(log)
	}
}

// Each domain has its own answer (RFC 1985 §5).
func TestETRN(t *testing.T) {
	t.Parallel()
	s := provider(t, "220 p", "250-p\r\n250 ETRN", "253 OK, 2 pending messages for node a.test started", "459 node b.test not allowed", "221 bye")
	s.Method = ETRN
	if log, _ := once(t, s); strings.Count(log, "queue run was asked for") != 1 || strings.Count(log, "queue run was refused") != 1 {
		t.Error(log)
	}
	s = provider(t, "220 p", "250 p", "250 OK")
	s.Method = ETRN
	if log, _ := once(t, s); strings.Count(log, "queue run was asked for") != 1 || !strings.Contains(log, "connection lost") {
		t.Error(log)
	}
}

func TestPorts(t *testing.T) {
	t.Parallel()
	for want, s := range map[string]Source{
		"p.test:366": {Host: "p.test", Method: ATRN}, "p.test:25": {Host: "p.test", Method: ETRN}, "[::1]:99": {Host: "[::1]", Port: 99},
	} {
		if got := s.addr(); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
}

// taking takes everything.
type taking struct{ smtp.Transaction }

func (taking) Begin(context.Context, smtp.Peer) (smtp.Transaction, error) { return taking{}, nil }
func (taking) Rcpt(context.Context, mail.Recipient) error                 { return nil }

// What comes in is for the domains that were asked for.
func TestOnly(t *testing.T) {
	t.Parallel()
	for _, x := range []struct {
		asked []mail.Domain
		rcpt  mail.Domain
		taken bool
	}{{nil, "a.test", true}, {[]mail.Domain{"a.test"}, "a.test", true}, {[]mail.Domain{"a.test"}, "b.test", false}, {[]mail.Domain{"a.test"}, "", false}} {
		tx, err := Only(taking{}, x.asked).Begin(t.Context(), smtp.Peer{})
		if err != nil {
			t.Fatal(err)
		}
		err = tx.Rcpt(t.Context(), mail.Recipient{Address: mail.Address{Local: "x", Domain: x.rcpt}})
		if (err == nil) != x.taken || err != nil && !mail.Is(err, mail.Denied) {
			t.Errorf("%v: %v", x, err)
		}
	}
}
