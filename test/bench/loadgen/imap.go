package main

import (
	"bufio"
	"bytes"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

func init() {
	register("imap-fill", "append messages until -mailbox has -n (or exactly -n more with -add), over -c connections", imapFill)
	register("imap-append", "APPEND rate: -n messages of -size over -c connections", imapAppend)
	register("imap-fetch", "FETCH -set -items, -repeat times", imapFetch)
	register("imap-search", "time each of the ;-separated -cmds, -repeat times", imapSearch)
	register("imap-idle", "memory per connection of -n connections in IDLE", imapIdle)
	register("imap-store", "STORE/NOOP round trip rate: -n flag changes over -c connections", imapStore)
}

type imapConn struct {
	c    net.Conn
	br   *bufio.Reader
	tag  int
	caps string
	line []byte
	in   int64 // bytes read
}

func quote(s string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s) + `"`
}

func imapDial(o *opts, addr string) (*imapConn, error) {
	c, err := o.dial(addr)
	if err != nil {
		return nil, err
	}
	ic := &imapConn{c: c, br: bufio.NewReaderSize(c, 65536)}
	c.SetDeadline(time.Now().Add(10 * time.Minute))
	l, err := ic.readLine()
	if err == nil && !bytes.HasPrefix(l, []byte("* OK")) {
		err = fmt.Errorf("greeting %q", l)
	}
	if err != nil {
		c.Close()
		return nil, err
	}
	return ic, nil
}

func imapOpen(o *opts, addr, user, pass string) (*imapConn, error) {
	ic, err := imapDial(o, addr)
	if err != nil {
		return nil, err
	}
	if _, err = ic.cmd(nil, "LOGIN %s %s", quote(user), quote(pass)); err == nil {
		_, err = ic.cmd(func(l []byte) {
			if bytes.HasPrefix(l, []byte("* CAPABILITY")) {
				ic.caps = string(l)
			}
		}, "CAPABILITY")
	}
	if err != nil {
		ic.c.Close()
		return nil, err
	}
	return ic, nil
}

// readLine returns one logical response line, without its line end. Literals
// are skipped: only their length stays in the line. The result is valid
// until the next call.
func (ic *imapConn) readLine() ([]byte, error) {
	ic.line = ic.line[:0]
	for {
		start := len(ic.line)
		for {
			p, err := ic.br.ReadSlice('\n')
			ic.line = append(ic.line, p...)
			ic.in += int64(len(p))
			if err == bufio.ErrBufferFull {
				continue
			}
			if err != nil {
				return nil, err
			}
			break
		}
		l := ic.line
		if n := len(l); n >= 1 && l[n-1] == '\n' {
			l = l[:n-1]
		}
		if n := len(l); n >= 1 && l[n-1] == '\r' {
			l = l[:n-1]
		}
		ic.line = l
		if n := len(l); n-start >= 3 && l[n-1] == '}' {
			i := bytes.LastIndexByte(l, '{')
			if i >= start {
				if size, err := strconv.ParseInt(string(l[i+1:n-1]), 10, 64); err == nil {
					for left := size; left > 0; {
						k, err := ic.br.Discard(int(min(left, 1<<30)))
						if err != nil {
							return nil, err
						}
						left -= int64(k)
					}
					ic.in += size
					continue
				}
			}
		}
		return ic.line, nil
	}
}

// cmd sends a command and handles untagged responses until its completion.
func (ic *imapConn) cmd(untagged func([]byte), f string, a ...any) (string, error) {
	ic.tag++
	tag := fmt.Sprintf("a%d", ic.tag)
	if _, err := fmt.Fprintf(ic.c, tag+" "+f+"\r\n", a...); err != nil {
		return "", err
	}
	return ic.wait(tag, untagged)
}

func (ic *imapConn) wait(tag string, untagged func([]byte)) (string, error) {
	for {
		l, err := ic.readLine()
		if err != nil {
			return "", err
		}
		if len(l) > len(tag) && l[len(tag)] == ' ' && string(l[:len(tag)]) == tag {
			s := string(l[len(tag)+1:])
			if !strings.HasPrefix(s, "OK") {
				return s, fmt.Errorf("%s", s)
			}
			return s, nil
		}
		if bytes.HasPrefix(l, []byte("* BYE")) && untagged == nil {
			return "", fmt.Errorf("%s", l)
		}
		if untagged != nil {
			untagged(l)
		}
	}
}

// sel selects the mailbox and returns its message count.
func (ic *imapConn) sel(mailbox string) (int, error) {
	n := -1
	_, err := ic.cmd(func(l []byte) {
		if bytes.HasSuffix(l, []byte(" EXISTS")) {
			n, _ = strconv.Atoi(string(bytes.Fields(l)[1]))
		}
	}, "SELECT %s", quote(mailbox))
	return n, err
}

func (ic *imapConn) append(mailbox string, msg []byte) error {
	ic.tag++
	tag := fmt.Sprintf("a%d", ic.tag)
	plus := strings.Contains(ic.caps, "LITERAL+")
	sfx := ""
	if plus {
		sfx = "+"
	}
	head := fmt.Sprintf("%s APPEND %s (\\Seen) {%d%s}\r\n", tag, quote(mailbox), len(msg), sfx)
	if plus {
		buf := make([]byte, 0, len(head)+len(msg)+2)
		buf = append(append(append(buf, head...), msg...), '\r', '\n')
		if _, err := ic.c.Write(buf); err != nil {
			return err
		}
	} else {
		if _, err := ic.c.Write([]byte(head)); err != nil {
			return err
		}
		for {
			l, err := ic.readLine()
			if err != nil {
				return err
			}
			if l[0] == '+' {
				break
			}
			if l[0] != '*' {
				return fmt.Errorf("%s", l)
			}
		}
		buf := make([]byte, 0, len(msg)+2)
		if _, err := ic.c.Write(append(append(buf, msg...), '\r', '\n')); err != nil {
			return err
		}
	}
	_, err := ic.wait(tag, nil)
	return err
}

