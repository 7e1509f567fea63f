package imapd

import (
	"fmt"
	"io"
	"net"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
)

func inUse() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapInuse + m.StackInuse
}

// TestIdleMemory: sessions that wait, half of them in IDLE, hold little.
func TestIdleMemory(t *testing.T) {
	if testing.Short() {
		t.Skip("1,000 connections")
	}
	w := start(t, setup{clearAuth: true, noGlass: true})
	for range 100 {
		w.deliver("INBOX", hello, 0)
	}
	before := inUse()
	const n = 1000
	conns := make([]net.Conn, n)
	for i := range conns {
		c, err := net.Dial("tcp", w.addr)
		must(t, err)
		defer func() { _ = c.Close() }()
		conns[i] = c
		last := "c NOOP\r\n"
		if i%2 == 0 {
			last = "c IDLE\r\n"
		}
		_, _ = io.WriteString(c, "a LOGIN alice secret\r\nb SELECT INBOX\r\n"+last)
		read(t, c, map[bool]string{true: "+ idling\r\n", false: "c OK NOOP done\r\n"}[i%2 == 0])
	}
	time.Sleep(100 * time.Millisecond)
	per := int64(inUse()-before) / n
	t.Logf("%d octets a session, client's side included", per)
	if per > 32<<10 {
		t.Errorf("%d octets a session", per)
	}
}

// read reads until what was read ends with want.
func read(t *testing.T, c net.Conn, want string) {
	t.Helper()
	_ = c.SetDeadline(time.Now().Add(20 * time.Second))
	var got []byte
	buf := make([]byte, 512)
	for !strings.HasSuffix(string(got), want) {
		n, err := c.Read(buf)
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, buf[:n]...)
		got = got[max(0, len(got)-100):]
	}
}

// TestHostileMemory: many sessions at once that send what costs most; the memory of each stays below 4 MiB.
func TestHostileMemory(t *testing.T) {
	if testing.Short() {
		t.Skip("200 sessions")
	}
	w := start(t, setup{clearAuth: true, noGlass: true})
	w.deliver("INBOX", hello, 0)
	long := strings.Repeat
	attacks := []string{
		"a LOGIN alice secret\r\nb SELECT INBOX\r\nc SEARCH " + long("OR ALL ", 40000),
		"a LOGIN alice secret\r\nb SELECT INBOX\r\nc SEARCH " + long("1,", 400000),
		"a LOGIN alice secret\r\nb SELECT INBOX\r\nc FETCH 1 (" + long("BODY[1.1.1.1.1.1.1.1.1.1.1.1] ", 250),
		"a LOGIN alice secret\r\nb SELECT INBOX\r\nc SEARCH SUBJECT {1000000+}\r\n" + long("x", 999999),
		"a LOGIN alice secret\r\nb SELECT INBOX\r\nc SEARCH" + long(" TEXT x", 1000),
		"a LOGIN " + long("x", 60000),
		"a " + long("(", 60000),
		"a LOGIN {4096+}\r\n" + long("x", 4095),
	}
	const n = 200
	before := inUse()
	var wg sync.WaitGroup
	conns := make([]net.Conn, n)
	for i := range conns {
		c, err := net.Dial("tcp", w.addr)
		must(t, err)
		conns[i] = c
		wg.Go(func() {
			_ = c.SetDeadline(time.Now().Add(20 * time.Second))
			go func() { _, _ = io.Copy(io.Discard, c) }()
			_, _ = io.WriteString(c, attacks[i%len(attacks)])
		})
	}
	wg.Wait()
	time.Sleep(300 * time.Millisecond)
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	t.Logf("%d KiB a session held, %d KiB with garbage", (int64(inUse())-int64(before))/n>>10, (int64(m.HeapInuse)-int64(before))/n>>10)
	if per := (int64(inUse()) - int64(before)) / n; per > 4<<20 {
		t.Errorf("%d octets a session", per)
	}
	for _, c := range conns {
		_ = c.Close()
	}
}

// BenchmarkFetch is FETCH of a mailbox of 20,000 messages.
func BenchmarkFetch(b *testing.B) {
	w := start(b, setup{clearAuth: true})
	for range 20000 {
		w.deliver("INBOX", hello, 0)
	}
	c := w.login()
	c.do("SELECT INBOX")
	_ = c.SetDeadline(time.Time{})
	for _, items := range []string{"FLAGS", "(UID FLAGS RFC822.SIZE)", "ENVELOPE", "(UID FLAGS INTERNALDATE RFC822.SIZE BODY.PEEK[HEADER.FIELDS (DATE FROM SUBJECT)])", "BODY.PEEK[]"} {
		b.Run(items, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				fmt.Fprintf(c, "t FETCH 1:* %s\r\n", items)
				for {
					l, err := c.r.ReadSlice('\n')
					must(b, err)
					if l[0] == 't' && l[1] == ' ' {
						break
					}
				}
			}
		})
	}
}
