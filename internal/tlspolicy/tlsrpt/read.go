package tlsrpt

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"io"
	"time"

	"postel/internal/mail"
)

// Bounds of what is read.
const (
	maxReport   = 10 << 20 // octets, unpacked
	maxPolicies = 10_000
	maxFailures = 50_000 // of all policies

	// What is looked at before anything is made of the text, as three octets can be an object of two hundred.
	maxObjects = 3*maxPolicies + maxFailures + 100
	maxCommas  = 1_000_000
)

// Read reads a report, compressed or not. It is tolerant: foreign senders leave fields out, or write one text where a
// list is wanted. Nothing in it is to be trusted. Errors have Kind Invalid, TooLarge, TooMany, or are those of r.
func Read(r io.Reader) (*Report, error) {
	b, err := unpack(r)
	if err != nil {
		return nil, err
	}
	if objects, commas := sizeOf(b); objects > maxObjects || commas > maxCommas {
		return nil, tooMany()
	}
	out := new(Report)
	if err := json.Unmarshal(b, out); err != nil {
		return nil, &mail.Error{Op: "tlsrpt.read", Kind: mail.Invalid, Text: "not the JSON of a report on TLS", Err: err}
	}
	return out, out.check()
}

func tooMany() error {
	return mail.E("tlsrpt.read", mail.TooMany, "the report has more than %d policies or %d failures", maxPolicies, maxFailures)
}

// sizeOf counts what stands outside the strings of a text of JSON: objects, and the commas between whatever it holds.
func sizeOf(b []byte) (objects, commas int) {
	inString := false
	for i := 0; i < len(b); i++ {
		switch c := b[i]; {
		case c == '"':
			inString = !inString
		case inString && c == '\\':
			i++
		case inString:
		case c == '{':
			objects++
		case c == ',':
			commas++
		}
	}
	return objects, commas
}

// unpack gives the text of a report, whichever way it comes, within its bounds.
func unpack(r io.Reader) ([]byte, error) {
	br := bufio.NewReader(r)
	src := io.Reader(br)
	if front, _ := br.Peek(2); bytes.Equal(front, []byte{0x1f, 0x8b}) {
		z, err := gzip.NewReader(br)
		if err != nil {
			return nil, broken(err)
		}
		src = z
	}
	b, err := io.ReadAll(io.LimitReader(src, maxReport+1))
	switch {
	case len(b) > maxReport:
		return nil, mail.E("tlsrpt.read", mail.TooLarge, "the report is larger than 10 MiB once it is unpacked")
	case err != nil && src != br:
		return nil, broken(err)
	}
	return bytes.TrimPrefix(b, []byte("\xef\xbb\xbf")), err
}

func broken(err error) error {
	return &mail.Error{Op: "tlsrpt.read", Kind: mail.Invalid, Text: "the report's gzip cannot be unpacked", Err: err}
}

// check sees that it is a report, and bounded.
func (r *Report) check() error {
	failures := 0
	for _, p := range r.Policies {
		failures += len(p.Failures)
		bad := p.Summary.Successes < 0 || p.Summary.Failures < 0
		for _, f := range p.Failures {
			bad = bad || f.Sessions < 0
		}
		if bad {
			return mail.E("tlsrpt.read", mail.Invalid, "a count of the report is below zero")
		}
	}
	switch {
	case len(r.Policies) > maxPolicies || failures > maxFailures:
		return tooMany()
	case r.Range.Start.IsZero() && r.ID == "" && len(r.Policies) == 0:
		return mail.E("tlsrpt.read", mail.Invalid, "the JSON is no report on TLS: neither date-range nor report-id nor policies")
	}
	return nil
}

// Strings is a list of texts, which some senders write as one text.
type Strings []string

// UnmarshalJSON implements json.Unmarshaler.
func (s *Strings) UnmarshalJSON(b []byte) error {
	var list []string
	var one string
	if json.Unmarshal(b, &one) == nil {
		if *s = nil; one != "" {
			*s = Strings{one}
		}
		return nil
	}
	err := json.Unmarshal(b, &list)
	*s = list
	return err
}

// UnmarshalJSON implements json.Unmarshaler: times of RFC 3339, and those that lack a zone, which are in UTC.
func (r *Range) UnmarshalJSON(b []byte) error {
	var v struct {
		Start string `json:"start-datetime"`
		End   string `json:"end-datetime"`
	}
	if err := json.Unmarshal(b, &v); err != nil {
		return err
	}
	var err, err2 error
	r.Start, err = readTime(v.Start)
	r.End, err2 = readTime(v.End)
	return errors.Join(err, err2)
}

func readTime(s string) (time.Time, error) {
	for _, layout := range []string{"2006-01-02T15:04:05", "2006-01-02 15:04:05", time.DateOnly} {
		if t, err := time.Parse(layout, s); err == nil {
			return t, nil
		}
	}
	if s == "" {
		return time.Time{}, nil
	}
	t, err := time.Parse(time.RFC3339, s)
	if t = t.UTC(); err == nil && (t.Year() < 0 || t.Year() > 9999) { // it could not be written again
		err = errors.New("a year that cannot be")
	}
	return t, err
}
