// Package crash takes the ground from under the server while mail comes in on every way and is changed, relayed and
// bounced: it kills the process, cuts the power of the disk, makes its syncs fail. It proves that nothing
// acknowledged is lost, nothing is torn or doubled, and nothing that a reader was shown is taken back.
package crash

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"sync"
	"testing"
	"time"

	"postel/internal/dns/dnstest"
	"postel/test/harness"
)

const password = "crash"

func TestMain(m *testing.M) { harness.Main(m) }

const zone = `taken.test A 127.0.0.2
bounced.test A 127.0.0.2
waiting.test A 127.0.0.2
`

// cycles gives how many a test makes: few, or what the variable says.
func cycles(variable string, few int) int {
	if n, err := strconv.Atoi(os.Getenv(variable)); err == nil {
		return n
	}
	if testing.Short() {
		return min(few, 2)
	}
	return few
}

// TestKill9 runs POSTEL_CRASH_CYCLES cycles (default 8; `make crash` runs 1,000).
func TestKill9(t *testing.T) {
	d := newDriver(t, t.TempDir())
	d.crash = func() { d.srv.Kill() }
	d.run(cycles("POSTEL_CRASH_CYCLES", 8))
}

// TestKill9Sink is TestKill9 with nothing but mail for elsewhere, to a server that is slow to answer the end of a message, so
// that many are sent and not recorded when the process dies. It runs POSTEL_CRASH_CYCLES cycles (default 5).
func TestKill9Sink(t *testing.T) {
	d := newDriver(t, t.TempDir())
	d.sink.SetEnd(func() { time.Sleep(time.Duration(rand.IntN(4)) * time.Millisecond) })
	d.works = []works{{d.relay, 12}, {d.operate, 1}}
	d.crash = func() { d.srv.Kill() }
	d.run(cycles("POSTEL_CRASH_CYCLES", 5))
}

// works is what keeps the server busy, in so many sessions.
type works struct {
	fn func(int) error
	n  int
}

// driver loads a server and verifies what is left of it.
type driver struct {
	t       *testing.T
	data    string
	users   []string
	ledger  *ledger
	sink    *harness.Sink
	args    []string
	works   []works
	lives   []func() string // the logs of the processes since verify was last here
	srv     *harness.Server
	power   bool   // the crash cuts the power of the disk
	crash   func() // takes the ground from under the server; it does not run any more then
	crashed []time.Time
	fewest  int // acknowledgements in the last 50 ms before a crash
}

func newDriver(t *testing.T, data string) *driver {
	d := &driver{t: t, data: data, ledger: newLedger(), users: []string{"u1@crash.test", "u2@crash.test", "u3@crash.test"}}
	port := harness.FreePort(t)
	d.sink = harness.StartSink(t, fmt.Sprintf("127.0.0.2:%d", port))
	d.sink.SetRcpt(d.ledger.rcpt)
	d.args = []string{
		"--data", d.data, "--domain", "crash.test", "-q", "--deliver", "relay", "--mx-port", strconv.Itoa(port),
		"--dns", dnstest.Start(t, zone).Addr, "--account", d.users[0] + ":" + password,
	}
	submit := func(w int) error { return d.smtp(w, "submission", d.users[w%len(d.users)]) }
	d.works = []works{
		{func(w int) error { return d.smtp(w, "smtp", "") }, 6},
		{submit, 2},
		{d.lmtp, 2},
		{d.append, 3},
		{d.relay, 2},
		{d.read, len(d.users)},
		{d.garden, len(d.users)},
		{d.operate, 1},
	}
	return d
}

