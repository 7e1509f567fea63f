package main

import (
	"sync"
	"sync/atomic"
	"time"
)

// appendMany appends n messages starting at number first.
func appendMany(o *opts, first, n int) (lat []time.Duration, wall float64, firstErr string, failed int) {
	conns := make([]*imapConn, min(o.c, max(n, 1)))
	for i := range conns {
		conns[i] = o.imap(o.addr)
	}
	var next, bad atomic.Int64
	var e atomic.Value
	lats := make([][]time.Duration, len(conns))
	message := func(i int) []byte {
		return makeMessage(first+i, o.size, "sender@bench.example", "user@bench.example")
	}
	ready := make([][]byte, min(n, maxReady*5120/max(o.size, 5120)))
	for i := range ready {
		ready[i] = message(i)
	}
	var wg sync.WaitGroup
	t0 := time.Now()
	for w, ic := range conns {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for {
				i := int(next.Add(1)) - 1
				if i >= n {
					return
				}
				t := time.Now()
				var msg []byte
				if i < len(ready) {
					msg = ready[i]
				} else {
					msg = message(i)
				}
				if err := ic.append(o.mailbox, msg); err != nil {
					bad.Add(1)
					e.CompareAndSwap(nil, err.Error())
					return
				}
				lats[w] = append(lats[w], time.Since(t))
			}
		}()
	}
	wg.Wait()
	wall = time.Since(t0).Seconds()
	for w, ic := range conns {
		lat = append(lat, lats[w]...)
		ic.cmd(nil, "LOGOUT")
		ic.c.Close()
	}
	if s, ok := e.Load().(string); ok {
		firstErr = s
	}
	return lat, wall, firstErr, int(bad.Load())
}

func imapFill(args []string) {
	o := newOpts("imap-fill")
	add := o.fs.Bool("add", false, "append -n messages whatever is there")
	o.parse(args)
	ic := o.imap(o.addr)
	ic.create(o.mailbox)
	have := 0
	if !*add {
		n, err := ic.count(o.mailbox)
		if err != nil {
			fatal("status: %v", err)
		}
		have = n
	}
	m := startMeter(o.cg)
	res := map[string]any{"label": o.label, "cmd": "imap-fill", "had": have, "size": o.size, "c": o.c}
	if have < o.n {
		lat, wall, e, failed := appendMany(o, have, o.n-have)
		res["appended"] = len(lat)
		res["per_s"] = round(float64(len(lat))/wall, 1)
		if failed > 0 {
			res["failed"], res["first_error"] = failed, e
		}
	}
	emit(m.done(res, o.n-have))
}

func imapAppend(args []string) {
	o := newOpts("imap-append")
	o.parse(args)
	ic := o.imap(o.addr)
	ic.create(o.mailbox)
	ic.c.Close()
	res := map[string]any{"label": o.label, "cmd": "imap-append", "n": o.n, "c": o.c, "size": o.size}
	m := startMeter(o.cg)
	lat, wall, e, failed := appendMany(o, 0, o.n)
	res["per_s"] = round(float64(len(lat))/wall, 1)
	res["mb_per_s"] = round(float64(len(lat))*float64(o.size)/1e6/wall, 2)
	res["p50_ms"], res["p99_ms"] = pct(lat, .5), pct(lat, .99)
	if failed > 0 {
		res["failed"], res["first_error"] = failed, e
	}
	emit(m.done(res, len(lat)))
}
