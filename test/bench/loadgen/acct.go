package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Accounting of a server's CPU and memory through control groups, so that
// short-lived forked processes count too. Version 1 (separate hierarchies)
// and version 2 (unified) are both understood.

const (
	cgRoot   = "/sys/fs/cgroup"
	benchCPU = "mailbench" // cpu.shares group of servers and clients under test
)

func cgV2() bool {
	_, err := os.Stat(cgRoot + "/cgroup.controllers")
	return err == nil
}

func init() {
	register("cg-exec", "run a server in a control group: -cg name -- cmd args", cgExec)
	register("cg-stat", "print CPU seconds, anonymous memory, PSS and process count of -cg", cgStat)
	register("cg-kill", "end every process in -cg (TERM, then KILL)", cgKill)
	register("wait-ready", "time until -addr answers with a banner", waitReady)
}

func cgExec(args []string) {
	o := newOpts("cg-exec")
	o.fs.Parse(args)
	rest := o.fs.Args()
	if o.cg == "" || len(rest) == 0 {
		fatal("cg-exec needs -cg and a command")
	}
	pid := []byte(strconv.Itoa(os.Getpid()))
	join := func(dir string) {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			fatal("cgroup: %v", err)
		}
		if err := os.WriteFile(dir+"/cgroup.procs", pid, 0o644); err != nil {
			fatal("cgroup: %v", err)
		}
	}
	if cgV2() {
		os.WriteFile(cgRoot+"/cgroup.subtree_control", []byte("+cpu +memory"), 0o644)
		join(filepath.Join(cgRoot, o.cg))
		os.WriteFile(filepath.Join(cgRoot, o.cg, "cpu.weight"), []byte("10000"), 0o644)
	} else {
		join(filepath.Join(cgRoot, "cpuacct", o.cg))
		join(filepath.Join(cgRoot, "memory", o.cg))
		joinBenchCPU()
	}
	path, err := exec.LookPath(rest[0])
	if err != nil {
		fatal("%v", err)
	}
	err = syscall.Exec(path, rest, os.Environ())
	fatal("exec: %v", err)
}

// joinBenchCPU gives the processes under test a large CPU share against
// unrelated work on a shared machine. It does nothing where not possible.
func joinBenchCPU() {
	if cgV2() {
		return
	}
	dir := filepath.Join(cgRoot, "cpu", benchCPU)
	if os.MkdirAll(dir, 0o755) != nil {
		return
	}
	os.WriteFile(dir+"/cpu.shares", []byte("262144"), 0o644)
	os.WriteFile(dir+"/cgroup.procs", []byte(strconv.Itoa(os.Getpid())), 0o644)
}

// cgSum adds up f over a comma-separated list of groups.
func cgSum[T int64 | float64](names string, f func(string) T) (sum T) {
	for _, n := range strings.Split(names, ",") {
		if n != "" {
			sum += f(n)
		}
	}
	return
}

func cgCPU(names string) float64 { return cgSum(names, cgCPU1) }

// cgAnon is the anonymous memory charged to the groups, in bytes.
func cgAnon(names string) int64 { return cgSum(names, cgAnon1) }

func cgCPU1(name string) float64 {
	if cgV2() {
		b, _ := os.ReadFile(filepath.Join(cgRoot, name, "cpu.stat"))
		for _, l := range strings.Split(string(b), "\n") {
			if f := strings.Fields(l); len(f) == 2 && f[0] == "usage_usec" {
				v, _ := strconv.ParseFloat(f[1], 64)
				return v / 1e6
			}
		}
		return 0
	}
	b, _ := os.ReadFile(filepath.Join(cgRoot, "cpuacct", name, "cpuacct.usage"))
	v, _ := strconv.ParseFloat(strings.TrimSpace(string(b)), 64)
	return v / 1e9
}

func cgAnon1(name string) int64 {
	file, key := filepath.Join(cgRoot, "memory", name, "memory.stat"), "rss"
	if cgV2() {
		file, key = filepath.Join(cgRoot, name, "memory.stat"), "anon"
	}
	b, _ := os.ReadFile(file)
	for _, l := range strings.Split(string(b), "\n") {
		if f := strings.Fields(l); len(f) == 2 && f[0] == key {
			v, _ := strconv.ParseInt(f[1], 10, 64)
			return v
		}
	}
	return 0
}

func cgPids(names string) (r []int) {
	for _, n := range strings.Split(names, ",") {
		if n != "" {
			r = append(r, cgPids1(n)...)
		}
	}
	return
}

func cgPids1(name string) []int {
	file := filepath.Join(cgRoot, "cpuacct", name, "cgroup.procs")
	if cgV2() {
		file = filepath.Join(cgRoot, name, "cgroup.procs")
	}
	b, _ := os.ReadFile(file)
	var r []int
	for _, l := range strings.Fields(string(b)) {
		if p, err := strconv.Atoi(l); err == nil && p > 1 {
			r = append(r, p)
		}
	}
	return r
}

// cgPSS adds the proportional set size and resident set size, in bytes.
func cgPSS(name string) (pss, rss int64, procs int) {
	for _, p := range cgPids(name) {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", p))
		if err != nil {
			continue
		}
		procs++
		for _, l := range strings.Split(string(b), "\n") {
			f := strings.Fields(l)
			if len(f) < 2 {
				continue
			}
			v, _ := strconv.ParseInt(f[1], 10, 64)
			switch f[0] {
			case "Pss:":
				pss += v * 1024
			case "Rss:":
				rss += v * 1024
			}
		}
	}
	return
}

