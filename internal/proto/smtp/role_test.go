package smtp

import (
	"crypto/tls"
	"testing"
)

// The with-keywords of RFC 3848 and RFC 6531 §4.3.
func TestWith(t *testing.T) {
	t.Parallel()
	secure := &tls.ConnectionState{}
	for _, c := range []struct {
		p    Peer
		utf8 bool
		want string
	}{
		{Peer{}, false, "SMTP"},
		{Peer{ESMTP: true}, false, "ESMTP"},
		{Peer{ESMTP: true, TLS: secure}, false, "ESMTPS"},
		{Peer{ESMTP: true, Login: "a"}, false, "ESMTPA"},
		{Peer{ESMTP: true, TLS: secure, Login: "a"}, false, "ESMTPSA"},
		{Peer{LMTP: true}, false, "LMTP"},
		{Peer{LMTP: true, TLS: secure, Login: "a"}, false, "LMTPSA"},
		{Peer{ESMTP: true, TLS: secure, Login: "a"}, true, "UTF8SMTPSA"},
		{Peer{ESMTP: true}, true, "UTF8SMTP"},
		{Peer{LMTP: true, TLS: secure}, true, "UTF8LMTPS"},
	} {
		if got := c.p.With(c.utf8); got != c.want {
			t.Errorf("%+v, %v: %s, want %s", c.p, c.utf8, got, c.want)
		}
	}
}
