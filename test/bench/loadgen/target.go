package main

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strconv"
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

// openAt gives the connections that are open at a port of loopback.
func openAt(addr string) (n int) {
	_, port, _ := net.SplitHostPort(addr)
	p, _ := strconv.Atoi(port)
	b, _ := os.ReadFile("/proc/net/tcp")
	const established = "01"
	for line := range strings.Lines(string(b)) {
		if f := strings.Fields(line); len(f) > 3 && strings.HasSuffix(f[1], fmt.Sprintf(":%04X", p)) && f[3] == established {
			n++
		}
	}
	return n
}
