package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

func init() {
	register("smtp-send", "send -n messages over -c sessions; optionally wait for delivery (-count)", smtpSend)
	register("relay", "send -n messages and receive them again on a null sink (-sink): an own one, or Postfix's smtp-sink (-smtp-sink)", relayCmd)
	register("smtp-sink", "null SMTP sink on -addr until -n messages or -timeout", sinkCmd)
	register("dns", "tiny DNS server on -addr (UDP and TCP): every name has MX localhost. and A 127.0.0.1", dnsCmd)
}

type smtpConn struct {
	c  net.Conn
	br *bufio.Reader
}

func (s *smtpConn) reply(want byte) error {
	for {
		l, err := s.br.ReadSlice('\n')
		if err != nil {
			return err
		}
		if len(l) >= 4 && l[3] == '-' {
			continue
		}
		if len(l) < 3 || l[0] != want {
			return fmt.Errorf("reply %q", strings.TrimSpace(string(l)))
		}
		return nil
	}
}

func (s *smtpConn) cmd(want byte, f string, a ...any) error {
	if _, err := fmt.Fprintf(s.c, f+"\r\n", a...); err != nil {
		return err
	}
	if err := s.reply(want); err != nil {
		verb, _, _ := strings.Cut(f, " ")
		return fmt.Errorf("%s: %w", verb, err)
	}
	return nil
}

type smtpJob struct {
	*opts
	from, to string
	perConn  int
	users    int
	auth     bool
	lmtp     bool
	pipeline bool
	starttls bool
	bdat     bool
	driver   string
	base     int
	ready    [][]byte // the first messages, made before the clock starts
}

// maxReady is how many messages are made before the clock starts; they take 5 KB each.
const maxReady = 20000

// prepare makes messages ahead, so that making them takes nothing from the server under test.
func (j *smtpJob) prepare() {
	if j.driver != "own" {
		return
	}
	j.ready = make([][]byte, min(j.n, maxReady))
	for i := range j.ready {
		j.ready[i] = j.message(i)
	}
}

// message gives the octets behind DATA of message i of this run, with the dot at their end.
func (j *smtpJob) message(i int) []byte {
	if i < len(j.ready) && j.ready[i] != nil {
		return j.ready[i]
	}
	n := j.base + i
	msg := bytes.ReplaceAll(makeMessage(n, j.size, j.sender(n), j.rcpt(n)), []byte("\r\n."), []byte("\r\n.."))
	if !bytes.HasSuffix(msg, []byte("\r\n")) {
		msg = append(msg, '\r', '\n')
	}
	return append(msg, ".\r\n"...)
}

func (j *smtpJob) flags() {
	j.fs.StringVar(&j.from, "from", "sender@bench.example", "envelope sender; %d becomes the message number")
	j.fs.StringVar(&j.to, "to", "", "recipient; %d becomes a user number, see -users")
	j.fs.IntVar(&j.perConn, "per-conn", 1, "messages per connection; 0 means all")
	j.fs.IntVar(&j.users, "users", 1, "number of recipients to rotate over when -to has %d")
	j.fs.BoolVar(&j.auth, "auth", false, "AUTH PLAIN with -user and -pass")
	j.fs.BoolVar(&j.lmtp, "lmtp", false, "speak LMTP")
	j.fs.BoolVar(&j.pipeline, "pipeline", false, "pipeline MAIL, RCPT and DATA")
	j.fs.BoolVar(&j.starttls, "starttls", false, "STARTTLS, certificate not verified")
	j.fs.BoolVar(&j.bdat, "bdat", false, "send the message as one chunk, behind MAIL and RCPT in one write (RFC 3030)")
	j.fs.StringVar(&j.driver, "driver", "own", "own, or smtp-source to run the program of that name")
	j.fs.IntVar(&j.base, "first", 0, "number of the first message")
}

func (j *smtpJob) rcpt(i int) string {
	if strings.Contains(j.to, "%d") {
		return fmt.Sprintf(j.to, i%max(1, j.users))
	}
	return j.to
}

