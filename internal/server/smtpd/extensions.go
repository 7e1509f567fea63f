package smtpd

import (
	"strconv"
	"strings"
	"time"

	"postel/internal/proto/smtp"
)

// extension is a row of the table of what EHLO lists beside commands, with the parameters that it adds to MAIL and RCPT.
type extension struct {
	keyword string
	rfc     string
	mail    string // parameters of MAIL, as HELP shows them
	rcpt    string // of RCPT
	// offer gives what stands behind the keyword, and whether it counts now; nil is nothing, always.
	offer func(s *session) (string, bool)
}

// extensions gives the table, in the order in which EHLO lists it.
func extensions(o Options) []extension {
	all := []struct {
		on bool
		extension
	}{
		{true, extension{keyword: "PIPELINING", rfc: "RFC 2920"}},
		{true, extension{keyword: "ENHANCEDSTATUSCODES", rfc: "RFC 2034"}},
		{true, extension{keyword: "SIZE", rfc: "RFC 1870", mail: "SIZE=octets", offer: func(*session) (string, bool) {
			return strconv.FormatInt(o.MaxSize, 10), true
		}}},
		{true, extension{keyword: "8BITMIME", rfc: "RFC 6152", mail: bodyParam(o)}},
		{o.Extensions.UTF8, extension{keyword: "SMTPUTF8", rfc: "RFC 6531", mail: "SMTPUTF8"}},
		{true, extension{keyword: "CHUNKING", rfc: "RFC 3030"}},
		{o.Extensions.Binary, extension{keyword: "BINARYMIME", rfc: "RFC 3030"}},
		{o.Extensions.DSN, extension{
			keyword: "DSN", rfc: "RFC 3461", mail: "RET=FULL|HDRS ENVID=xtext",
			rcpt: "NOTIFY=NEVER|SUCCESS,FAILURE,DELAY ORCPT=type;xtext",
		}},
		{o.Extensions.DeliverBy, extension{keyword: "DELIVERBY", rfc: "RFC 2852", mail: "BY=seconds;R|N[T]"}},
		{o.Extensions.FutureRelease, extension{
			keyword: "FUTURERELEASE", rfc: "RFC 4865", mail: "HOLDFOR=seconds|HOLDUNTIL=date-time", offer: (*session).offerRelease,
		}},
		{o.Extensions.Priority, extension{keyword: "MT-PRIORITY", rfc: "RFC 6710", mail: "MT-PRIORITY=-9…9"}},
		{o.Extensions.RequireTLS, extension{keyword: "REQUIRETLS", rfc: "RFC 8689", mail: "REQUIRETLS", offer: func(s *session) (string, bool) {
			return "", s.conn.TLS() != nil // RFC 8689 §4.2.1
		}}},
		{true, extension{keyword: "LIMITS", rfc: "RFC 9422", offer: func(*session) (string, bool) {
			return "RCPTMAX=" + strconv.Itoa(o.MaxRecipients), true
		}}},
	}
	var has []extension
	for _, x := range all {
		if x.on {
			has = append(has, x.extension)
		}
	}
	return has
}

func bodyParam(o Options) string {
	if o.Extensions.Binary {
		return "BODY=7BIT|8BITMIME|BINARYMIME"
	}
	return "BODY=7BIT|8BITMIME"
}

// offerRelease tells how far ahead mail may be put: seconds, and the day that this is now (RFC 4865 §3).
func (s *session) offerRelease() (string, bool) {
	o := s.server.o
	until := o.Clock().Add(o.MaxHold).UTC().Format(time.RFC3339)
	return strconv.FormatInt(int64(o.MaxHold/time.Second), 10) + " " + until, true
}

// keywords are the lines behind the first of an answer to EHLO.
func (s *session) keywords() []string {
	var lines []string
	for _, x := range s.server.extensions {
		line := x.keyword
		if x.offer != nil {
			params, ok := x.offer(s)
			if !ok {
				continue
			}
			line = strings.TrimSpace(line + " " + params)
		}
		lines = append(lines, line)
	}
	for _, c := range s.server.commands {
		if c.offer != nil {
			lines = append(lines, c.offer(s)...)
		}
	}
	return lines
}

// parameters gives those of a command as HELP shows them, each in brackets.
func parameters(xs []extension, of func(extension) string) string {
	var b strings.Builder
	for _, x := range xs {
		for p := range strings.FieldsSeq(of(x)) {
			b.WriteString(" [" + p + "]")
		}
	}
	return b.String()
}

// parameters are those that MAIL and RCPT take.
func (o Options) parameters() smtp.Extensions {
	x := o.Extensions
	x.Size, x.EightBit, x.Auth, x.Bare = true, true, o.SASL != nil, o.Forgiving
	return x
}
