package message

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
)

func BenchmarkParser5K(b *testing.B) {
	in := []byte(twoParts())
	b.SetBytes(int64(len(in)))
	b.ReportAllocs()
	p := NewParser(Limits{})
	for b.Loop() {
		p.Reset()
		_, _ = p.Write(in)
		if root, _ := p.Close(); len(root.Children) != 2 {
			b.Fatal("not two parts")
		}
	}
}

func BenchmarkParserAttachment(b *testing.B) {
	line := strings.Repeat("QUJD", 19) + "\r\n"
	in := []byte("Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Transfer-Encoding: base64\r\n\r\n" +
		strings.Repeat(line, 100000) + "--b--\r\n")
	b.SetBytes(int64(len(in)))
	p := NewParser(Limits{})
	for b.Loop() {
		p.Reset()
		_, _ = p.Write(in)
		_, _ = p.Close()
	}
}

func BenchmarkCodec(b *testing.B) {
	root := parse(b, Limits{}, twoParts())
	buf := root.AppendBinary(nil)
	b.ReportMetric(float64(len(buf)), "octets")
	b.Run("append", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			buf = root.AppendBinary(buf[:0])
		}
	})
	b.Run("decode", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := Decode(buf); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// twoParts is an ordinary mail of 5 KB.
func twoParts() string {
	var b bytes.Buffer
	b.WriteString(crlf(`
Return-Path: <alice@example.org>
Received: from mail.example.org (mail.example.org [192.0.2.1])
	by mx.example.net (Postel) with ESMTPS id abcdefgh
	for <bob@example.net>; Mon, 6 Jan 2025 10:00:00 +0000
DKIM-Signature: v=1; a=rsa-sha256; c=relaxed/relaxed; d=example.org; s=s1;
	h=from:to:subject:date:message-id; bh=47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=;
	b=dGhpcyBpcyBub3QgYSByZWFsIHNpZ25hdHVyZSBhdCBhbGwsIG9ubHkgc29tZSB0ZXh0IHRoYXQgbG9va3MgbGlrZSBvbmU=
From: Alice Example <alice@example.org>
To: Bob Example <bob@example.net>, "Carol, the other" <carol@example.net>
Cc: =?utf-8?q?J=C3=BCrgen?= <j@example.de>
Subject: =?utf-8?q?Gr=C3=BC=C3=9Fe?= from here
Date: Mon, 6 Jan 2025 10:00:00 +0000
Message-ID: <1234.5678@example.org>
References: <1@example.org> <2@example.net>
In-Reply-To: <2@example.net>
MIME-Version: 1.0
Content-Type: multipart/alternative; boundary="=_boundary_1234"

This is a multi-part message in MIME format.
--=_boundary_1234
Content-Type: text/plain; charset=utf-8
Content-Transfer-Encoding: quoted-printable

`))
	for i := range 20 {
		fmt.Fprintf(&b, "Line %d of a text that is =C3=BCberhaupt not interesting to read at all.\r\n", i)
	}
	b.WriteString("--=_boundary_1234\r\nContent-Type: text/html; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n")
	for i := range 28 {
		fmt.Fprintf(&b, "<p>Line %d of a text that is =C3=BCberhaupt not interesting to read.</p>\r\n", i)
	}
	b.WriteString("--=_boundary_1234--\r\n")
	return b.String()
}