func (j *smtpJob) sender(i int) string {
	return strings.ReplaceAll(j.from, "%d", strconv.Itoa(i))
}

func (j *smtpJob) open() (*smtpConn, error) {
	c, err := j.dial(j.addr)
	if err != nil {
		return nil, err
	}
	s := &smtpConn{c, bufio.NewReaderSize(c, 8192)}
	hello := "EHLO bench.example"
	if j.lmtp {
		hello = "LHLO bench.example"
	}
	if err = s.reply('2'); err == nil {
		err = s.cmd('2', "%s", hello)
	}
	if err == nil && j.starttls {
		if err = s.cmd('2', "STARTTLS"); err == nil {
			s.c = tls.Client(s.c, &tls.Config{InsecureSkipVerify: true})
			s.br.Reset(s.c)
			err = s.cmd('2', "%s", hello)
		}
	}
	if err == nil && j.auth {
		err = s.cmd('2', "AUTH PLAIN %s", base64.StdEncoding.EncodeToString([]byte("\x00"+j.user+"\x00"+j.pass)))
	}
	if err != nil {
		c.Close()
		return nil, err
	}
	return s, nil
}

// send sends message i of this run.
func (j *smtpJob) send(s *smtpConn, i int) error {
	from, to := j.sender(j.base+i), j.rcpt(j.base+i)
	if j.bdat {
		return j.sendChunk(s, i, from, to)
	}
	if j.pipeline {
		if _, err := fmt.Fprintf(s.c, "MAIL FROM:<%s>\r\nRCPT TO:<%s>\r\nDATA\r\n", from, to); err != nil {
			return err
		}
		for _, w := range []byte("223") {
			if err := s.reply(w); err != nil {
				return err
			}
		}
	} else {
		if err := s.cmd('2', "MAIL FROM:<%s>", from); err != nil {
			return err
		}
		if err := s.cmd('2', "RCPT TO:<%s>", to); err != nil {
			return err
		}
		if err := s.cmd('3', "DATA"); err != nil {
			return err
		}
	}
	if _, err := s.c.Write(j.message(i)); err != nil {
		return err
	}
	if err := s.reply('2'); err != nil {
		return fmt.Errorf("end of data: %w", err)
	}
	return nil
}

// sendChunk sends message i by BDAT, all of the transaction in one go.
func (j *smtpJob) sendChunk(s *smtpConn, i int, from, to string) error {
	msg := bytes.TrimSuffix(j.message(i), []byte(".\r\n"))
	head := fmt.Appendf(nil, "MAIL FROM:<%s>\r\nRCPT TO:<%s>\r\nBDAT %d LAST\r\n", from, to, len(msg))
	if _, err := s.c.Write(append(head, msg...)); err != nil {
		return err
	}
	for range 3 {
		if err := s.reply('2'); err != nil {
			return err
		}
	}
	return nil
}

type sendResult struct {
	accepted, failed int
	wall             float64
	lat              []time.Duration
	firstErr         string
}

