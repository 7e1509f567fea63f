// Package objects is the story of a server whose large bodies lie in a bucket of an S3 API.
package objects

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"postel/internal/blob/s3test"
	"postel/test/harness"
)

func TestMain(m *testing.M) { harness.Main(m) }

const alice = "alice@postel.test"

// large gives a message of some megabytes whose lines differ.
func large(name string, lines int) string {
	var b strings.Builder
	fmt.Fprintf(&b, "From: x@far.test\r\nTo: %s\r\nSubject: %s\r\n\r\n", alice, name)
	for i := range lines {
		fmt.Fprintf(&b, "%s line %d of a long letter, which is longer than the one before it\r\n", name, i)
	}
	return b.String()
}

// body gives the text of message seq of alice's INBOX, or the reply when it is none.
func body(t *testing.T, s *harness.Server, seq int) (text, reply string) {
	t.Helper()
	c := s.IMAP(alice, "postel")
	defer c.Close()
	c.Command("EXAMINE INBOX")
	reply, rest := c.Untagged("FETCH %d BODY.PEEK[TEXT]", seq)
	if len(rest) == 1 {
		text = harness.Literal(rest[0])
	}
	return text, reply
}

// TestBucket has large mail come and be read over a kill -9, with a real S3 server behind it.
func TestBucket(t *testing.T) {
	t.Parallel()
	url := s3test.Versity(t) + "/mail/prefix"
	dir := filepath.Join(harness.Dir(t), "d")
	s := harness.Dev(t, "--data", dir)
	text := large("before", 20_000)
	if r := harness.SMTP(t, s.Addr("smtp")).Send("x@far.test", alice, text); r[0] != '2' {
		t.Fatal(r)
	}
	s.Kill()
	s.Forget() // its flags do not know the bucket, which a check at the end would need

	s = harness.Dev(t, "--data", dir, "--blobs", url)
	c := harness.SMTP(t, s.Addr("smtp"))
	texts := []string{text, large("small", 10), large("one", 20_000), large("parts", 400_000)}
	for _, text := range texts[1:] {
		if r := c.Send("x@far.test", alice, text); r[0] != '2' {
			t.Fatal(r)
		}
	}
	for range 2 {
		for i, want := range texts {
			_, want, _ = strings.Cut(want, "\r\n\r\n")
			if got, r := body(t, s, i+1); got != want {
				t.Errorf("message %d: %d octets, want %d; %s", i+1, len(got), len(want), r)
			}
		}
		s.Kill()
		if strings.Contains(s.Log(), "not/so") || strings.Contains(s.Log(), "not%2Fso") {
			t.Errorf("the log shows the secret: %s", s.Log())
		}
		s = harness.Dev(t, "--data", dir, "--blobs", url)
	}
	s.Kill()
	plain := harness.Dev(t, "--data", dir) // somebody forgot to say where the bodies are
	if _, r := body(t, plain, 3); !strings.HasPrefix(r, "NO [UNAVAILABLE]") {
		t.Errorf("without the bucket: %s", r)
	}
	if got, _ := body(t, plain, 1); got == "" {
		t.Error("the file of before is not read")
	}
	if out, code := plain.Postel("check", "--bodies"); code == 0 || strings.Contains(out, "damaged") || strings.Contains(out, "beyond repair, 2") {
		t.Errorf("check: %d, %s", code, out)
	}
	if err := plain.Stop(); err != nil {
		t.Error(err)
	}
	plain.Forget()
	files, err := filepath.Glob(dir + "/blobs/*/*")
	if err != nil || len(files) != 1 {
		t.Errorf("files beside the bucket: %v, %v; want that of before", files, err)
	}
	if left, err := os.ReadDir(dir + "/spool"); err != nil || len(left) != 0 {
		t.Errorf("the spool has %v, %v", left, err)
	}
}

// TestBucketAway has the bucket fail: large mail is refused for now and unreadable for now, all else goes on, and when it
// is back so is everything.
func TestBucketAway(t *testing.T) {
	t.Parallel()
	srv := s3test.New(t, "mail")
	var away atomic.Bool
	srv.Fault = func(*http.Request) s3test.Fault { return s3test.Fault{Drop: away.Load()} }
	s := harness.Dev(t, "--blobs", srv.URL("mail", ""))
	c := harness.SMTP(t, s.Addr("smtp"))
	text := large("kept", 5_000)
	want := func(code, text string) {
		t.Helper()
		if r := c.Send("x@far.test", alice, text); !strings.HasPrefix(r, code) {
			t.Errorf("%q, want %s", r, code)
		}
	}
	want("250 2.0.0", text)
	away.Store(true)
	want("451 4.3.0", text)
	want("250 2.0.0", large("small", 10))
	if got, r := body(t, s, 1); !strings.HasPrefix(r, "NO [UNAVAILABLE]") {
		t.Errorf("%d octets, %s", len(got), r)
	}
	if _, r := body(t, s, 2); !strings.HasPrefix(r, "OK") {
		t.Errorf("a small body: %s", r)
	}
	away.Store(false)
	want("250 2.0.0", text)
	for _, seq := range []int{1, 3} {
		if got, r := body(t, s, seq); !strings.HasSuffix(text, "\r\n\r\n"+got) || got == "" {
			t.Errorf("message %d: %d octets, %s", seq, len(got), r)
		}
	}
}

// TestBucketOfOthers has a second server that is given the prefix of the first: it refuses, since it would sweep away
// what it does not know.
func TestBucketOfOthers(t *testing.T) {
	t.Parallel()
	srv := s3test.New(t, "mail")
	harness.Dev(t, "--data", filepath.Join(harness.Dir(t), "a"), "--blobs", srv.URL("mail", "x"))
	other := filepath.Join(harness.Dir(t), "b")
	for url, want := range map[string]string{
		srv.URL("mail", "x"):       "another postel",
		"s3://k:topsecret@host":    "bucket",
		"s3://k:topsecret@h/m?x=y": "bucket",
		"gopher://there":           "want file, or s3://",
	} {
		out, code := harness.Run(t, "", harness.Binary(t), "dev", "--data", other, "--port", "smtp=0", "--blobs", url)
		if code == 0 || !strings.Contains(out, want) || strings.Contains(out, "topsecret") || strings.Contains(out, "key:secret") {
			t.Errorf("%s: %d, %s", url, code, out)
		}
	}
	harness.Dev(t, "--data", other, "--blobs", srv.URL("mail", "y"))
}
