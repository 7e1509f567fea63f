package config

import (
	"errors"
	"strings"
	"unicode"
	"unicode/utf8"

	"postel/internal/mail"
)

// TLSReports says how reports on TLS are sent, and where those of others come (RFC 8460).
type TLSReports struct {
	Send         string       // "on" or "off"
	Organization string       // "": the hostname
	Contact      mail.Address // zero: Admin, else postmaster of the first domain
	To           string       // local part of the addresses in our domains that take reports
}

// words takes a text for people.
func words(p *string) func(string) error {
	return func(v string) error {
		if len(v) > 256 || !utf8.ValidString(v) || strings.ContainsFunc(v, unicode.IsControl) {
			return errors.New("want a text of 256 octets at most, without control characters")
		}
		*p = v
		return nil
	}
}

// localPart takes the part of an address in front of the "@".
func localPart(p *string) func(string) error {
	return func(v string) error {
		if a, err := mail.ParseAddress(v + "@example.org"); err != nil || a.Local != v {
			return errors.New(`want the part of an address in front of the "@", as tls-reports`)
		}
		*p = v
		return nil
	}
}

// tlsReports are the rows of [tlsrpt].
func tlsReports(c *TLSReports) []setting {
	return []setting{
		text("tlsrpt.send", "on", "on: who publishes _smtp._tls.DOMAIN with an address of HTTPS gets a report each day on what TLS with their hosts came to (RFC 8460)", oneOf(&c.Send, "on", "off"), get(&c.Send)),
		text("tlsrpt.organization", "", "who reports; else the hostname", words(&c.Organization), get(&c.Organization)),
		text("tlsrpt.contact", "", "the address that reports name for questions; else admin, else postmaster of the first domain", address(&c.Contact), func() string { return c.Contact.String() }),
		text("tlsrpt.to", "tls-reports", "local part of the addresses of our domains that others send their reports to; postel tlsrpt received reads them there", localPart(&c.To), get(&c.To)),
	}
}
