package main

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
)

// target is a null server to which the server under test relays.
type target interface {
	open()                       // ends the time in which it holds its greeting
	got() (n int64, t time.Time) // messages so far, and when the last was seen
	conns() int64
	stop()
}

// ownSink is the sink of this program as a target.
type ownSink struct{ *sink }

func (k ownSink) open() {
	if k.gate != nil {
		close(k.gate)
	}
}
func (k ownSink) got() (int64, time.Time) { return k.sink.got.Load(), time.Unix(0, k.last.Load()) }
func (k ownSink) conns() int64            { return k.sink.conns.Load() }
func (k ownSink) stop()                   {}

// postfixSink is Postfix's smtp-sink, which counts on its standard output.
type postfixSink struct {
	cmd  *exec.Cmd
	n    atomic.Int64
	sess atomic.Int64
	last atomic.Int64
}

// startPostfixSink starts it; one that is gated listens, so that connections come about, and is then stopped by a signal
// until open.
func startPostfixSink(addr string, gate bool) (*postfixSink, error) {
	k := &postfixSink{cmd: exec.Command("smtp-sink", "-u", "nobody", "-c", "-m", "2000", "inet:"+addr, "4096")}
	out, err := k.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	k.cmd.Stderr = os.Stderr
	if err := k.cmd.Start(); err != nil {
		return nil, err
	}
	go k.count(out)
	for try := 0; ; try++ {
		c, err := net.Dial("tcp", addr)
		if err == nil {
			c.Close()
			break
		}
		if try > 100 {
			return nil, err
		}
		time.Sleep(20 * time.Millisecond)
	}
	if gate {
		time.Sleep(50 * time.Millisecond)
		return k, k.cmd.Process.Signal(syscall.SIGSTOP)
	}
	return k, nil
}

// count reads "sess=1 quit=2 mesg=3", each ended by a carriage return.
func (k *postfixSink) count(out io.Reader) {
	sc := bufio.NewScanner(out)
	sc.Split(func(data []byte, atEOF bool) (int, []byte, error) {
		if i := bytes.LastIndexByte(data, '\r'); i >= 0 { // the newest is enough
			from := bytes.LastIndexByte(data[:i], '\r') + 1
			return i + 1, data[from:i], nil
		}
		return 0, nil, nil
	})
	for sc.Scan() {
		var sess, quit, mesg int64
		if n, _ := fmt.Sscanf(strings.TrimSpace(sc.Text()), "sess=%d quit=%d mesg=%d", &sess, &quit, &mesg); n == 3 {
			k.sess.Store(sess)
			if k.n.Swap(mesg) != mesg {
				k.last.Store(time.Now().UnixNano())
			}
		}
	}
}

func (k *postfixSink) open()                   { _ = k.cmd.Process.Signal(syscall.SIGCONT) }
func (k *postfixSink) got() (int64, time.Time) { return k.n.Load(), time.Unix(0, k.last.Load()) }
func (k *postfixSink) conns() int64            { return k.sess.Load() - 1 } // one was ours
func (k *postfixSink) stop() {
	_ = k.cmd.Process.Kill()
	_ = k.cmd.Wait()
}

func newTarget(addr string, n int, gate, postfix bool) (target, error) {
	if postfix {
		return startPostfixSink(addr, gate)
	}
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, err
	}
	k := &sink{want: int64(n), full: make(chan struct{})}
	if gate {
		k.gate = make(chan struct{})
	}
	go k.serve(ln)
	return ownSink{k}, nil
}

func relayCmd(args []string) {
	j := &smtpJob{opts: newOpts("relay")}
	j.flags()
	listen := j.fs.String("sink", "127.0.0.1:2626", "address of the sink, to which the server relays")
	postfix := j.fs.Bool("smtp-sink", false, "the sink is Postfix's smtp-sink instead of an own one")
	gate := j.fs.Bool("gate", false, "hold the sink's greeting until all messages are accepted, then measure the drain of the queue")
	wait := j.fs.Duration("delivery-timeout", 20*time.Second, "give up after this long without progress")
	kick := j.fs.String("kick", "", "shell command to run when the gate opens (queue flush)")
	j.parse(args)
	checkLoopback(*listen)
	joinBenchCPU()
	k, err := newTarget(*listen, j.n, *gate, *postfix)
	if err != nil {
		fatal("sink: %v", err)
	}
	defer k.stop()
	res := map[string]any{"label": j.label, "cmd": "relay", "n": j.n, "c": j.c, "size": j.size, "per_conn": j.perConn, "gate": *gate, "driver": j.driver, "destinations": j.users}
	j.prepare()
	m := startMeter(j.cg)
	r := j.run()
	r.fill(res)
	began := time.Now()
	if *gate {
		k.open()
		if *kick != "" {
			exec.Command("sh", "-c", *kick).Run()
		}
	}
	awaitRelay(k, r, *wait)
	got, last := k.got()
	res["relayed"] = got
	if got > 0 {
		res["relayed_per_s"] = round(float64(got)/last.Sub(m.t0).Seconds(), 1)
		if *gate {
			res["drain_per_s"] = round(float64(got)/last.Sub(began).Seconds(), 1)
		}
	}
	res["sink_conns"] = k.conns()
	emit(m.done(res, r.accepted))
}

// awaitRelay waits until all that was accepted has come, or nothing comes any more.
func awaitRelay(k target, r sendResult, wait time.Duration) {
	lastN, lastT := int64(-1), time.Now()
	for time.Since(lastT) < wait {
		n, _ := k.got()
		if n >= int64(r.accepted) {
			return
		}
		if n != lastN {
			lastN, lastT = n, time.Now()
		}
		time.Sleep(10 * time.Millisecond)
	}
}
