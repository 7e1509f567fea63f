package imapd

const hello = `From: Bob <bob@example.net>
To: Alice <alice@example.org>
Subject: Hello
Message-ID: <hello@example.net>
Date: Mon, 23 Nov 2026 13:59:00 +0000

Hello Alice.
`

// mails are the messages that the transcripts speak of, in this order.
var mails = []string{
	hello,
	`From: "Bob (at work)" <bob@example.net>
To: undisclosed recipients:;
Cc: Alice <alice@example.org>, "Carol C." <carol@example.com>
Subject: =?utf-8?q?Gr=C3=BC=C3=9Fe_aus_K=C3=B6ln?=
Message-ID: <two@example.net>
In-Reply-To: <hello@example.net>
Date: Sun, 1 Nov 2026 23:30:00 -0800
X-Priority: 1
MIME-Version: 1.0
Content-Type: multipart/mixed; boundary="outer"

preamble
--outer
Content-Type: multipart/alternative; boundary=inner

--inner
Content-Type: text/plain; charset=iso-8859-1
Content-Transfer-Encoding: quoted-printable

Viele Gr=FC=DFe
--inner
Content-Type: text/html; charset=utf-8

<p>Viele <b>Gr&uuml;&szlig;e</b></p>
--inner--
--outer
Content-Type: message/rfc822
Content-Description: forwarded

From: carol@example.com
Subject: inner subject
MIME-Version: 1.0
Content-Type: multipart/mixed; boundary=deep

--deep
Content-Type: text/plain

deep text
--deep
Content-Type: application/pdf; name="a.pdf"
Content-Transfer-Encoding: base64
Content-Disposition: attachment; filename="a.pdf"

JVBERi0xLjQK
--deep--
--outer--
epilogue
`,
	`From: dave@example.com
Subject: no date, no body

`,
}
