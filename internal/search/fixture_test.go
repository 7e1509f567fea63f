package search

import (
	"context"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"postel/internal/kv"
	"postel/internal/kv/kvtest"
	"postel/internal/kv/pebble"
	"postel/internal/mail"
	"postel/internal/message"
	"postel/internal/vfs"
)

// account is the one that the tests use.
const account mail.AccountID = 7

// emails is a Source that keeps whole messages.
type emails struct {
	mu   sync.Mutex
	all  map[uint64]string
	last uint64

	broken map[uint64]error // what reading an email gives
	spoils map[uint64]error // what reading several gives that this one is among
}

func (s *emails) copy() *emails {
	s.mu.Lock()
	defer s.mu.Unlock()
	return &emails{all: maps.Clone(s.all), last: s.last}
}

func (s *emails) add(text string) uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.last++
	s.all[s.last] = text
	return s.last
}

func (s *emails) remove(id uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.all, id)
}

func (s *emails) get(id uint64) (string, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t, ok := s.all[id]
	return t, ok
}

func (s *emails) ids() []uint64 {
	ids, _ := s.Emails(context.Background(), account, 0, 1<<30)
	return ids
}

func (s *emails) Emails(_ context.Context, _ mail.AccountID, after uint64, n int) ([]uint64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var ids []uint64
	for id := range s.all {
		if id > after {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return ids[:min(n, len(ids))], nil
}

func (s *emails) Count(context.Context, mail.AccountID) (int64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return int64(len(s.all)), nil
}

func (s *emails) Texts(ctx context.Context, _ mail.AccountID, ids []uint64, fn func(int, Each) error) error {
	for i, id := range ids {
		text, ok := s.get(id)
		if !ok {
			continue
		}
		if err := s.spoils[id]; err != nil {
			return err
		}
		if err := fn(i, func(fn func(message.Piece) bool) error {
			if err := s.broken[id]; err != nil {
				return err
			}
			return texts(text, message.Anywhere, fn)
		}); err != nil {
			return err
		}
	}
	return ctx.Err()
}

// sections reads a message in memory.
type sections string

func (s sections) Section(off, n int64) (io.Reader, error) {
	return strings.NewReader(string(s)[off : off+n]), nil
}

func texts(text string, scope message.Scope, fn func(message.Piece) bool) error {
	p := message.NewParser(message.Limits{})
	_, _ = io.WriteString(p, text)
	root, err := p.Close()
	if err != nil {
		return err
	}
	return new(message.Texts).Each(root, sections(text), scope, fn)
}

// wholeText is one whole text.
type wholeText struct {
	scope message.Scope
	text  string
}

// world is an index over emails.
type world struct {
	*Index
	t    testing.TB
	kv   kv.Store
	src  *emails
	memo map[uint64][]wholeText // the texts of emails
}

func newWorld(t testing.TB, o Options) *world {
	t.Helper()
	src := &emails{all: map[uint64]string{}}
	return openWorld(t, vfs.NewMem(), src, o)
}

func openWorld(t testing.TB, fs vfs.FS, src *emails, o Options) *world {
	t.Helper()
	k, err := pebble.Open(pebble.Options{FS: fs, Dir: "kv", MemTableSize: 256 << 10})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = k.Close() })
	err = k.Update(t.Context(), kv.Txn{Lock: []kv.Key{kv.LockAccount(account)}}, func(tx kv.Tx) error {
		tx.Set(kv.K(kv.Counters).Account(account), []byte{1}) // the account exists
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	o.KV, o.Source, o.Busy = kvtest.Strict(k, kvtest.Options{Report: t.Error}), src, true
	return &world{Index: New(o), t: t, kv: k, src: src, memo: map[uint64][]wholeText{}}
}

// holds looks for a needle without any index.
func (w *world) holds(id uint64, needle string, scope message.Scope) bool {
	w.t.Helper()
	list, ok := w.memo[id]
	if !ok {
		text, _ := w.src.get(id)
		var b strings.Builder
		err := texts(text, message.Anywhere, func(p message.Piece) bool {
			if b.Write(p.Text); p.Last {
				list = append(list, wholeText{p.Scope, b.String()})
				b.Reset()
			}
			return true
		})
		if err != nil {
			w.t.Fatal(err)
		}
		w.memo[id] = list
	}
	folded := message.Fold(needle)
	return slices.ContainsFunc(list, func(t wholeText) bool { return scope&t.scope != 0 && strings.Contains(t.text, folded) })
}

// agree fails when the index says anything of a needle that is not so, and gives how many emails it knew nothing of,
// and how many it could not decide.
func (w *world) agree(needle string, scope message.Scope) (unknown, maybe int) {
	w.t.Helper()
	h, err := w.Find(w.t.Context(), account, scope, []byte(message.Fold(needle)))
	if err != nil {
		w.t.Fatal(err)
	}
	for _, id := range w.src.ids() {
		v := h.Look(id)
		switch v {
		case Unknown:
			unknown++
		case Maybe:
			maybe++
		default:
			if is := w.holds(id, needle, scope); is != (v == Yes) {
				w.t.Fatalf("%q in scope %d of email %d: the index says %d, the texts %v", needle, scope, id, v, is)
			}
		}
	}
	return unknown, maybe
}

// lookAtRandom looks for something that some email has, or nearly has.
func (w *world) lookAtRandom(r *rand.Rand) {
	w.t.Helper()
	ids := w.src.ids()
	if len(ids) == 0 {
		return
	}
	text, _ := w.src.get(ids[r.IntN(len(ids))])
	w.agree(needle(r, text), []message.Scope{message.InHeader, message.InBody, message.Anywhere}[r.IntN(3)])
}

// mails gives the mails that the parser's tests use.
func mails(t testing.TB) []string {
	t.Helper()
	names, err := filepath.Glob("../message/testdata/mails/*.eml")
	if err != nil || len(names) < 40 {
		t.Fatal(len(names), err)
	}
	var list []string
	for _, name := range names {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, string(b))
	}
	return list
}

// words are what synthetic mails are made of.
var words = strings.Fields(`the invoice Invoice INVOICES for Köln straße STRASSE ﬁne file résumé 発注書 発注 請求書 東京都 がぎぐ ｶﾞ カタカナ
	สวัสดีครับ 한국어 메일 Ωμέγα ωμεγα İstanbul ISTANBUL i̇ foo-bar a_b_c x1y2z3 3.14 don't “quoted” e.g. 😀 a b c zz
	anotherlongerword supercalifragilisticexpialidocious postel mailbox search index`)

// synthetic makes a mail of random words in a random encoding, with runs of every length now and then.
func synthetic(r *rand.Rand) string {
	var b strings.Builder
	for range 20 + r.IntN(60) {
		switch r.IntN(12) {
		case 0:
			for range 1 + r.IntN(150) {
				b.WriteByte("abcdefghijklmnopqrstuvwxyz0123456789"[r.IntN(36)])
			}
		case 1:
			b.WriteString("\r\n")
		case 2:
			for range 1 + r.IntN(6) {
				b.WriteString(words[r.IntN(len(words))])
			}
		default:
			b.WriteString(words[r.IntN(len(words))])
		}
		b.WriteString([]string{" ", " ", " ", ", ", ". ", "", "-"}[r.IntN(7)])
	}
	body := b.String()
	subject := words[r.IntN(len(words))] + " " + words[r.IntN(len(words))]
	head := "From: x@example.org\r\nSubject: " + message.EncodeText(subject) + "\r\nMIME-Version: 1.0\r\n"
	switch r.IntN(3) {
	case 0:
		return head + "Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n" + body
	case 1:
		return head + "Content-Type: text/html; charset=utf-8\r\n\r\n<p>" + strings.ReplaceAll(body, " ", " <b>") + "</p>"
	}
	return head + "Content-Type: multipart/mixed; boundary=B\r\n\r\n--B\r\n\r\n" + body[:len(body)/2] +
		"\r\n--B\r\nContent-Type: message/rfc822\r\n\r\nSubject: inner " + words[r.IntN(len(words))] + "\r\n\r\n" +
		body[len(body)/2:] + "\r\n--B--\r\n"
}

// needle cuts something to look for out of what is folded in a mail, or makes it up.
func needle(r *rand.Rand, text string) string {
	switch r.IntN(10) {
	case 0:
		return words[r.IntN(len(words))]
	case 1:
		return []string{"-", " ", "é", "st", "。", "\uFFFD", "x y", "absent", "\u0301"}[r.IntN(9)]
	}
	var all []string
	_ = texts(text, message.Anywhere, func(p message.Piece) bool {
		all = append(all, string(p.Text))
		return true
	})
	from := []rune(all[r.IntN(len(all))])
	if len(from) == 0 {
		return "x"
	}
	at := r.IntN(len(from))
	n := 1 + r.IntN([]int{3, 8, 20, 90}[r.IntN(4)])
	s := string(from[at:min(len(from), at+n)])
	if r.IntN(2) == 0 {
		s = strings.ToUpper(s)
	}
	return s
}
