package config

import (
	"strings"
	"testing"
)

// TestTLSReports: [tlsrpt] says who reports, and where reports come.
func TestTLSReports(t *testing.T) {
	t.Parallel()
	const base = "hostname = \"mail.example.org\"\n[tlsrpt]\n"
	c, err := Parse("x", []byte(base+"send = \"off\"\norganization = \"Example Büro\"\ncontact = \"tls@example.org\"\nto = \"reports\"\n"))
	if err != nil {
		t.Fatal(err)
	}
	if r := c.TLSReports; r.Send != "off" || r.Organization != "Example Büro" || r.Contact.String() != "tls@example.org" || r.To != "reports" {
		t.Errorf("%+v", r)
	}
	if r := Default().TLSReports; r.Send != "on" || r.To != "tls-reports" {
		t.Errorf("%+v", r)
	}
	for _, bad := range []string{`send = "yes"`, `send = true`, `organization = "a\nb"`, `contact = "nobody"`, `to = "a@b"`, `to = ""`} {
		if _, err := Parse("x", []byte(base+bad)); err == nil || !strings.Contains(err.Error(), "x:3: tlsrpt.") {
			t.Errorf("%s: %v", bad, err)
		}
	}
}
