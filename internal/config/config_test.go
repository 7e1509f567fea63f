package config

import (
	"strings"
	"testing"
	"time"
)

func TestSmallCompany(t *testing.T) {
	t.Parallel()
	c, err := Parse("postel.toml", []byte(`
hostname = "mail.example.org"
data     = "/var/lib/postel"
admin    = "me@example.org"

[tls]
cert = "/etc/c.pem"
key = "/etc/k.pem"

[listen]
lmtp = "unix:/run/lmtp.sock"
imap = ""

[queue]
first = "1m"
max = "2h"

[[domain]]
name = "example.org"
aliases = { sales = ["alice@example.org"] }

[[route]]
domain = "x.org"
host = "relay.x.org"
rate = 600
retry = { first = "15m", lifetime = "2d" }
`))
	if err != nil {
		t.Fatal(err)
	}
	if c.Hostname != "mail.example.org" || c.Listen["smtp"] != ":25" || c.Listen["imap"] != "" || c.Listen["lmtp"] != "unix:/run/lmtp.sock" {
		t.Errorf("%+v", c)
	}
	if c.Queue.First != time.Minute || c.Queue.Max != 2*time.Hour || c.Queue.Lifetime != 120*time.Hour || c.Limits.Message != 50<<20 {
		t.Errorf("%+v %+v", c.Queue, c.Limits)
	}
	if c.Domains[0].Kind != "local" || c.Domains[0].Aliases["sales"][0] != "alice@example.org" || c.Routes[0].Port != 0 {
		t.Errorf("%+v %+v", c.Domains, c.Routes)
	}
	if r := c.Routes[0]; r.Rate != 600 || r.Sessions != 0 || r.First != 15*time.Minute || r.Max != 0 || r.Lifetime != 48*time.Hour {
		t.Errorf("%+v", r)
	}
}

// All problems come at once, each with its line and what mends it.
func TestProblems(t *testing.T) {
	t.Parallel()
	_, err := Parse("p.toml", []byte(`hostnam = "x.org"
data = "relative"

[limits]
recipients = 5
idle_smtp = "soon"

[[domain]]
nam = "example.org"

[[route]]
host = "h"
password = "plain"
`))
	if err == nil {
		t.Fatal("no error")
	}
	for _, want := range []string{
		"p.toml:1: unknown key hostnam; did you mean hostname?",
		"p.toml:2: data: want an absolute path",
		"p.toml:5: limits.recipients: want a number from 100",
		`p.toml:6: limits.idle_smtp: want a time as "90s"`,
		"p.toml:8: [[domain]] needs name",
		"p.toml:9: unknown key [[domain]] nam; did you mean name?",
		"p.toml:13: [[route]] password: secrets stand elsewhere",
		"hostname is missing",
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("missing %q in\n%v", want, err)
		}
	}
	if strings.Contains(err.Error(), "plain") {
		t.Error("a secret is shown")
	}
}

func TestOAuth(t *testing.T) {
	t.Parallel()
	const head = "hostname = \"m.example.org\"\n[oauth]\nissuer = \"https://id.example.org\"\n"
	for _, good := range []string{"https://id.example.org/jwks", "http://127.0.0.1:8080/jwks", "http://[::1]/jwks", "http://localhost/jwks", "/etc/postel/jwks.json"} {
		c, err := Parse("p.toml", []byte(head+"jwks = \""+good+"\"\naudience = \"mail\"\n"))
		if err != nil || c.OAuth.JWKS != good || c.OAuth.Claim != "email" {
			t.Errorf("%s: %v", good, err)
		}
	}
	for _, bad := range []string{"http://id.example.org/jwks", "jwks.json", "ftp://127.0.0.1/jwks", "https:///jwks"} {
		if _, err := Parse("p.toml", []byte(head+"jwks = \""+bad+"\"\naudience = \"mail\"\n")); err == nil || !strings.Contains(err.Error(), "p.toml:4: oauth.jwks: want https://") {
			t.Errorf("%s: %v", bad, err)
		}
	}
	if _, err := Parse("p.toml", []byte(head)); err == nil || !strings.Contains(err.Error(), "p.toml:2: oauth.issuer, oauth.jwks and oauth.audience go together") {
		t.Errorf("%v", err)
	}
}

func TestStartTLS(t *testing.T) {
	t.Parallel()
	c, err := Parse("p.toml", []byte("hostname = \"m.example.org\"\n[tls]\ncert = \"/c\"\nkey = \"/k\"\n[starttls]\nsmtp = \"off\"\nsubmission = \"required\"\n"))
	if err != nil || c.StartTLS["smtp"] != TLSOff || c.StartTLS["submission"] != TLSRequired || c.StartTLS["lmtp"] != TLSOffered {
		t.Errorf("%v, %v", c, err)
	}
	_, err = Parse("p.toml", []byte("hostname = \"m.example.org\"\n[starttls]\nsmtp = \"required\"\nlmtp = \"perhaps\"\n"))
	for _, want := range []string{`p.toml:3: starttls.smtp = "required" needs tls.cert and tls.key`, "p.toml:4: starttls.lmtp: want one of off, offered, required"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("missing %q in\n%v", want, err)
		}
	}
}

func TestNotTOML(t *testing.T) {
	t.Parallel()
	_, err := Parse("p.toml", []byte("hostname = \n"))
	if err == nil || !strings.HasPrefix(err.Error(), "p.toml:1: not TOML") {
		t.Errorf("%v", err)
	}
}

func TestSingleTable(t *testing.T) {
	t.Parallel()
	_, err := Parse("p.toml", []byte("hostname = \"x.org\"\n[domain]\nname = \"a.org\"\n"))
	if err == nil || !strings.Contains(err.Error(), "p.toml:2: [domain] stands once; write [[domain]]") {
		t.Errorf("%v", err)
	}
}

func TestShowRoundTrips(t *testing.T) {
	t.Parallel()
	for _, v := range Default().Show() {
		if v.Value != v.Default {
			t.Errorf("%s: %q shown, default %q", v.Key, v.Value, v.Default)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add("hostname = \"x\"\n[[domain]]\nname=\"a\"")
	f.Fuzz(func(t *testing.T, s string) {
		if c, err := Parse("f", []byte(s)); err == nil && c.Hostname == "" {
			t.Fatal("no hostname, yet valid")
		}
	})
}

// TestBlobs has a URL with a secret, in its place or elsewhere: it is taken, and never shown.
func TestBlobs(t *testing.T) {
	const url = "s3://KEY:topsecret@s3.example.org/mail/x?region=eu-west-1"
	t.Setenv("TEST_BLOBS", url)
	for _, v := range []string{url, "env:TEST_BLOBS"} {
		c, err := Parse("f", []byte("hostname = \"m.example.org\"\n[storage]\nblobs = \""+v+"\"\n"))
		if err != nil || c.Blobs.URL != url {
			t.Fatalf("%s: %v, %v", v, c, err)
		}
		for _, s := range c.Show() {
			if strings.Contains(s.Value, "topsecret") || s.Key == "storage.blobs" && !strings.Contains(s.Value, "s3.example.org/mail/x") {
				t.Errorf("%s: %s", s.Key, s.Value)
			}
		}
	}
	for _, v := range []string{"", "files", "http://KEY:topsecret@x/y", "env:TEST_NOT_SET", "s3:///x"} {
		if _, err := Parse("f", []byte("hostname = \"m.example.org\"\n[storage]\nblobs = \""+v+"\"\n")); err == nil || strings.Contains(err.Error(), "topsecret") {
			t.Errorf("%s: %v", v, err)
		}
	}
}
