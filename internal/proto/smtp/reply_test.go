package smtp

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"

	"postel/internal/mail"
)

func TestReplyAppend(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		r    Reply
		want string
	}{
		{NewReply(250, mail.Enhanced{2, 1, 0}, "ok"), "250 2.1.0 ok\r\n"},
		{Reply{Code: 250, Lines: []string{"a", "b"}}, "250-a\r\n250 b\r\n"},
		{Reply{Code: 214, Enhanced: mail.Enhanced{2, 0, 0}, Lines: []string{"a", "b"}}, "214-2.0.0 a\r\n214 2.0.0 b\r\n"},
		{Reply{Code: 354}, "354 \r\n"},
		{NewReply(550, mail.Enhanced{}, "a\r\n250 b\x00"), "550 a??250 b?\r\n"},
	} {
		if got := string(c.r.Append(nil)); got != c.want {
			t.Errorf("%q, want %q", got, c.want)
		}
	}
	if n := len(NewReply(550, mail.Enhanced{5, 999, 999}, "%s", strings.Repeat("x", 9999)).Append(nil)); n > 512 {
		t.Errorf("a line of %d octets", n)
	}
}

func TestReplyOf(t *testing.T) {
	t.Parallel()
	cause := errors.New("secret path")
	for _, c := range []struct {
		err       error
		afterData bool
		want      string
	}{
		{cause, false, "451 4.3.0 internal error"},
		{mail.Wrap("x", cause), true, "451 4.3.0 internal error"},
		{&mail.Error{Kind: mail.Internal, Text: "secret"}, false, "451 4.3.0 internal error"},
		{mail.E("x", mail.NotFound, "no such user"), false, "550 5.1.1 no such user"},
		{mail.E("x", mail.OverQuota, "full"), false, "452 4.2.2 full"},
		{&mail.Error{Kind: mail.OverQuota, Code: mail.Enhanced{5, 2, 2}}, false, "552 5.2.2 mailbox full"},
		{mail.E("x", mail.Invalid, "no From"), true, "554 5.6.0 no From"},
		{mail.E("x", mail.Invalid, "what"), false, "501 5.5.4 what"},
		{mail.E("x", mail.Loop, "loop"), true, "554 5.4.6 loop"},
		{Fail(538, mail.NeedTLS, mail.Enhanced{5, 7, 11}, "tls"), false, "538 5.7.11 tls"},
		{mail.Wrap("outer", Fail(538, mail.NeedTLS, mail.Enhanced{5, 7, 11}, "tls")), false, "538 5.7.11 tls"},
		{&mail.Error{Kind: mail.Kind(200)}, false, "451 4.3.0 internal error"},
		{context.Canceled, false, "451 4.3.0 internal error"},
	} {
		if got := ReplyOf(c.err, c.afterData).String(); got != c.want {
			t.Errorf("%v: %q, want %q", c.err, got, c.want)
		}
	}
	for k := mail.Internal; k <= mail.Canceled; k++ {
		for class := uint16(4); class <= 5; class++ {
			for _, after := range []bool{false, true} {
				r := ReplyOf(&mail.Error{Kind: k, Code: mail.Enhanced{class, 0, 0}}, after)
				if r.Code/100 != int(class) || r.Text() == "" {
					t.Errorf("%v %d: %v", k, class, r)
				}
			}
		}
		if r := ReplyOf(&mail.Error{Kind: k}, false); r.Code/100 != int(r.Enhanced[0]) {
			t.Errorf("%v: %v", k, r)
		}
	}
}

