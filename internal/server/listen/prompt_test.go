//go:build unix

package listen

import (
	"errors"
	"io"
	"net"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// promptPair gives the server's end of a TCP connection as sessions read it, and the peer's.
func promptPair(t *testing.T, s *Server) (net.Conn, *net.TCPConn) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = ln.Close() }()
	peer, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	c, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	p := newPrompt(c.(*net.TCPConn), s)
	t.Cleanup(func() { _, _ = p.Close(), peer.Close() })
	return p, peer.(*net.TCPConn)
}

// TestPromptReads: a Read that stays awake gives what one that sleeps gives: octets, the end, a passed deadline as a net.Error,
// a reset as an error; and it gives its turn back.
func TestPromptReads(t *testing.T) {
	t.Parallel()
	s := New(Options{})
	c, peer := promptPair(t, s)
	go func() { _, _ = io.Copy(peer, peer) }() // answers at once
	b := make([]byte, 100)
	for range 200 {
		if _, err := io.WriteString(c, "NOOP\r\n"); err != nil {
			t.Fatal(err)
		}
		if n, err := io.ReadFull(c, b[:6]); err != nil || string(b[:n]) != "NOOP\r\n" {
			t.Fatalf("%q, %v", b[:n], err)
		}
	}
	_ = c.SetReadDeadline(time.Now().Add(30 * time.Millisecond))
	_, err := c.Read(b)
	var failed net.Error
	if !errors.As(err, &failed) || !failed.Timeout() || !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Error("after the deadline:", err)
	}
	if s.awake.Load() {
		t.Error("nobody reads, and one is awake")
	}
	_ = c.SetReadDeadline(time.Time{})
	_ = peer.CloseWrite()
	if _, err := c.Read(b); err != io.EOF { //nolint:errorlint // readers compare it so
		t.Error("at the end:", err)
	}
	reset, other := promptPair(t, s)
	_ = other.SetLinger(0)
	_ = other.Close()
	if n, err := reset.Read(b); err == nil || errors.Is(err, io.EOF) || n != 0 {
		t.Error("after a reset:", n, err)
	}
}

// TestPromptSleeps: who waits for a peer that takes its time does not keep a processor busy.
func TestPromptSleeps(t *testing.T) {
	t.Parallel()
	s := New(Options{})
	c, peer := promptPair(t, s)
	p := c.(*prompt)
	go func() {
		for range 3 {
			time.Sleep(20 * time.Millisecond)
			_, _ = peer.Write([]byte("x"))
		}
	}()
	b := make([]byte, 1)
	for range 3 {
		if _, err := c.Read(b); err != nil {
			t.Fatal(err)
		}
		if !p.slow {
			t.Fatal("the peer is taken for a quick one")
		}
	}
}

// TestPromptDrip: nobody stays awake for the rest of what a peer lets drip without an answer, and only one of all servers that share
// their limits does for an answer.
func TestPromptDrip(t *testing.T) {
	t.Parallel()
	limiter := NewLimiter(Limits{})
	s, other := New(Options{Limiter: limiter}), New(Options{Limiter: limiter})
	c, peer := promptPair(t, s)
	p := c.(*prompt)
	b := make([]byte, 1)
	drip := func() (awake bool) {
		_, _ = peer.Write(b)
		if _, err := c.Read(b); err != nil {
			t.Fatal(err)
		}
		p.reader = promptReader{heard: !p.spoke.Load()} // a Read that finds nothing
		defer p.rest()
		return p.stay()
	}
	for range 3 {
		if p.slow = false; drip() {
			t.Fatal("awake for a peer that was not spoken to")
		}
	}
	if _, err := c.Write(b); err != nil {
		t.Fatal(err)
	}
	p.reader, p.slow = promptReader{heard: !p.spoke.Load()}, false
	if awake := p.stay(); awake != s.fewOpen() || other.awake.Load() != awake {
		t.Error("awake for an answer:", awake, other.awake.Load())
	}
	p.rest()
	if drip(); other.awake.Load() {
		t.Error("the turn was not given back")
	}
}

// TestPromptFew: with many sessions open nobody stays awake.
func TestPromptFew(t *testing.T) {
	t.Parallel()
	s := New(Options{})
	s.open.Store(1000)
	if s.fewOpen() {
		t.Error("1000 are few")
	}
}

// TestPromptTogether: two that read at once, as when a session ends in disorder while another goroutine waits for its peer, get
// each octet once, and a close wakes both.
func TestPromptTogether(t *testing.T) {
	t.Parallel()
	c, peer := promptPair(t, New(Options{}))
	const sent = 300
	var got [256]atomic.Int32
	var all sync.WaitGroup
	for range 2 {
		all.Go(func() {
			b := make([]byte, 1)
			for {
				n, err := c.Read(b)
				if err != nil {
					if !errors.Is(err, net.ErrClosed) {
						t.Error(err)
					}
					return
				}
				if n == 1 {
					got[b[0]].Add(1)
				}
			}
		})
	}
	for i := range sent {
		if _, err := peer.Write([]byte{byte(i % 100)}); err != nil {
			t.Fatal(err)
		}
		for read := int32(0); read <= int32(i); {
			read = 0
			for k := range got {
				read += got[k].Load()
			}
			if t.Failed() {
				return
			}
			runtime.Gosched()
		}
	}
	_ = c.Close()
	all.Wait()
	for i := range 100 {
		if n := got[i].Load(); n != sent/100 {
			t.Errorf("%d came %d times", i, n)
		}
	}
}
