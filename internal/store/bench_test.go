package store

import (
	"fmt"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"postel/internal/blob"
	"postel/internal/kv"
	"postel/internal/kv/pebble"
	"postel/internal/mail"
)

// mail5k is a message of 5 KB, as different as texts are.
func mail5k(n int) string {
	var b strings.Builder
	fmt.Fprintf(&b, "Received: from mx.example.org (mx.example.org [192.0.2.1]) by mail.example.net with ESMTPS id %x\r\n", n)
	b.WriteString(hello(fmt.Sprint("bench", n)))
	for i := 0; b.Len() < 5000; i++ {
		fmt.Fprintf(&b, "%x is line %d of what somebody has to say about %d\r\n", kv.Hash64(fmt.Sprint(n, i)), i, n)
	}
	return b.String()
}

// BenchmarkAppend delivers messages of 5 KB: "whole" takes them in, parses and compresses them too, "rows" delivers
// one that is ready. It tells the CPU time a message takes, of all threads.
func BenchmarkAppend(b *testing.B) {
	for _, accounts := range []int{1, 1000} {
		for _, clients := range []int{1, 16, 64} {
			b.Run(fmt.Sprintf("rows/accounts=%d/clients=%d", accounts, clients), func(b *testing.B) {
				benchAppend(b, accounts, clients, false)
			})
		}
	}
	for _, clients := range []int{1, 16} {
		b.Run(fmt.Sprintf("whole/accounts=1000/clients=%d", clients), func(b *testing.B) {
			benchAppend(b, 1000, clients, true)
		})
	}
}

func benchAppend(b *testing.B, accounts, clients int, whole bool) {
	k, err := pebble.Open(pebble.Options{Dir: b.TempDir()})
	if err != nil {
		b.Fatal(err)
	}
	defer k.Close()
	w := &world{Store: New(Options{KV: k, Blobs: blob.New(blob.Options{KV: k})}), kv: k, t: b}
	for a := range accounts {
		w.account(mail.AccountID(a + 1))
	}
	ready := w.message(mail5k(0))
	texts := make([]string, 256)
	for i := range texts {
		texts[i] = mail5k(i)
	}
	var n atomic.Int64
	before := cpu()
	b.SetParallelism((clients + 1) / 2) // of 2 processors
	b.ReportAllocs()
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			i := n.Add(1)
			m := ready
			if whole {
				m = take(w, texts[i%256])
			}
			d := Delivery{Account: mail.AccountID(1 + i%int64(accounts)), Prefix: []byte("Return-Path: <a@example.org>\r\n")}
			if _, err := w.AppendOne(b.Context(), m, d); err != nil {
				b.Error(err)
			}
			if whole {
				m.Discard()
			}
		}
	})
	b.ReportMetric(float64((cpu()-before).Microseconds())/float64(b.N), "cpu-µs/op")
}

func take(w *world, text string) *Message {
	in := w.Incoming(w.t.Context())
	if _, err := in.Write([]byte(text)); err != nil {
		w.t.Error(err)
	}
	m, err := in.Seal()
	if err != nil {
		w.t.Error(err)
	}
	return m
}

func cpu() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkEmails reads what FETCH ENVELOPE needs, 256 messages at a time.
func BenchmarkEmails(b *testing.B) {
	k, err := pebble.Open(pebble.Options{Dir: b.TempDir(), MemTableSize: 1 << 20})
	if err != nil {
		b.Fatal(err)
	}
	defer k.Close()
	w := &world{Store: New(Options{KV: k, Blobs: blob.New(blob.Options{KV: k})}), kv: k, t: b}
	w.account(1)
	var ids []EmailID
	for i := range 2048 {
		m := take(w, mail5k(i))
		ap, err := w.AppendOne(b.Context(), m, Delivery{Account: 1, Prefix: []byte("Return-Path: <a@example.org>\r\n")})
		if err != nil {
			b.Fatal(err)
		}
		m.Discard()
		ids = append(ids, ap.Email)
	}
	b.ReportAllocs()
	b.ResetTimer()
	for i := range b.N {
		at := i * 256 % len(ids)
		if _, err := w.Emails(b.Context(), 1, ids[at:at+256]); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N)/256, "µs/email")
}
