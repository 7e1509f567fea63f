package postgres

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"postel/internal/kv"
	"postel/internal/kv/pgtest"
	"postel/internal/mail"
)

func account(a int) []kv.Key { return []kv.Key{kv.LockAccount(mail.AccountID(a))} }

func counter(a int) kv.Key { return kv.K(kv.Counters).Account(mail.AccountID(a)) }

func count(r kv.Reader, k kv.Key) (uint64, error) {
	v, err := r.Get(k)
	if errors.Is(err, kv.ErrNotFound) {
		return 0, nil
	}
	if err != nil || len(v) != 8 {
		return 0, fmt.Errorf("counter %q: %w", v, err)
	}
	return binary.BigEndian.Uint64(v), nil
}

// raise counts one up and writes the row of the new number, which only a lost transaction can leave out.
func raise(ctx context.Context, s kv.Store, a int) (n uint64, err error) {
	err = s.Update(ctx, kv.Txn{Lock: account(a), Read: []kv.Key{counter(a)}}, func(tx kv.Tx) error {
		if n, err = count(tx, counter(a)); err != nil {
			return err
		}
		n++
		tx.Set(counter(a), binary.BigEndian.AppendUint64(nil, n))
		tx.Set(kv.K(kv.Emails).Account(mail.AccountID(a)).U64(n), nil)
		return nil
	})
	return n, err
}

// ledger has writers raise counters whatever happens to the database. Each may know less than is there, never more.
type ledger struct {
	acked [4]atomic.Uint64
	fails atomic.Int64
}

func (l *ledger) write(ctx context.Context, t *testing.T, s kv.Store) (wait func()) {
	var wg sync.WaitGroup
	for i := range 3 * len(l.acked) {
		a := i % len(l.acked)
		wg.Go(func() {
			for ctx.Err() == nil {
				n, err := raise(ctx, s, a)
				switch {
				case err == nil:
					for old := l.acked[a].Load(); old < n && !l.acked[a].CompareAndSwap(old, n); old = l.acked[a].Load() {
					}
				case mail.Is(err, mail.Unavailable):
					l.fails.Add(1)
					time.Sleep(10 * time.Millisecond)
				case !mail.Is(err, mail.Canceled):
					t.Errorf("raise: %v", err)
					return
				}
			}
		})
	}
	return wg.Wait
}

// progress waits until every counter was raised once more.
func (l *ledger) progress(t *testing.T) {
	t.Helper()
	for a := range l.acked {
		before := l.acked[a].Load()
		for deadline := time.Now().Add(20 * time.Second); l.acked[a].Load() == before; time.Sleep(5 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("account %d: nothing is written any more", a)
			}
		}
	}
}

// check finds every acknowledged number and its row.
func (l *ledger) check(t *testing.T, s kv.Store) {
	t.Helper()
	for a := range l.acked {
		err := s.View(t.Context(), account(a), func(r kv.Reader) error {
			n, err := count(r, counter(a))
			if acked := l.acked[a].Load(); n < acked || acked == 0 {
				t.Errorf("account %d: the counter is %d, %d was acknowledged", a, n, acked)
			}
			rows := uint64(0)
			from := kv.K(kv.Emails).Account(mail.AccountID(a))
			for _, err := range r.Scan(from, from.End(), kv.ScanOptions{KeysOnly: true}) {
				if err != nil {
					return err
				}
				rows++
			}
			if rows != n {
				t.Errorf("account %d: the counter is %d, with %d rows", a, n, rows)
			}
			return err
		})
		if err != nil {
			t.Errorf("account %d: %v", a, err)
		}
	}
}

// TestDatabaseRestarts has the server crash under load, again and again: calls fail with Unavailable meanwhile and succeed
// again soon after, and nothing acknowledged is missing.
func TestDatabaseRestarts(t *testing.T) {
	t.Parallel()
	c := pgtest.Start(t, true)
	s, err := Open(t.Context(), Options{URL: c.URL(t)})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	var l ledger
	ctx, stop := context.WithCancel(t.Context())
	wait := l.write(ctx, t, s)
	crashes := 3
	if testing.Short() {
		crashes = 1
	}
	for range crashes {
		l.progress(t)
		c.Stop()
		start := time.Now()
		if _, err := raise(t.Context(), s, 0); !mail.Is(err, mail.Unavailable) {
			t.Errorf("update without a database: %v", err)
		}
		if err := s.View(t.Context(), nil, func(kv.Reader) error { return nil }); !mail.Is(err, mail.Unavailable) {
			t.Errorf("view without a database: %v", err)
		}
		if took := time.Since(start); took > 10*time.Second {
			t.Errorf("it took %v to say that there is no database", took)
		}
		if err := c.Run(); err != nil {
			t.Fatal(err)
		}
		for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
			if _, err = raise(t.Context(), s, 0); err == nil || time.Now().After(deadline) {
				break
			}
		}
		if err != nil {
			t.Fatalf("not back: %v", err)
		}
		if err := s.View(t.Context(), account(0), func(r kv.Reader) error { _, err := count(r, counter(0)); return err }); err != nil {
			t.Errorf("view after the return: %v", err)
		}
	}
	stop()
	wait()
	l.check(t, s)
	if l.fails.Load() == 0 {
		t.Error("nobody noticed")
	}
}

