// Command loadgen drives mail servers over SMTP, IMAP and POP3 for side by
// side comparisons and prints one line of JSON per measurement.
//
// It uses the standard library only.
package main

import (
	"crypto/tls"
	"encoding/json"
	"flag"
	"fmt"
	"net"
	"os"
	"sort"
	"strings"
	"sync/atomic"
	"time"
)

// opts are the flags every subcommand shares.
type opts struct {
	fs      *flag.FlagSet
	addr    string
	user    string
	pass    string
	n       int
	c       int
	size    int
	cg      string
	label   string
	mailbox string
	spread  bool
	tls     bool
	timeout time.Duration
}

func newOpts(name string) *opts {
	o := &opts{fs: flag.NewFlagSet(name, flag.ExitOnError)}
	o.fs.StringVar(&o.addr, "addr", "", "server address host:port (loopback only)")
	o.fs.StringVar(&o.user, "user", "", "user name; %d is replaced by a user number where -users is supported")
	o.fs.StringVar(&o.pass, "pass", "", "password")
	o.fs.IntVar(&o.n, "n", 1000, "number of messages, connections or operations")
	o.fs.IntVar(&o.c, "c", 1, "concurrency (sessions)")
	o.fs.IntVar(&o.size, "size", 5120, "message size in bytes")
	o.fs.StringVar(&o.cg, "cg", "", "control group of the server, for CPU and memory accounting (see cg-exec); several may be given, with commas")
	o.fs.StringVar(&o.label, "label", "", "free text copied into the result")
	o.fs.StringVar(&o.mailbox, "mailbox", "INBOX", "mailbox")
	o.fs.BoolVar(&o.spread, "src-spread", false, "use a different 127.x.y.z source address per connection (for servers with per-address limits)")
	o.fs.BoolVar(&o.tls, "tls", false, "TLS from the first byte, certificate not verified (loopback only)")
	o.fs.DurationVar(&o.timeout, "timeout", 10*time.Minute, "overall time limit; the process exits with status 3 when it passes")
	return o
}

func (o *opts) parse(args []string) {
	o.fs.Parse(args)
	if o.addr != "" {
		checkLoopback(o.addr)
	}
	if o.c < 1 {
		o.c = 1
	}
	time.AfterFunc(o.timeout, func() {
		emit(map[string]any{"label": o.label, "cmd": o.fs.Name(), "error": "time limit passed"})
		os.Exit(3)
	})
	if o.cg != "" {
		joinBenchCPU()
	}
}

// checkLoopback keeps all traffic on this machine.
func checkLoopback(addr string) {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		fatal("bad address %q: %v", addr, err)
	}
	ip := net.ParseIP(host)
	if host != "localhost" && (ip == nil || !ip.IsLoopback()) {
		fatal("address %q is not loopback; refusing", addr)
	}
}

var connSeq atomic.Int64

// dial opens a TCP connection, with a distinct loopback source if asked.
func (o *opts) dial(addr string) (net.Conn, error) {
	d := net.Dialer{Timeout: 30 * time.Second}
	if o.spread {
		i := connSeq.Add(1) - 1 + int64(os.Getpid())*131
		// One address per /21 block of 127.0.0.0/8, skipping the first.
		v := uint32(i%8000+1) * 2048
		v += uint32(i/8000%2000) + 1
		d.LocalAddr = &net.TCPAddr{IP: net.IPv4(127, byte(v>>16), byte(v>>8), byte(v))}
	}
	if o.tls {
		return tls.DialWithDialer(&d, "tcp", addr, &tls.Config{InsecureSkipVerify: true})
	}
	// Without a deadline: one costs a goroutine and a timer a connection, and -timeout bounds everything.
	to, err := net.ResolveTCPAddr("tcp", addr)
	if err != nil {
		return nil, err
	}
	from, _ := d.LocalAddr.(*net.TCPAddr)
	return net.DialTCP("tcp", from, to)
}

func fatal(f string, a ...any) {
	fmt.Fprintf(os.Stderr, "loadgen: "+f+"\n", a...)
	os.Exit(1)
}

func emit(m map[string]any) {
	b, err := json.Marshal(m)
	if err != nil {
		fatal("json: %v", err)
	}
	fmt.Println(string(b))
}

func round(f float64, digits int) float64 {
	p := 1.0
	for i := 0; i < digits; i++ {
		p *= 10
	}
	if f < 0 {
		return -round(-f, digits)
	}
	return float64(int64(f*p+0.5)) / p
}

func pct(d []time.Duration, p float64) float64 {
	if len(d) == 0 {
		return 0
	}
	sort.Slice(d, func(i, j int) bool { return d[i] < d[j] })
	i := int(float64(len(d)-1)*p + 0.5)
	return round(float64(d[i])/float64(time.Millisecond), 3)
}

var (
	commands = map[string]func([]string){}
	usages   []string
)

func register(name, usage string, f func([]string)) {
	commands[name] = f
	usages = append(usages, fmt.Sprintf("  %-12s %s", name, usage))
}

func main() {
	if len(os.Args) < 2 || commands[os.Args[1]] == nil {
		sort.Strings(usages)
		fmt.Fprintf(os.Stderr, "usage: loadgen <command> [flags]\n%s\n", strings.Join(usages, "\n"))
		os.Exit(2)
	}
	commands[os.Args[1]](os.Args[2:])
}
