// Package serve is the story of a small company's server: `postel serve` with a configuration file, a certificate,
// people and aliases, and what it refuses.
package serve

import (
	"fmt"
	"net/url"
	"os"
	"strings"
	"testing"

	"postel/test/harness"
)

func TestMain(m *testing.M) { harness.Main(m) }

const (
	ann      = "ann@example.test"
	ben      = "ben@example.test"
	password = "correct horse"
)

const company = `admin = "ann@example.test"

[[domain]]
name = "example.test"
aliases = { sales = ["ann@example.test", "ben@example.test"] }
`

// open starts the company's server with more configuration in front, and makes its two accounts.
func open(t *testing.T, more string) *harness.Server {
	t.Helper()
	config := harness.WriteConfig(t, more+company)
	addAccounts(t, config)
	return harness.ServeFile(t, config)
}

func addAccounts(t *testing.T, config string) {
	t.Helper()
	for _, a := range []string{ann, ben} {
		want(t, 0, config, password+"\n", "account", "add", a, "--password-stdin")
	}
}

// want runs a command with --config and fails the test unless it ends with the code; it gives what was printed.
func want(t *testing.T, code int, config, input string, args ...string) string {
	t.Helper()
	out, got := harness.Run(t, input, harness.Binary(t), append(args, "--config", config)...)
	if got != code {
		t.Fatalf("postel %s: exit %d, want %d\n%s", strings.Join(args, " "), got, code, out)
	}
	return out
}

// letter gives a message with a subject.
func letter(subject string) string {
	return fmt.Sprintf("From: x@far.test\r\nTo: %s\r\nSubject: %s\r\nDate: Mon, 20 Jul 2026 10:00:00 +0000\r\n\r\nhello\r\n", ann, subject)
}

// count fails the test unless the account's INBOX has n messages, which it gives.
func count(t *testing.T, s *harness.Server, user string, n int) []string {
	t.Helper()
	all := s.Inbox(user, "\""+password+"\"")
	if len(all) != n {
		t.Errorf("%s has %d messages, want %d", user, len(all), n)
		for _, m := range all {
			_, subject, _ := strings.Cut(m, "\r\nSubject: ")
			subject, _, _ = strings.Cut(subject, "\r\n")
			t.Log(subject)
		}
	}
	return all
}

// write makes a file and gives its path.
func write(t *testing.T, dir, name, text string) string {
	t.Helper()
	path := dir + "/" + url.PathEscape(name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}