// run makes cycles of load, crash and looking back, then stops the server in order and looks once more.
func (d *driver) run(n int) {
	d.t.Helper()
	began := time.Now()
	d.first()
	for i := range n {
		last := d.load()
		d.ledger.crashing(d.power)
		if d.crash(); i == 0 || last < d.fewest {
			d.fewest = last
		}
		d.crashed = append(d.crashed, time.Now())
		d.crashed = d.crashed[max(0, len(d.crashed)-4):]
		if i%8 == 7 {
			d.stillborn()
		}
		d.start()
		d.verify(i%20 == 19)
		if d.t.Failed() {
			d.t.Fatalf("cycle %d failed", i)
		}
	}
	d.verify(true)
	if err := d.srv.Stop(); err != nil {
		d.t.Errorf("graceful stop: %v", err)
	}
	if out, code := d.srv.Postel("check", "--bodies"); code != 0 {
		d.t.Errorf("postel check: %s", out)
	}
	d.t.Logf("%d cycles in %v: %+v; fewest acknowledgements in the last 50 ms: %d", n, time.Since(began).Round(time.Second), d.ledger.total, d.fewest)
}

// first starts with empty data and makes the accounts and mailboxes.
func (d *driver) first() {
	d.t.Helper()
	args := d.args
	for _, u := range d.users[1:] {
		args = append(args, "--account", u+":"+password)
	}
	d.srv = harness.Dev(d.t, args...)
	for _, u := range d.users {
		c, err := dialIMAP(d.srv.Addr("imap"), u)
		if err != nil {
			d.t.Fatal(err)
		}
		for _, name := range mailboxes()[1:] {
			_, _ = c.imap("CREATE %s", name) // it may be there already
		}
		_ = c.Close()
	}
}

// start starts again over what the crash left; the accounts are there.
func (d *driver) start() {
	d.t.Helper()
	d.srv.Forget()
	d.ledger.lit()
	d.srv = harness.Dev(d.t, d.args...)
	d.lives = append(d.lives, d.srv.Log)
}

// stillborn starts a server that is killed while it starts: a crash of the recovery.
func (d *driver) stillborn() {
	d.t.Helper()
	cmd := exec.Command(harness.Binary(d.t), append([]string{"dev", "--port", "smtp=0", "--port", "imap=0"}, d.args...)...)
	for _, p := range []string{"submission", "submissions", "lmtp", "odmr", "imaps", "pop3", "pop3s", "web"} {
		cmd.Args = append(cmd.Args, "--port", p+"=off")
	}
	cmd.Env = append(os.Environ(), "XDG_RUNTIME_DIR="+d.t.TempDir())
	var log bytes.Buffer
	cmd.Stderr = &log
	if err := cmd.Start(); err != nil {
		d.t.Fatal(err)
	}
	time.Sleep(time.Duration(rand.IntN(80)) * time.Millisecond)
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	d.lives = append(d.lives, log.String)
	d.crashed = append(d.crashed, time.Now())
}

// load keeps the server busy until the crash, which comes when this returns: the sessions end by it. It gives the
// acknowledgements in the last 50 ms.
func (d *driver) load() int {
	stop := make(chan struct{})
	var wg sync.WaitGroup
	work := func(fn func(int) error, n int) {
		for w := range n {
			wg.Go(func() {
				for {
					select {
					case <-stop:
						return
					default:
						_ = fn(w) // the connection broke: with the crash, or another follows
					}
				}
			})
		}
	}
	for _, x := range d.works {
		work(x.fn, x.n)
	}
	last := d.waitForLoad()
	crash := d.crash
	d.crash = func() { // the sessions run on until the server is gone
		crash()
		close(stop)
		wg.Wait()
		d.crash = crash
	}
	return last
}

// waitForLoad waits for some time of load and at least 20 acknowledgements in the last 50 ms.
func (d *driver) waitForLoad() int {
	end := time.Now().Add(time.Duration(100+rand.IntN(300)) * time.Millisecond)
	limit := time.Now().Add(time.Minute)
	for {
		time.Sleep(time.Millisecond)
		n := d.ledger.rate(50 * time.Millisecond)
		if time.Now().After(end) && n >= 20 {
			return n
		}
		if time.Now().After(limit) {
			d.t.Errorf("the load never reached 20 acknowledgements in 50 ms; now %d", n)
			d.srv.Dump()
			return n
		}
	}
}