// create makes the mailbox; an error (it exists) is of no interest.
func (ic *imapConn) create(mailbox string) {
	if !strings.EqualFold(mailbox, "INBOX") {
		ic.cmd(nil, "CREATE %s", quote(mailbox))
	}
}

func (ic *imapConn) count(mailbox string) (int, error) {
	n := -1
	_, err := ic.cmd(func(l []byte) {
		if i := bytes.Index(l, []byte("MESSAGES ")); i >= 0 {
			n, _ = strconv.Atoi(strings.Trim(string(bytes.Fields(l[i+9:])[0]), ")"))
		}
	}, "STATUS %s (MESSAGES)", quote(mailbox))
	return n, err
}

func (o *opts) imap(addr string) *imapConn {
	ic, err := imapOpen(o, addr, o.user, o.pass)
	if err != nil {
		fatal("imap: %v", err)
	}
	return ic
}

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

func imapFetch(args []string) {
	o := newOpts("imap-fetch")
	set := o.fs.String("set", "1:*", "sequence set")
	items := o.fs.String("items", "(FLAGS ENVELOPE BODYSTRUCTURE INTERNALDATE UID)", "items")
	repeat := o.fs.Int("repeat", 3, "how many times, over one connection")
	fresh := o.fs.Bool("fresh", false, "a new connection for each repetition")
	each := o.fs.Bool("each", false, "one FETCH command per message instead of one for the set")
	o.parse(args)
	res := map[string]any{"label": o.label, "cmd": "imap-fetch", "items": *items, "set": *set}
	m := startMeter(o.cg)
	var ms, mbs, selms []float64
	total := 0
	var ic *imapConn
	exists := 0
	for r := 0; r < *repeat; r++ {
		if ic == nil || *fresh {
			if ic != nil {
				ic.cmd(nil, "LOGOUT")
				ic.c.Close()
			}
			ic = o.imap(o.addr)
			t := time.Now()
			n, err := ic.sel(o.mailbox)
			if err != nil {
				fatal("select: %v", err)
			}
			selms = append(selms, round(float64(time.Since(t))/1e6, 1))
			exists = n
		}
		got := 0
		in0 := ic.in
		t := time.Now()
		count := func(l []byte) {
			if bytes.Contains(l[:min(len(l), 40)], []byte(" FETCH ")) {
				got++
			}
		}
		var err error
		if *each {
			for i := 1; i <= exists && err == nil; i++ {
				_, err = ic.cmd(count, "FETCH %d %s", i, *items)
			}
		} else {
			_, err = ic.cmd(count, "FETCH %s %s", *set, *items)
		}
		d := time.Since(t)
		if err != nil {
			res["error"] = err.Error()
			break
		}
		ms = append(ms, round(float64(d)/1e6, 1))
		mbs = append(mbs, round(float64(ic.in-in0)/1e6/d.Seconds(), 1))
		res["bytes"] = ic.in - in0
		res["got"] = got
		total += got
		if (*set == "1:*" || *each) && got < exists {
			res["error"] = fmt.Sprintf("%d of %d messages", got, exists)
		}
	}
	res["exists"], res["ms"], res["mb_per_s"], res["select_ms"] = exists, ms, mbs, selms
	emit(m.done(res, total))
}

func imapSearch(args []string) {
	o := newOpts("imap-search")
	cmds := o.fs.String("cmds", "SEARCH TEXT "+needle+";SEARCH BODY "+needle+";SEARCH SUBJECT invoice;SEARCH FROM \"Sender 7\";UID SORT (DATE) UTF-8 ALL;UID SORT (SUBJECT) UTF-8 ALL;UID THREAD REFERENCES UTF-8 ALL", "commands separated by ;")
	repeat := o.fs.Int("repeat", 3, "how many times")
	o.parse(args)
	ic := o.imap(o.addr)
	n, err := ic.sel(o.mailbox)
	if err != nil {
		fatal("select: %v", err)
	}
	for _, c := range strings.Split(*cmds, ";") {
		c = strings.TrimSpace(c)
		res := map[string]any{"label": o.label, "cmd": "imap-search", "query": c, "exists": n}
		m := startMeter(o.cg)
		var ms []float64
		for r := 0; r < *repeat; r++ {
			hits := 0
			t := time.Now()
			_, err := ic.cmd(func(l []byte) {
				switch {
				case bytes.HasPrefix(l, []byte("* SEARCH")), bytes.HasPrefix(l, []byte("* SORT")):
					hits += len(bytes.Fields(l)) - 2
				case bytes.HasPrefix(l, []byte("* THREAD")):
					hits = len(l)
				}
			}, "%s", c)
			if err != nil {
				res["error"] = err.Error()
				break
			}
			ms = append(ms, round(float64(time.Since(t))/1e6, 1))
			res["hits"] = hits
		}
		res["ms"] = ms
		emit(m.done(res, 0))
	}
	ic.cmd(nil, "LOGOUT")
}

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