// run sends all messages and returns when the last is answered.
func (j *smtpJob) run() sendResult {
	t0 := time.Now()
	if j.driver != "own" {
		args := []string{
			"-s", strconv.Itoa(j.c), "-m", strconv.Itoa(j.n), "-l", strconv.Itoa(j.size),
			"-f", j.sender(0), "-t", j.rcpt(0), "-4",
		}
		if j.perConn != 1 {
			args = append(args, "-d")
		}
		if j.lmtp {
			args = append(args, "-L")
		}
		args = append(args, "inet:"+j.addr)
		out, err := exec.Command(j.driver, args...).CombinedOutput()
		r := sendResult{accepted: j.n, wall: time.Since(t0).Seconds()}
		if err != nil {
			r.firstErr = fmt.Sprintf("%v: %.300s", err, out)
			r.failed = j.n
			r.accepted = 0
		}
		return r
	}
	var next, ok, bad atomic.Int64
	var firstErr atomic.Value
	var wg sync.WaitGroup
	lats := make([][]time.Duration, j.c)
	for w := 0; w < j.c; w++ {
		wg.Add(1)
		go func() {
			defer wg.Done()
			var s *smtpConn
			sent := 0
			for {
				i := int(next.Add(1)) - 1
				if i >= j.n {
					break
				}
				t := time.Now()
				var err error
				if s == nil {
					s, err = j.open()
					sent = 0
				}
				if err == nil {
					err = j.send(s, i)
				}
				if err != nil {
					firstErr.CompareAndSwap(nil, err.Error())
					bad.Add(1)
					if s != nil {
						s.c.Close()
						s = nil
					}
					if bad.Load() > 100 && ok.Load() == 0 {
						return
					}
					continue
				}
				ok.Add(1)
				lats[w] = append(lats[w], time.Since(t))
				if sent++; j.perConn > 0 && sent >= j.perConn {
					s.cmd('2', "QUIT")
					s.c.Close()
					s = nil
				}
			}
			if s != nil {
				s.cmd('2', "QUIT")
				s.c.Close()
			}
		}()
	}
	wg.Wait()
	r := sendResult{accepted: int(ok.Load()), failed: int(bad.Load()), wall: time.Since(t0).Seconds()}
	for _, l := range lats {
		r.lat = append(r.lat, l...)
	}
	if e, is := firstErr.Load().(string); is {
		r.firstErr = e
	}
	return r
}

func (r sendResult) fill(m map[string]any) {
	m["accepted"] = r.accepted
	m["accepted_per_s"] = round(float64(r.accepted)/r.wall, 1)
	m["accept_wall_s"] = round(r.wall, 3)
	if r.failed > 0 {
		m["failed"] = r.failed
		m["first_error"] = r.firstErr
	}
	if len(r.lat) > 0 {
		m["p50_ms"], m["p99_ms"] = pct(r.lat, .5), pct(r.lat, .99)
	}
}

// counter tells how many messages have been delivered: "maildir:PATH",
// "postel:SOCKET" (all accounts, through the control socket), or
// "imap:ADDR" (STATUS of -mailbox with -user and -pass).
func (j *smtpJob) counter(spec string) (func() (int, error), error) {
	kind, arg, _ := strings.Cut(spec, ":")
	switch kind {
	case "maildir":
		return func() (int, error) {
			n := 0
			dirs, _ := filepath.Glob(arg)
			for _, d := range dirs {
				for _, sub := range []string{"new", "cur"} {
					f, err := os.Open(filepath.Join(d, sub))
					if err != nil {
						continue
					}
					names, _ := f.Readdirnames(-1)
					f.Close()
					n += len(names)
				}
			}
			return n, nil
		}, nil
	case "postel":
		return func() (int, error) { return postelMessages(arg) }, nil
	case "imap":
		checkLoopback(arg)
		var ic *imapConn
		return func() (int, error) {
			if ic == nil {
				c, err := imapOpen(j.opts, arg, j.user, j.pass)
				if err != nil {
					return 0, err
				}
				ic = c
			}
			n := -1
			_, err := ic.cmd(func(l []byte) {
				if i := bytes.Index(l, []byte("MESSAGES ")); i >= 0 {
					s := l[i+9:]
					k := 0
					for k < len(s) && s[k] >= '0' && s[k] <= '9' {
						k++
					}
					n, _ = strconv.Atoi(string(s[:k]))
				}
			}, "STATUS %s (MESSAGES)", quote(j.mailbox))
			return n, err
		}, nil
	}
	return nil, fmt.Errorf("bad -count %q", spec)
}

