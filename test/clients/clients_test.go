// Package clients is the story of the mail programs people have: each sends to and reads from the real binary.
package clients

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"postel/test/harness"
)

func TestMain(m *testing.M) { harness.Main(m) }

const (
	alice    = "alice@postel.test"
	bob      = "bob@postel.test"
	password = "postel"
)

// run runs a program and fails the test when it does not end with 0.
func run(t *testing.T, input, program string, args ...string) string {
	t.Helper()
	out, code := harness.Run(t, input, program, args...)
	if code != 0 {
		t.Fatalf("%s %s: exit %d\n%s", program, strings.Join(args, " "), code, out)
	}
	return out
}

// write makes a file of mode 0600.
func write(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// inbox gives the messages of an account's INBOX by curl over IMAP.
func inbox(t *testing.T, s *harness.Server, user string) []string {
	t.Helper()
	harness.Need(t, "curl")
	var all []string
	for uid := 1; ; uid++ {
		out, code := harness.Run(t, "", "curl", "-s", "-u", user+":"+password, fmt.Sprintf("imap://%s/INBOX;UID=%d", s.Addr("imap"), uid))
		if code != 0 || out == "" {
			return all
		}
		all = append(all, out)
	}
}

// wantInbox waits for exactly these subjects.
func wantInbox(t *testing.T, s *harness.Server, user string, subjects ...string) {
	t.Helper()
	harness.Eventually(t, func() error {
		got := inbox(t, s, user)
		if len(got) != len(subjects) {
			return fmt.Errorf("%d messages, want %d", len(got), len(subjects))
		}
		for i, want := range subjects {
			if !strings.Contains(got[i], "\r\nSubject: "+want+"\r\n") {
				return fmt.Errorf("message %d has not the subject %q:\n%s", i+1, want, got[i])
			}
		}
		return nil
	})
}

func TestSwaks(t *testing.T) {
	t.Parallel()
	harness.Need(t, "swaks")
	s := harness.Dev(t)
	common := []string{"--to", alice, "--server", "127.0.0.1", "--h-Subject"}
	for name, args := range map[string][]string{
		"plain":    {"--port", port(s, "smtp"), "--from", "stranger@example.net"},
		"starttls": {"--port", port(s, "smtp"), "--from", "stranger@example.net", "--tls"},
		"auth":     {"--port", port(s, "submission"), "--from", bob, "--tls", "--auth", "PLAIN", "-au", bob, "-ap", password},
		"login":    {"--port", port(s, "submission"), "--from", bob, "--tls", "--auth", "LOGIN", "-au", bob, "-ap", password},
		"implicit": {"--port", port(s, "submissions"), "--from", bob, "--tls-on-connect", "--auth", "PLAIN", "-au", bob, "-ap", password},
		"lmtp":     {"--port", port(s, "lmtp"), "--from", bob, "--protocol", "LMTP"},
	} {
		out := run(t, "", "swaks", append(append(common, name), args...)...)
		if !regexp.MustCompile(`250 2\.0\.0 (<[^>]+> )?m-[0-9a-v]{16} accepted`).MatchString(out) {
			t.Errorf("%s: no message id in\n%s", name, out)
		}
	}
	if got := inbox(t, s, alice); len(got) != 6 {
		t.Errorf("%d messages, want 6", len(got))
	}
	out, code := harness.Run(t, "", "swaks", "--to", alice, "--server", "127.0.0.1", "--port", port(s, "submission"), "--from", bob,
		"--tls", "--auth", "PLAIN", "-au", bob, "-ap", "wrong")
	if code == 0 || !strings.Contains(out, "535 5.7.8") {
		t.Errorf("a wrong password: exit %d\n%s", code, out)
	}
}

func port(s *harness.Server, name string) string { return fmt.Sprint(s.Ports[name]) }

func TestCurl(t *testing.T) {
	t.Parallel()
	harness.Need(t, "curl")
	s := harness.Dev(t)
	mail := write(t, "m.eml", "From: "+bob+"\r\nTo: "+alice+"\r\nSubject: curl\r\n\r\nhello\r\n")
	ca := filepath.Join(s.Data, "ca.pem")
	run(t, "", "curl", "-sS", "--ssl-reqd", "--cacert", ca, "--mail-from", bob, "--mail-rcpt", alice, "-T", mail, "-u", bob+":"+password,
		"smtp://localhost:"+port(s, "submission"))
	run(t, "", "curl", "-sS", "--cacert", ca, "--mail-from", bob, "--mail-rcpt", alice, "-T", mail, "-u", bob+":"+password,
		"smtps://localhost:"+port(s, "submissions"))
	for _, url := range []string{
		"imap://localhost:" + port(s, "imap") + "/INBOX;UID=1", "imaps://localhost:" + port(s, "imaps") + "/INBOX;UID=2",
		"pop3://localhost:" + port(s, "pop3") + "/1", "pop3s://localhost:" + port(s, "pop3s") + "/2",
	} {
		out := run(t, "", "curl", "-sS", "--ssl-reqd", "--cacert", ca, "-u", alice+":"+password, url)
		if !strings.HasSuffix(out, "Subject: curl\r\nDate: "+between(out, "\r\nDate: ", "\r\n\r\nhello")+"\r\n\r\nhello\r\n") {
			t.Errorf("%s:\n%q", url, out)
		}
	}
	if out := run(t, "", "curl", "-sS", "-u", alice+":"+password, "imap://"+s.Addr("imap")+"/", "-X", "LIST \"\" *"); !strings.Contains(out, `\Sent`) {
		t.Errorf("LIST without special use:\n%s", out)
	}
	run(t, "", "curl", "-sS", "-u", alice+":"+password, "-T", mail, "imap://"+s.Addr("imap")+"/Archive")
	if out := run(t, "", "curl", "-sS", "-u", alice+":"+password, "imap://"+s.Addr("imap")+"/Archive;UID=1"); out != "From: "+bob+"\r\nTo: "+alice+"\r\nSubject: curl\r\n\r\nhello\r\n" {
		t.Errorf("APPEND came back as %q", out)
	}
}

// between gives what stands between two texts.
func between(s, from, to string) string {
	_, s, _ = strings.Cut(s, from)
	s, _, _ = strings.Cut(s, to)
	return s
}

func TestMsmtp(t *testing.T) {
	t.Parallel()
	harness.Need(t, "msmtp")
	s := harness.Dev(t)
	for i, auth := range []string{"plain", "scram-sha-1", "scram-sha-256"} {
		conf := write(t, "msmtprc", fmt.Sprintf("account default\nhost localhost\nport %s\nfrom %s\nauth %s\nuser %s\npassword %s\ntls on\ntls_trust_file %s\n",
			port(s, "submission"), bob, auth, bob, password, filepath.Join(s.Data, "ca.pem")))
		run(t, "Subject: by msmtp\nBcc: "+alice+"\nFrom: "+bob+"\n\nhello\n", "msmtp", "-C", conf, "-t")
		got := inbox(t, s, alice)
		if len(got) != i+1 || strings.Contains(got[i], "Bcc") || !strings.Contains(got[i], "Message-ID: ") {
			t.Fatalf("%s: %q", auth, got)
		}
	}
}

func TestMbsync(t *testing.T) {
	t.Parallel()
	harness.Need(t, "mbsync", "swaks")
	s := harness.Dev(t)
	for i := range 5 {
		run(t, "", "swaks", "--to", alice, "--server", s.Addr("smtp"), "--h-Subject", fmt.Sprint("sync ", i))
	}
	dir := filepath.Join(t.TempDir(), "maildir")
	conf := write(t, "mbsyncrc", fmt.Sprintf(`IMAPAccount a
Host localhost
Port %s
User %s
Pass %s
SSLType STARTTLS
CertificateFile %s

IMAPStore far
Account a

MaildirStore near
Path %s/
Inbox %s/INBOX
SubFolders Verbatim

Channel all
Far :far:
Near :near:
Patterns *
Create Both
Expunge Both
SyncState *
`, port(s, "imap"), alice, password, filepath.Join(s.Data, "ca.pem"), dir, dir))
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	run(t, "", "mbsync", "-c", conf, "-a")
	files, _ := filepath.Glob(dir + "/INBOX/new/*")
	if len(files) != 5 {
		t.Fatalf("%d messages fetched, want 5", len(files))
	}
	// Seen on one, one deleted, one new: all go back.
	rename(t, files[0], filepath.Join(dir, "INBOX/cur", filepath.Base(files[0])+"S"))
	rename(t, files[1], filepath.Join(dir, "INBOX/cur", filepath.Base(files[1])+"T"))
	if err := os.WriteFile(dir+"/Archive/new/1.local", []byte("Subject: put\n\nx\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	run(t, "", "mbsync", "-c", conf, "-a")
	if got := inbox(t, s, alice); len(got) != 1 { // UID 1 or 2 is gone; curl stops at the gap
		out := run(t, "", "curl", "-sS", "-u", alice+":"+password, "imap://"+s.Addr("imap")+"/INBOX", "-X", "FETCH 1:* (FLAGS)")
		if strings.Count(out, "FETCH") != 4 || strings.Count(out, `\Seen`) < 1 {
			t.Errorf("after sync:\n%s", out)
		}
	}
	out := run(t, "", "curl", "-sS", "-u", alice+":"+password, "imap://"+s.Addr("imap")+"/Archive;UID=1")
	if !strings.Contains(out, "Subject: put\r\n") {
		t.Errorf("the new message did not go up: %q", out)
	}
}

func rename(t *testing.T, from, to string) {
	t.Helper()
	if !strings.Contains(filepath.Base(from), ":2,") {
		to = filepath.Join(filepath.Dir(to), filepath.Base(from)+":2,"+to[len(to)-1:])
	}
	if err := os.Rename(from, to); err != nil {
		t.Fatal(err)
	}
}
