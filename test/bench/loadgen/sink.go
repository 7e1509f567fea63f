package main

import (
	"bufio"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

func init() {
	register("smtp-sink", "null SMTP sink on -addr until -n messages or -timeout", sinkCmd)
}

// sink is a null SMTP server. While gate is not nil it accepts connections
// but holds its greeting until the channel is closed.
type sink struct {
	gate  chan struct{}
	got   atomic.Int64
	conns atomic.Int64
	last  atomic.Int64 // UnixNano of the last message
	want  int64
	full  chan struct{}
	once  sync.Once
	log   *groupLog // nil: nothing is kept
}

func (k *sink) serve(ln net.Listener) {
	for {
		c, err := ln.Accept()
		if err != nil {
			return
		}
		k.conns.Add(1)
		go k.session(c)
	}
}

func (k *sink) session(c net.Conn) {
	defer c.Close()
	if k.gate != nil {
		<-k.gate
	}
	br := bufio.NewReaderSize(c, 32768)
	bw := bufio.NewWriter(c)
	say := func(s string) bool {
		bw.WriteString(s)
		if br.Buffered() > 0 {
			return true
		}
		return bw.Flush() == nil
	}
	say("220 sink.bench.example ESMTP\r\n")
	var body []byte
	for {
		l, err := br.ReadSlice('\n')
		if err != nil {
			return
		}
		verb := ""
		if len(l) >= 4 {
			verb = strings.ToUpper(string(l[:4]))
		}
		switch verb {
		case "EHLO":
			say("250-sink.bench.example\r\n250-PIPELINING\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n250 SIZE 100000000\r\n")
		case "DATA":
			bw.WriteString("354 go\r\n")
			bw.Flush()
			start := true
			body = body[:0]
			for {
				l, err := br.ReadSlice('\n')
				body = append(body, l...)
				if err == bufio.ErrBufferFull {
					start = false
					continue
				}
				if err != nil {
					return
				}
				if start && len(l) == 3 && l[0] == '.' && l[1] == '\r' {
					break
				}
				start = true
			}
			if k.log != nil {
				k.log.append(body)
			}
			k.last.Store(time.Now().UnixNano())
			if k.got.Add(1) >= k.want {
				k.once.Do(func() { close(k.full) })
			}
			say("250 2.0.0 ok\r\n")
		case "QUIT":
			say("221 bye\r\n")
			bw.Flush()
			return
		default:
			say("250 ok\r\n")
		}
	}
}

func sinkCmd(args []string) {
	o := newOpts("smtp-sink")
	dir := o.fs.String("sync", "", "keep each message in a log in this directory, on the disk before its 250: the least that a durable server does")
	o.parse(args)
	joinBenchCPU()
	ln, err := net.Listen("tcp", o.addr)
	if err != nil {
		fatal("%v", err)
	}
	k := &sink{want: int64(o.n), full: make(chan struct{})}
	if *dir != "" {
		k.log = newGroupLog(*dir, new(atomic.Int64))
	}
	go k.serve(ln)
	t0 := time.Now()
	<-k.full
	emit(map[string]any{
		"label": o.label, "cmd": "smtp-sink", "messages": k.got.Load(), "conns": k.conns.Load(),
		"wall_s": round(time.Since(t0).Seconds(), 3),
	})
}
