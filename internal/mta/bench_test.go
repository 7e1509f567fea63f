package mta

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"postel/internal/vfs"
)

// fastSink is an SMTP server on loopback that takes everything.
type fastSink struct {
	l    net.Listener
	sent atomic.Int64
	open atomic.Int64
}

func newFastSink(b *testing.B) *fastSink {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = l.Close() })
	s := &fastSink{l: l}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			s.open.Add(1)
			go s.serve(c)
		}
	}()
	return s
}

func (s *fastSink) serve(c net.Conn) {
	defer func() { _ = c.Close() }()
	r, w := bufio.NewReader(c), bufio.NewWriter(c)
	_, _ = w.WriteString("220 sink\r\n")
	for {
		if r.Buffered() == 0 && w.Flush() != nil {
			return
		}
		line, err := r.ReadSlice('\n')
		if err != nil {
			return
		}
		switch {
		case bytes.HasPrefix(line, []byte("EHLO")):
			_, _ = w.WriteString("250-sink\r\n250-PIPELINING\r\n250 8BITMIME\r\n")
		case bytes.HasPrefix(line, []byte("DATA")):
			_, _ = w.WriteString("354 go\r\n")
			_ = w.Flush()
			for {
				line, err := r.ReadSlice('\n')
				if err != nil {
					return
				}
				if string(line) == ".\r\n" {
					break
				}
			}
			s.sent.Add(1)
			_, _ = w.WriteString("250 2.0.0 taken\r\n")
		case bytes.HasPrefix(line, []byte("QUIT")):
			_, _ = w.WriteString("221 bye\r\n")
			_ = w.Flush()
			return
		default:
			_, _ = w.WriteString("250 2.0.0 ok\r\n")
		}
	}
}

// BenchmarkRelay takes messages of 5 KB from 50 producers and sends them to one server, everything durable on disk.
func BenchmarkRelay(b *testing.B) {
	for _, destinations := range []int{1, 100} {
		b.Run(fmt.Sprint(destinations), func(b *testing.B) {
			s := newFastSink(b)
			f := newFixture(b, vfs.Default(), func(o *Options) {
				o.Dial = func(ctx context.Context, _, _ string) (net.Conn, error) {
					return new(net.Dialer).DialContext(ctx, "tcp", s.l.Addr().String())
				}
				o.Journey = nil
			})
			f.MTA.open = f.openSession
			f.start()
			body := sample + strings.Repeat("some text of a body, quite long enough for a line of it\r\n", 85)
			var next atomic.Int64
			var wg sync.WaitGroup
			b.ResetTimer()
			for range 50 {
				wg.Go(func() {
					for i := next.Add(1); i <= int64(b.N); i = next.Add(1) {
						msg := f.message(body)
						e := envelope("x@postel.test", fmt.Sprintf("u@d%d.test", i%int64(destinations)))
						if _, err := f.Accept(context.Background(), Incoming{Envelope: e, Message: msg}); err != nil {
							b.Error(err)
						}
						msg.Discard()
					}
				})
			}
			wg.Wait()
			taken := b.Elapsed()
			for f.queue.Leased() > 0 || s.sent.Load() < int64(b.N) {
				time.Sleep(time.Millisecond)
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "msg/s")
			b.ReportMetric(taken.Seconds()/b.Elapsed().Seconds(), "taken")
			b.ReportMetric(float64(s.open.Load()), "sessions")
		})
	}
}
