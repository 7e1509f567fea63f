package imapd

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"postel/internal/mail"
	"postel/internal/message"
	"postel/internal/search"
	"postel/internal/store"
)

// textSource is what app gives the index.
type textSource struct{ *store.Store }

func (s textSource) Emails(ctx context.Context, a mail.AccountID, after uint64, n int) (list []uint64, err error) {
	ids, err := s.EmailIDs(ctx, a, store.EmailID(after), n)
	for _, id := range ids {
		list = append(list, uint64(id))
	}
	return list, err
}

func (s textSource) Count(ctx context.Context, a mail.AccountID) (int64, error) {
	_, messages, err := s.Usage(ctx, a)
	return messages, err
}

func (s textSource) Texts(ctx context.Context, a mail.AccountID, emails []uint64, fn func(int, search.Each) error) error {
	var ids []store.EmailID
	for _, e := range emails {
		ids = append(ids, store.EmailID(e))
	}
	return s.EachTexts(ctx, a, ids, func(i int, each func(func(message.Piece) bool) error) error { return fn(i, each) })
}

// corpus delivers the mails of the parser's tests, and small ones, n messages in all.
func (w *world) corpus(n int) {
	w.t.Helper()
	names, err := filepath.Glob("../../message/testdata/mails/*.eml")
	must(w.t, err)
	for i := range n {
		text := fmt.Sprintf("From: <a%d@example.org>\nSubject: =?utf-8?q?N=C2=B0_%d_caf=C3=A9?=\n\nbody of number %d. What is\nto be said of it: %x\n", i, i, i, i*7919)
		if i%3 == 0 {
			b, err := os.ReadFile(names[i/3%len(names)])
			must(w.t, err)
			text = strings.ReplaceAll(string(b), "\r\n", "\n")
		}
		w.deliver("INBOX", text, 0)
	}
}

// TestIndexedSearch asks the same with the index as without it: while there is none, half of one, and all of it, and
// after messages have gone and come.
func TestIndexedSearch(t *testing.T) {
	t.Parallel()
	w := start(t, setup{clearAuth: true, noGlass: true, index: true})
	w.corpus(400)
	c := w.login()
	c.do("SELECT INBOX")
	r := rand.New(rand.NewPCG(1, 2))
	var asked []string
	for range 30 {
		n := r.IntN(400)
		text := []string{
			fmt.Sprintf("number %d", n), fmt.Sprintf("%x", n*7919), "example", "NUMBER", "is to", "said", "x", "-", "e.org", "Café",
			"is\u00a0to", "日本", "grüße", "no such text", fmt.Sprintf("<a%d@", n), "N\u00b0 1",
		}[r.IntN(16)]
		key := []string{"TEXT %s", "BODY %s", "SUBJECT %s", "FROM %s", "HEADER Received %s", "NOT TEXT %s", "OR BODY %s UID 5:20", "NOT OR SUBJECT %s FROM example"}[r.IntN(8)]
		asked = append(asked, fmt.Sprintf(key, quote(text)))
	}
	ask := func() (answers []string) {
		for _, k := range asked {
			answers = append(answers, c.search(k))
		}
		return answers
	}
	compare := func(when string, want []string) {
		t.Helper()
		for i, got := range ask() {
			if got != want[i] {
				t.Errorf("%s: SEARCH %s: %s, want %s", when, asked[i], got, want[i])
			}
		}
	}
	want := ask()
	must(t, w.index.Build(t.Context(), alice))
	st, err := w.index.Stats(t.Context(), alice)
	if err != nil || st.Emails != 400 {
		t.Fatal(st, err)
	}
	compare("with all indexed", want)
	c.do("STORE 1:100 +FLAGS.SILENT (\\Deleted)")
	c.do("EXPUNGE")
	c.do("UID COPY 200:250 Archive")
	c.do("UID MOVE 200:250 Sent")
	w.corpus(60)
	c.do("NOOP")
	indexed := ask()
	must(t, w.index.Rebuild(t.Context(), alice))
	compare("after all was built anew", indexed)
	w.server.o.Index = nil // nobody else uses it
	compare("without an index", indexed)
}

// quote makes a literal of a text that is not plain.
func quote(s string) string { return fmt.Sprintf("{%d+}\r\n%s", len(s), s) }

// search gives the answer to SEARCH in UTF-8.
func (c *client) search(key string) string {
	c.t.Helper()
	return c.do("SEARCH CHARSET UTF-8 %s", key)[0]
}

// TestIndexComesByItself: once a large mailbox was searched, its texts get an index.
func TestIndexComesByItself(t *testing.T) {
	t.Parallel()
	w := start(t, setup{clearAuth: true, noGlass: true, index: true})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		w.index.Run(ctx)
		close(done)
	}()
	defer func() {
		cancel()
		<-done
	}()
	w.corpus(300)
	c := w.login()
	c.do("SELECT INBOX")
	for began := time.Now(); ; time.Sleep(5 * time.Millisecond) {
		c.do("SEARCH TEXT number")
		if st, err := w.index.Stats(t.Context(), alice); err != nil || st.Emails == 300 {
			must(t, err)
			break
		}
		if time.Since(began) > 10*time.Second {
			t.Fatal("no index")
		}
	}
}

// TestSearchOfOneWhoLeft: a client that goes away during a long search does not keep us searching.
func TestSearchOfOneWhoLeft(t *testing.T) {
	t.Parallel()
	w := start(t, setup{clearAuth: true, noGlass: true, limits: Limits{Progress: time.Millisecond}})
	w.corpus(600)
	c := w.login()
	c.do("SELECT INBOX")
	key := strings.Repeat("OR TEXT absent ", 12) + "TEXT absent"
	began := time.Now()
	lines := c.do("SEARCH %s", key)
	took := time.Since(began)
	if len(lines) < 3 || lines[0] != "* OK still searching" {
		t.Errorf("%d lines, the first is %q", len(lines), lines[0])
	}
	c.send("t SEARCH " + key)
	c.line() // it has begun
	left := time.Now()
	must(t, c.Close())
	for w.server.open.Load() > 0 {
		if time.Since(left) > took+time.Second {
			t.Fatalf("after %v of %v it still searches", time.Since(left), took)
		}
		time.Sleep(time.Millisecond)
	}
}

// TestManySearches: many searches at once, and the others get their turn between them.
func TestManySearches(t *testing.T) {
	t.Parallel()
	w := start(t, setup{clearAuth: true, noGlass: true})
	w.corpus(600)
	var searches sync.WaitGroup
	for range 8 {
		c := w.login()
		c.do("SELECT INBOX")
		searches.Go(func() {
			c.send("t SEARCH CHARSET UTF-8 OR BODY absent TEXT " + quote("café"))
			if got := c.until("t"); len(got) != 2 || !strings.HasPrefix(got[0], "* SEARCH 2 3 ") {
				t.Errorf("%.100q", got)
			}
		})
	}
	c := w.login()
	c.do("SELECT INBOX")
	c.do("FETCH 1:* FLAGS")
	searches.Wait()
}
