package main

import (
	"bufio"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

func imapIdle(args []string) { //nolint:funlen // one measurement, told in order
	o := newOpts("imap-idle")
	settle := o.fs.Duration("settle", 3*time.Second, "wait before measuring")
	users := o.fs.Int("users", 1, "rotate over this many users when -user has %d")
	login := o.fs.Int("login-c", 10, "logins at a time")
	o.parse(args)
	res := map[string]any{"label": o.label, "cmd": "imap-idle", "n": o.n}
	pss0, _, p0 := cgPSS(o.cg)
	anon0 := cgAnon(o.cg)
	kern0 := cgKernel(o.cg)
	m := startMeter(o.cg)
	conns := make([]*imapConn, o.n)
	var next, bad atomic.Int64
	var e atomic.Value
	var wg sync.WaitGroup
	for w := 0; w < *login; w++ {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for {
				i := int(next.Add(1)) - 1
				if i >= o.n {
					return
				}
				user := o.user
				if strings.Contains(user, "%d") {
					user = fmt.Sprintf(user, i%*users)
				}
				err := func() error {
					ic, err := imapDial(o, o.addr)
					if err != nil {
						return err
					}
					ic.c.SetDeadline(time.Now().Add(time.Hour))
					ic.br = bufio.NewReaderSize(ic.c, 4096)
					if _, err = ic.cmd(nil, "LOGIN %s %s", quote(user), quote(o.pass)); err != nil {
						return err
					}
					if _, err = ic.sel(o.mailbox); err != nil {
						return err
					}
					fmt.Fprintf(ic.c, "i1 IDLE\r\n")
					for {
						l, err := ic.readLine()
						if err != nil {
							return err
						}
						if l[0] == '+' {
							conns[i] = ic
							return nil
						}
						if l[0] != '*' {
							return fmt.Errorf("idle: %s", l)
						}
					}
				}()
				if err != nil {
					bad.Add(1)
					e.CompareAndSwap(nil, err.Error())
					if bad.Load() > 50 {
						return
					}
				}
			}
		}()
	}
	wg.Wait()
	res["setup_s"] = round(time.Since(m.t0).Seconds(), 2)
	time.Sleep(*settle)
	open := 0
	for _, c := range conns {
		if c != nil {
			open++
		}
	}
	pss, rss, procs := cgPSS(o.cg)
	anon, kern := cgAnon(o.cg), cgKernel(o.cg)
	res["open"], res["procs_before"], res["procs"] = open, p0, procs
	res["pss_mb"], res["pss_before_mb"], res["rss_sum_mb"], res["anon_mb"] = mb(pss), mb(pss0), mb(rss), mb(anon)
	if open > 0 {
		res["pss_kb_per_conn"] = round(float64(pss)/1024/float64(open), 1)
		res["pss_growth_kb_per_conn"] = round(float64(pss-pss0)/1024/float64(open), 1)
		res["anon_growth_kb_per_conn"] = round(float64(anon-anon0)/1024/float64(open), 1)
		if kern > 0 {
			res["kernel_growth_kb_per_conn"] = round(float64(kern-kern0)/1024/float64(open), 1)
		}
	}
	if bad.Load() > 0 {
		res["failed"], res["first_error"] = bad.Load(), e.Load()
	}
	// CPU of the idle state.
	c0 := cgCPU(o.cg)
	time.Sleep(2 * time.Second)
	res["idle_cpu_ms_per_s"] = round((cgCPU(o.cg)-c0)*500, 2)
	emit(m.done(res, 0))
	for _, c := range conns {
		if c != nil {
			c.c.Close()
		}
	}
}

// cgKernel is kernel memory (slab, stacks, page tables) charged to the group.
func cgKernel(names string) int64 { return cgSum(names, cgKernel1) }

func cgKernel1(name string) int64 {
	b, err := os.ReadFile(cgRoot + "/memory/" + name + "/memory.kmem.usage_in_bytes")
	if err != nil {
		return 0
	}
	v, _ := strconv.ParseInt(strings.TrimSpace(string(b)), 10, 64)
	return v
}
