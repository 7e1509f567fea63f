// Package search is the story of the text index of a server that is killed while it builds it.
package search

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"postel/internal/config"
	"postel/internal/kv/pebble"
	"postel/internal/mail"
	"postel/internal/message"
	"postel/internal/search"
	"postel/test/harness"
)

func TestMain(m *testing.M) { harness.Main(m) }

const (
	alice    = "alice@postel.test"
	messages = 3000
	enough   = messages - 255 // a last few mails are left for later
)

// mailbox makes an mbox of 3,000 mails of 6 KB of rare words.
func mailbox(t *testing.T) string {
	t.Helper()
	r := rand.New(rand.NewPCG(1, 1))
	var b strings.Builder
	for i := range messages {
		fmt.Fprintf(&b, "From x@far.test Mon Nov 23 13:59:00 2026\nFrom: x@far.test\nSubject: number %d\nMessage-ID: <n%d@far.test>\n\n", i, i)
		for line := range 90 {
			fmt.Fprintf(&b, "%x %x stands in line %d\n", r.Uint64(), r.Uint64(), line)
		}
		fmt.Fprintf(&b, "modulo%dquartz and (only%dhere)\n\n", i%7, i)
	}
	path := filepath.Join(t.TempDir(), "mbox")
	if err := os.WriteFile(path, []byte(b.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// searches compares answers with what is known of the mails; the first asks for the index too.
func searches(t *testing.T, s *harness.Server) {
	t.Helper()
	c := s.IMAP(alice, "postel")
	defer func() { _ = c.Close() }()
	if r := c.Command("SELECT INBOX"); !strings.HasPrefix(r, "OK") {
		t.Fatal(r)
	}
	want := func(key string, holds func(i int) bool) {
		t.Helper()
		var numbers strings.Builder
		for i := range messages {
			if holds(i) {
				fmt.Fprintf(&numbers, " %d", i+1)
			}
		}
		r, lines := c.Untagged("SEARCH %s", key)
		if got := strings.Join(lines, "|"); !strings.HasPrefix(r, "OK") || got != "* SEARCH"+numbers.String() {
			t.Errorf("SEARCH %s: %s, %.300s; want%.300s", key, r, got, numbers.String())
		}
	}
	want(`BODY "ulo3qua"`, func(i int) bool { return i%7 == 3 })
	want(`TEXT "(only1234here)"`, func(i int) bool { return i == 1234 })
	want(`BODY "o5quartz and (only2"`, func(i int) bool { return i%7 == 5 && strings.HasPrefix(fmt.Sprint(i), "2") })
	want(`BODY "zyzzyva"`, func(int) bool { return false })
}

// indexed looks into the data of a server that is down: how many emails its index covers.
func indexed(t *testing.T, dir string) int {
	t.Helper()
	k, err := pebble.Open(pebble.Options{Dir: filepath.Join(dir, "kv"), Format: math.MaxUint32}) // whatever the server writes
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = k.Close() }()
	l := config.Default().Limits
	index := search.New(search.Options{KV: k, Limits: message.Limits{Depth: l.MIMEDepth, Parts: l.MIMEParts, Header: int(l.Header)}})
	most := uint64(0)
	for a := range mail.AccountID(20) { // dev has a few
		st, err := index.Stats(context.Background(), a)
		if err != nil {
			t.Fatal(err)
		}
		most = max(most, st.Emails)
	}
	return int(most)
}

// TestKilledWhileIndexing kills a server again and again while it builds the index: searches are exact after each start,
// what was built is kept, and the index is complete in the end.
func TestKilledWhileIndexing(t *testing.T) {
	if testing.Short() {
		t.Skip("builds an index of 3,000 mails")
	}
	t.Parallel()
	dir := harness.Dir(t)
	s := harness.Dev(t, "--data", dir)
	if out, code := s.Postel("import", "mbox", mailbox(t), "--account", alice); code != 0 {
		t.Fatalf("import: %d %s", code, out)
	}
	before, between := 0, 0
	for kill := range 4 {
		searches(t, s)
		time.Sleep(time.Duration(rand.Int64N(int64(400 * time.Millisecond)))) // any moment will do
		s.Forget()
		s.Kill()
		n := indexed(t, dir)
		t.Logf("kill %d: %d of %d mails are indexed", kill, n, messages)
		if n < before {
			t.Errorf("%d were indexed before", before)
		}
		if before = n; n < enough {
			between++
		}
		s = harness.Dev(t, "--data", dir)
	}
	if between == 0 {
		t.Log("the index was faster than the kills")
	}
	harness.Eventually(t, func() error {
		searches(t, s)
		time.Sleep(time.Second)
		s.Forget()
		if err := s.Stop(); err != nil {
			t.Fatal(err)
		}
		n := indexed(t, dir)
		s = harness.Dev(t, "--data", dir)
		if n < enough {
			return errors.New("the index is not complete")
		}
		return nil
	})
	searches(t, s)
}
