package tlsrpt

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"os"
	"reflect"
	"runtime"
	"strings"
	"testing"
	"time"

	"postel/internal/mail"
)

// sample is a report with everything in it.
func sample() *Report {
	day := time.Date(2026, 11, 27, 0, 0, 0, 0, time.UTC)
	return &Report{
		Organization: "Company-X", Range: Range{day, day.Add(24 * time.Hour)}, Contact: "sts-reporting@company-x.example",
		ID: "5065427c@company-x.example",
		Policies: Counts{{
			Policy: Policy{
				Type: STS, Domain: "company-y.example", MX: Strings{"*.mail.company-y.example"},
				Strings: Strings{"version: STSv1", "mode: testing", "mx: *.mail.company-y.example", "max_age: 86400"},
			},
			Summary: Summary{5326, 303},
			Failures: []Failure{
				{Result: Expired, SendingIP: "2001:db8:abcd:12::1", MX: "mx1.mail.company-y.example", Sessions: 100},
				{
					Result: NoSTARTTLS, SendingIP: "2001:db8:abcd:13::1", MX: "mx2.mail.company-y.example", Hello: "mx2",
					ReceivingIP: "203.0.113.56", Sessions: 203, Information: "https://reports.company-x.example/1", Reason: "x",
				},
			},
		}},
	}
}

func packed(t *testing.T, b []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	z := gzip.NewWriter(&out)
	if _, err := z.Write(b); err != nil || z.Close() != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// TestReadBack: what is written is read again, and is gzip (RFC 8460 §5.2).
func TestReadBack(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	if err := sample().Write(&b); err != nil || !bytes.HasPrefix(b.Bytes(), []byte{0x1f, 0x8b}) {
		t.Fatal(err)
	}
	got, err := Read(&b)
	if err != nil || !reflect.DeepEqual(got, sample()) {
		t.Errorf("%+v, %v", got, err)
	}
	if sum := got.Total(); sum != (Summary{5326, 303}) {
		t.Errorf("%+v", sum)
	}
}

// TestReadForeign: reports as others write them, RFC 8460 Appendix B among them.
func TestReadForeign(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"rfc8460.json", "onetext.json", "report.eml"} {
		f, err := os.Open("testdata/" + name)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		r, err := ReadAny(f)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		p := r.Policies[0]
		if sum := r.Total(); sum != (Summary{5326, 303}) || p.Policy.Domain != "company-y.example" || len(p.Policy.MX) != 1 || r.Range.End.Sub(r.Range.Start) < 23*time.Hour {
			t.Errorf("%s: %+v", name, r)
		}
	}
}

// TestReadRefuses: what is no report, or too much of one.
func TestReadRefuses(t *testing.T) {
	t.Parallel()
	many := `{"report-id":"1","policies":[` + strings.Repeat(`{},`, maxPolicies) + `{}]}`
	bomb := packed(t, append([]byte(`{"report-id":"`), bytes.Repeat([]byte("a"), maxReport)...))
	wrapped := "Content-Type: application/tlsrpt+gzip\r\nContent-Transfer-Encoding: base64\r\n\r\n" + base64.StdEncoding.EncodeToString(bomb)
	for _, c := range []struct {
		name, text string
		want       mail.Kind
	}{
		{"nothing", "", mail.NotFound},
		{"no report", "{}", mail.Invalid},
		{"another type", `{"policies":{}}`, mail.Invalid},
		{"a date that is none", `{"report-id":"1","date-range":{"start-datetime":"yesterday"}}`, mail.Invalid},
		{"a year that JSON does not have", `{"report-id":"1","date-range":{"start-datetime":"9999-12-31T23:00:00-02:00"}}`, mail.Invalid},
		{"a year before the first", `{"report-id":"1","date-range":{"end-datetime":"0000-01-01T00:00:00+02:00"}}`, mail.Invalid},
		{"below zero", `{"report-id":"1","policies":[{"summary":{"total-failure-session-count":-1}}]}`, mail.Invalid},
		{"policies without end", many, mail.TooMany},
		{"a bomb", string(bomb), mail.TooLarge},
		{"a bomb in a message", wrapped, mail.TooLarge},
		{"cut gzip", string(packed(t, []byte(`{"report-id":"1"}`))[:20]), mail.Invalid},
		{"gzip of nothing", "\x1f\x8b", mail.Invalid},
		{"a message without a report", "Subject: hello\r\n\r\nHello.\r\n", mail.NotFound},
		{"octets without end", strings.Repeat("a", maxMessage+1), mail.TooLarge},
	} {
		if r, err := ReadAny(strings.NewReader(c.text)); mail.KindOf(err) != c.want {
			t.Errorf("%s: %+v, %v", c.name, r, err)
		}
	}
}

// TestReadMemory: a report of some kilobytes that unpacks to millions of small things is refused before they are made.
func TestReadMemory(t *testing.T) { // not parallel: it measures
	for name, text := range map[string]string{
		"policies": `{"policies":[` + strings.Repeat(`{},`, 3<<20) + `{}]}`,
		"failures": `{"policies":[{"failure-details":[` + strings.Repeat(`{},`, 3<<20) + `{}]}]}`,
		"hosts":    `{"policies":[{"policy":{"mx-host":[` + strings.Repeat(`"",`, 3<<20) + `""]}}]}`,
	} {
		bomb := bytes.NewReader(packed(t, []byte(text)))
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, err := Read(bomb)
		runtime.ReadMemStats(&after)
		if made := (after.TotalAlloc - before.TotalAlloc) >> 20; !mail.Is(err, mail.TooMany) || made > 100 {
			t.Errorf("%s: %v after %d MiB", name, err, made)
		}
	}
	braces := `{"report-id":"1","contact-info":"\\\"` + strings.Repeat("{,", maxCommas+1) + `"}`
	if _, err := Read(strings.NewReader(braces)); err != nil {
		t.Errorf("what stands in a string counts: %v", err)
	}
}

// TestIsReport: the media types of RFC 8460 §5.3 tell a report from other mail.
func TestIsReport(t *testing.T) {
	t.Parallel()
	for contentType, want := range map[string]bool{
		`multipart/report; report-type="tlsrpt"; boundary=x`: true,
		`Multipart/Report; boundary=x; Report-Type=TLSRPT`:   true,
		"application/tlsrpt+gzip":                            true,
		"application/tlsrpt+json; charset=utf-8":             true,
		"multipart/report; report-type=delivery-status":      false,
		"multipart/mixed; report-type=tlsrpt":                false,
		"application/json":                                   false,
		"":                                                   false,
	} {
		if got := IsReport(contentType); got != want {
			t.Errorf("%q: %t", contentType, got)
		}
	}
}

// FuzzRead: whatever comes is refused or bounded, and what was read can be written and read again.
func FuzzRead(f *testing.F) {
	for _, name := range []string{"rfc8460.json", "onetext.json", "report.eml"} {
		b, err := os.ReadFile("testdata/" + name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	var b bytes.Buffer
	if err := sample().Write(&b); err != nil {
		f.Fatal(err)
	}
	f.Add(b.Bytes())
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := ReadAny(bytes.NewReader(b))
		if err != nil {
			return
		}
		var out bytes.Buffer
		if err := r.Write(&out); err != nil {
			t.Skip() // a year beyond 9999
		}
		again, err := Read(&out)
		if err != nil || again.Total() != r.Total() || len(again.Policies) != len(r.Policies) {
			t.Errorf("%+v, %+v, %v", r, again, err)
		}
	})
}