// TestSessionsKilled has all sessions ended by an operator again and again, under load.
func TestSessionsKilled(t *testing.T) {
	t.Parallel()
	c := pgtest.Start(t, false)
	s, err := Open(t.Context(), Options{URL: c.URL(t)})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	var l ledger
	ctx, stop := context.WithCancel(t.Context())
	wait := l.write(ctx, t, s)
	kills := 15
	if testing.Short() {
		kills = 5
	}
	for range kills {
		l.progress(t)
		c.Exec(t, `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'postel'`)
	}
	stop()
	wait()
	l.check(t, s)
}

// proxy stands between a store and the database.
type proxy struct {
	net.Listener
	to    string
	mute  atomic.Bool // the database's answers are lost
	mu    sync.Mutex
	conns []net.Conn
}

func newProxy(t *testing.T, address string) (*proxy, string) {
	t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{Listener: ln, to: u.Host}
	t.Cleanup(func() { _ = ln.Close(); p.cut() })
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go p.serve(c)
		}
	}()
	u.Host = ln.Addr().String()
	return p, u.String()
}

func (p *proxy) serve(client net.Conn) {
	database, err := net.Dial("tcp", p.to)
	if err != nil {
		_ = client.Close()
		return
	}
	p.mu.Lock()
	p.conns = append(p.conns, client, database)
	p.mu.Unlock()
	go func() { _, _ = io.Copy(database, client); _ = database.Close() }()
	buf := make([]byte, 64<<10)
	for {
		n, err := database.Read(buf)
		if err != nil || p.mute.Load() {
			break
		}
		if _, err := client.Write(buf[:n]); err != nil {
			break
		}
	}
	_ = client.Close()
}

// cut breaks all connections.
func (p *proxy) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.conns {
		_ = c.Close()
	}
	p.conns = nil
}

// TestCommitAnswerLost loses the answer to COMMIT: the transaction is there, but nobody may call it a success, nor
// do it again.
func TestCommitAnswerLost(t *testing.T) {
	t.Parallel()
	p, url := newProxy(t, server.URL(t))
	s, err := Open(t.Context(), Options{URL: url})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if _, err := raise(t.Context(), s, 1); err != nil {
		t.Fatal(err)
	}
	runs := 0
	err = s.Update(t.Context(), kv.Txn{Lock: account(1)}, func(tx kv.Tx) error {
		runs++
		tx.Set(counter(1), binary.BigEndian.AppendUint64(nil, 7))
		p.mute.Store(true)
		return nil
	})
	if !mail.Is(err, mail.Unavailable) || runs != 1 {
		t.Errorf("got %v after %d runs", err, runs)
	}
	p.mute.Store(false)
	if n, err := raise(t.Context(), s, 1); n != 8 || err != nil {
		t.Errorf("then %d, %v", n, err)
	}
}

// TestBrokenBeforeCommit breaks the connection while fn reads: nothing was written, so it runs again.
func TestBrokenBeforeCommit(t *testing.T) {
	t.Parallel()
	p, url := newProxy(t, server.URL(t))
	s, err := Open(t.Context(), Options{URL: url, Groups: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if _, err := raise(t.Context(), s, 1); err != nil {
		t.Fatal(err)
	}
	runs := 0
	err = s.Update(t.Context(), kv.Txn{Lock: account(1)}, func(tx kv.Tx) error {
		if runs++; runs == 1 {
			p.cut()
		}
		n, err := count(tx, counter(1))
		tx.Set(counter(1), binary.BigEndian.AppendUint64(nil, n+10))
		return err
	})
	if err != nil || runs != 2 {
		t.Errorf("got %v after %d runs", err, runs)
	}
	if n, err := raise(t.Context(), s, 1); n != 12 || err != nil {
		t.Errorf("then %d, %v", n, err)
	}
	p.cut()
	if err := s.View(t.Context(), nil, func(kv.Reader) error { return nil }); err != nil {
		t.Errorf("a View in a broken session: %v", err)
	}
	err = s.View(t.Context(), account(1), func(r kv.Reader) error {
		p.cut()
		_, _ = r.Get(counter(1))
		return nil
	})
	if !mail.Is(err, mail.Unavailable) {
		t.Errorf("a View that broke: %v", err)
	}
}
