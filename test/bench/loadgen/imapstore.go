package main

import (
	"sync"
	"sync/atomic"
	"time"
)

func imapStore(args []string) {
	o := newOpts("imap-store")
	o.parse(args)
	res := map[string]any{"label": o.label, "cmd": "imap-store", "n": o.n, "c": o.c}
	conns := make([]*imapConn, o.c)
	exists := 0
	for i := range conns {
		conns[i] = o.imap(o.addr)
		n, err := conns[i].sel(o.mailbox)
		if err != nil || n < 1 {
			fatal("select: %v (%d messages)", err, n)
		}
		exists = n
	}
	// So that each STORE changes something.
	if _, err := conns[0].cmd(nil, "STORE 1:* -FLAGS.SILENT (\\Flagged)"); err != nil {
		fatal("store: %v", err)
	}
	var next, bad atomic.Int64
	var mu sync.Mutex
	var lat []time.Duration
	var wg sync.WaitGroup
	m := startMeter(o.cg)
	for _, ic := range conns {
		wg.Add(1)
		go func() {
			defer wg.Done()
			var l []time.Duration
			for {
				i := int(next.Add(1)) - 1
				if i >= o.n {
					break
				}
				sign := "+"
				if i/exists%2 == 1 {
					sign = "-"
				}
				t := time.Now()
				if _, err := ic.cmd(nil, "STORE %d %sFLAGS (\\Flagged)", i%exists+1, sign); err != nil {
					bad.Add(1)
					break
				}
				l = append(l, time.Since(t))
			}
			mu.Lock()
			lat = append(lat, l...)
			mu.Unlock()
		}()
	}
	wg.Wait()
	res["per_s"] = round(float64(len(lat))/time.Since(m.t0).Seconds(), 1)
	res["p50_ms"], res["p99_ms"] = pct(lat, .5), pct(lat, .99)
	if bad.Load() > 0 {
		res["failed"] = bad.Load()
	}
	emit(m.done(res, len(lat)))
}