func smtpSend(args []string) {
	j := &smtpJob{opts: newOpts("smtp-send")}
	j.flags()
	count := j.fs.String("count", "", "wait until delivered: maildir:GLOB, postel:SOCKET or imap:ADDR (with -user, -pass, -mailbox)")
	wait := j.fs.Duration("delivery-timeout", 20*time.Second, "give up waiting for delivery after this long without progress")
	j.parse(args)
	res := map[string]any{"label": j.label, "cmd": "smtp-send", "n": j.n, "c": j.c, "size": j.size, "per_conn": j.perConn, "driver": j.driver}
	var cnt func() (int, error)
	base := 0
	if *count != "" {
		var err error
		if cnt, err = j.counter(*count); err == nil {
			base, err = cnt()
		}
		if err != nil {
			fatal("count: %v", err)
		}
	}
	j.prepare()
	m := startMeter(j.cg)
	r := j.run()
	r.fill(res)
	if cnt != nil {
		want := base + r.accepted
		have, last := 0, time.Now()
		for {
			n, err := cnt()
			if err != nil {
				res["count_error"] = err.Error()
				break
			}
			if n != have {
				have, last = n, time.Now()
			}
			if have >= want || time.Since(last) > *wait {
				break
			}
			time.Sleep(20 * time.Millisecond)
		}
		w := time.Since(m.t0).Seconds()
		res["delivered"] = have - base
		res["delivered_per_s"] = round(float64(have-base)/w, 1)
	}
	emit(m.done(res, r.accepted))
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

// dnsCmd answers every question so that a server which insists on DNS finds
// MX localhost. and A 127.0.0.1; other types get an empty answer.
func dnsCmd(args []string) {
	o := newOpts("dns")
	o.timeout = 2 * time.Hour
	o.parse(args)
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Hour)
	defer cancel()
	pc, err := net.ListenPacket("udp", o.addr)
	if err != nil {
		fatal("%v", err)
	}
	ln, err := net.Listen("tcp", o.addr)
	if err != nil {
		fatal("%v", err)
	}
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				for {
					var h [2]byte
					if _, err := readFull(c, h[:]); err != nil {
						return
					}
					q := make([]byte, int(h[0])<<8|int(h[1]))
					if _, err := readFull(c, q); err != nil {
						return
					}
					a := dnsAnswer(q)
					c.Write(append([]byte{byte(len(a) >> 8), byte(len(a))}, a...))
				}
			}()
		}
	}()
	go func() {
		buf := make([]byte, 4096)
		for {
			n, from, err := pc.ReadFrom(buf)
			if err != nil {
				return
			}
			if a := dnsAnswer(buf[:n]); a != nil {
				pc.WriteTo(a, from)
			}
		}
	}()
	<-ctx.Done()
}

func readFull(c net.Conn, b []byte) (int, error) {
	n := 0
	for n < len(b) {
		k, err := c.Read(b[n:])
		if err != nil {
			return n, err
		}
		n += k
	}
	return n, nil
}

func dnsAnswer(q []byte) []byte {
	if len(q) < 12 {
		return nil
	}
	p := 12
	for p < len(q) && q[p] != 0 {
		p += int(q[p]) + 1
	}
	p++
	if p+4 > len(q) {
		return nil
	}
	typ := int(q[p])<<8 | int(q[p+1])
	p += 4
	isLocal := bytes.Equal(bytes.ToLower(q[12:p-4]), []byte("\x09localhost\x00"))
	var rd []byte
	switch {
	case typ == 1:
		rd = []byte{127, 0, 0, 1}
	case typ == 15 && !isLocal:
		rd = append([]byte{0, 10}, "\x09localhost\x00"...)
	default:
		typ = 0
	}
	a := append([]byte(nil), q[:p]...)
	a[2], a[3] = 0x85|q[2]&1, 0x80
	a[4], a[5], a[6], a[7], a[8], a[9], a[10], a[11] = 0, 1, 0, 0, 0, 0, 0, 0
	if typ != 0 {
		a[7] = 1
		a = append(a, 0xc0, 12, 0, byte(typ), 0, 1, 0, 0, 1, 44, 0, byte(len(rd)))
		a = append(a, rd...)
	}
	return a
}