func TestParseReplyLine(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		in   string
		code int
		e    string
		text string
		more bool
	}{
		{"250 2.1.0 ok", 250, "2.1.0", "ok", false},
		{"250-2.1.0 ok", 250, "2.1.0", "ok", true},
		{"250", 250, "", "", false},
		{"354 go", 354, "", "go", false},
		{"550 4.1.1 other class", 550, "", "4.1.1 other class", false},
		{"220 2.5.1.example.org", 220, "", "2.5.1.example.org", false},
		{"550 5.1.1", 550, "5.1.1", "", false},
		{"250 2.01.0 x", 250, "", "2.01.0 x", false},
		{"250 2.1000.0 x", 250, "", "2.1000.0 x", false},
	} {
		code, e, text, more, err := ParseReplyLine([]byte(c.in))
		if code != c.code || e.String() != c.e || text != c.text || more != c.more || err != nil {
			t.Errorf("%q: %d %v %q %v %v", c.in, code, e, text, more, err)
		}
	}
	for _, bad := range []string{"", "25", "150 x", "600 x", "2x0 x", "250x", "* OK"} {
		if _, _, _, _, err := ParseReplyLine([]byte(bad)); !mail.Is(err, mail.Invalid) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

// FuzzReplyLine checks that a line read is written back as it was.
func FuzzReplyLine(f *testing.F) {
	for _, s := range []string{"250 2.1.0 ok", "250-x", "354", "550 5.1.1", "421 4.3.2  two"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		code, e, text, more, err := ParseReplyLine(line)
		if err != nil || more || bytes.ContainsFunc(line, func(r rune) bool { return r < 0x20 || r == 0x7f }) || len(line) > MaxReplyText {
			return
		}
		got := strings.TrimSuffix(string(Reply{Code: code, Enhanced: e, Lines: []string{text}}.Append(nil)), "\r\n")
		if strings.TrimRight(got, " ") != strings.TrimRight(string(line), " ") {
			t.Fatalf("%q became %q", line, got)
		}
	})
}

func TestReceived(t *testing.T) {
	t.Parallel()
	var ids mail.IDs
	now := time.Date(2026, 11, 23, 15, 4, 5, 0, time.FixedZone("", 3600))
	id := ids.New(now)
	p := Peer{
		Looked: Looked{Name: "client.example.org."},
		Remote: netip.MustParseAddrPort("[2001:db8::1]:999"), Helo: "client.Example.org", ESMTP: true, Login: "a@b.org",
		TLS: &tls.ConnectionState{Version: tls.VersionTLS13, CipherSuite: tls.TLS_AES_128_GCM_SHA256},
	}
	to := mail.Address{Local: "x y", Domain: "b.org"}
	got := string(Received(p, ReceivedInfo{Hostname: "mx.b.org", ID: id, For: to, Now: now}))
	want := "Received: from client.example.org (client.example.org [IPv6:2001:db8::1])\r\n" +
		"\tby mx.b.org with ESMTPSA\r\n\t(TLS 1.3 TLS_AES_128_GCM_SHA256) id m-" + id.String() + "\r\n" +
		"\tfor <\"x y\"@b.org>;\r\n\tMon, 23 Nov 2026 15:04:05 +0100\r\n"
	if got != want {
		t.Errorf("%s\nwant %s", got, want)
	}
	p = Peer{Remote: netip.MustParseAddrPort("192.0.2.1:999"), Helo: "a;(b)\rc"}
	got = string(Received(p, ReceivedInfo{Hostname: "mx.b.org", ID: id, Now: now}))
	if !strings.HasPrefix(got, "Received: from unknown ([192.0.2.1])\r\n\tby mx.b.org with SMTP id m-") {
		t.Error(got)
	}
	got = string(Received(Peer{Helo: "[127.0.0.1]", LMTP: true, System: &SystemUser{UID: 7}}, ReceivedInfo{Hostname: "h", ID: id, Now: now}))
	if !strings.HasPrefix(got, "Received: from [127.0.0.1] (uid 7)\r\n\tby h with LMTP id") {
		t.Error(got)
	}
}

func TestXtext(t *testing.T) {
	t.Parallel()
	for _, s := range []string{"", "a+b=c d", "\x00\xff", "plain"} {
		if got, ok := DecodeXtext(EncodeXtext(s)); !ok || got != s {
			t.Errorf("%q: %q %v", s, got, ok)
		}
	}
	for _, bad := range []string{"+", "+4", "+4g", "a=b", "a b", "é"} {
		if got, ok := DecodeXtext(bad); ok {
			t.Errorf("%q: %q", bad, got)
		}
	}
}