func mb(v int64) float64 { return round(float64(v)/(1<<20), 1) }

func cgStat(args []string) {
	o := newOpts("cg-stat")
	o.fs.Parse(args)
	pss, rss, procs := cgPSS(o.cg)
	emit(map[string]any{
		"label": o.label, "cmd": "cg-stat", "cg": o.cg, "cpu_s": round(cgCPU(o.cg), 3),
		"anon_mb": mb(cgAnon(o.cg)), "pss_mb": mb(pss), "rss_sum_mb": mb(rss), "procs": procs,
	})
}

func cgKill(args []string) {
	o := newOpts("cg-kill")
	now := o.fs.Bool("now", false, "KILL at once")
	o.fs.Parse(args)
	if o.cg == "" {
		fatal("cg-kill needs -cg")
	}
	for i := 0; i < 100; i++ {
		pids := cgPids(o.cg)
		if len(pids) == 0 {
			return
		}
		sig := syscall.SIGTERM
		if i > 40 || *now {
			sig = syscall.SIGKILL
		}
		if i%20 == 0 || i > 40 {
			for _, p := range pids {
				syscall.Kill(p, sig)
			}
		}
		time.Sleep(100 * time.Millisecond)
	}
	fatal("processes left in %s", o.cg)
}

func hostBusy() float64 {
	b, _ := os.ReadFile("/proc/stat")
	line, _, _ := strings.Cut(string(b), "\n")
	f := strings.Fields(line)
	var busy float64
	for _, i := range []int{1, 2, 3, 6, 7} { // user nice system irq softirq
		if i < len(f) {
			v, _ := strconv.ParseFloat(f[i], 64)
			busy += v
		}
	}
	return busy / 100
}

// hostSteal is the time the hypervisor ran something else.
func hostSteal() float64 {
	b, _ := os.ReadFile("/proc/stat")
	line, _, _ := strings.Cut(string(b), "\n")
	if f := strings.Fields(line); len(f) > 8 {
		v, _ := strconv.ParseFloat(f[8], 64)
		return v / 100
	}
	return 0
}

func ownCPU() float64 {
	var s float64
	for _, who := range []int{syscall.RUSAGE_SELF, syscall.RUSAGE_CHILDREN} {
		var r syscall.Rusage
		if syscall.Getrusage(who, &r) == nil {
			s += float64(r.Utime.Sec+r.Stime.Sec) + float64(r.Utime.Usec+r.Stime.Usec)/1e6
		}
	}
	return s
}

// meter measures one run: wall clock, server CPU, client CPU, foreign CPU
// and the server's peak anonymous memory.
type meter struct {
	cg             string
	t0             time.Time
	cpu, own, host float64
	steal          float64
	stop           chan struct{}
	wg             sync.WaitGroup
	peak           int64
}

func startMeter(cg string) *meter {
	m := &meter{cg: cg, stop: make(chan struct{})}
	m.cpu, m.own, m.host, m.steal = cgCPU(cg), ownCPU(), hostBusy(), hostSteal()
	if cg != "" {
		m.wg.Add(1)
		go func() {
			defer m.wg.Done()
			for {
				if v := cgAnon(cg); v > m.peak {
					m.peak = v
				}
				select {
				case <-m.stop:
					return
				case <-time.After(200 * time.Millisecond):
				}
			}
		}()
	}
	m.t0 = time.Now()
	return m
}

func (m *meter) done(res map[string]any, perOps int) map[string]any {
	wall := time.Since(m.t0).Seconds()
	cpu, own, host := cgCPU(m.cg)-m.cpu, ownCPU()-m.own, hostBusy()-m.host
	if f := round((hostSteal()-m.steal)/(wall*float64(numCPU())), 3); f > 0 {
		res["steal_frac"] = f
	}
	close(m.stop)
	m.wg.Wait()
	res["wall_s"] = round(wall, 3)
	res["client_cpu_s"] = round(own, 2)
	if m.cg != "" {
		res["server_cpu_s"] = round(cpu, 2)
		if perOps > 0 {
			res["server_cpu_s_per_1000"] = round(cpu*1000/float64(perOps), 3)
		}
		res["server_peak_anon_mb"] = mb(m.peak)
		if f := host - cpu - own; f > 0 {
			res["foreign_cpu_frac"] = round(f/(wall*float64(numCPU())), 3)
		}
	}
	return res
}

func numCPU() int {
	b, _ := os.ReadFile("/proc/stat")
	n := 0
	for _, l := range strings.Split(string(b), "\n") {
		if strings.HasPrefix(l, "cpu") && len(l) > 3 && l[3] >= '0' && l[3] <= '9' {
			n++
		}
	}
	if n == 0 {
		n = 1
	}
	return n
}

// waitReady polls until the server sends a first line. Start it just before
// the server.
func waitReady(args []string) {
	o := newOpts("wait-ready")
	o.parse(args)
	t0 := time.Now()
	for {
		if c, err := o.dial(o.addr); err == nil {
			c.SetDeadline(time.Now().Add(5 * time.Second))
			b := make([]byte, 256)
			if n, err := c.Read(b); err == nil && n > 0 {
				c.Close()
				emit(map[string]any{"label": o.label, "cmd": "wait-ready", "ready_ms": round(float64(time.Since(t0))/1e6, 1)})
				return
			}
			c.Close()
		}
		time.Sleep(2 * time.Millisecond)
	}
}
