package main

import (
	"bytes"
	"fmt"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

func init() {
	register("smtp-send", "send -n messages over -c sessions; optionally wait for delivery (-count)", smtpSend)
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
