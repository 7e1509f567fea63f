package main

import (
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

func init() {
	register("fsync", "disk sync micro-benchmark: -dir -mode append|create|group -c -size -secs", fsyncCmd)
}

// fsyncCmd measures what durable writes cost here.
//
//	append: each of -c writers appends -size bytes to its own file and calls fdatasync
//	create: each writer creates a file, writes, fsyncs, renames it (maildir)
//	group:  -c writers hand records to one log file, written before; one fdatasync covers all that wait
func fsyncCmd(args []string) { //nolint:funlen // one measurement, told in order
	o := newOpts("fsync")
	dir := o.fs.String("dir", ".", "directory to write in")
	mode := o.fs.String("mode", "append", "append, create or group")
	secs := o.fs.Float64("secs", 3, "seconds")
	o.parse(args)
	joinBenchCPU()
	d, err := os.MkdirTemp(*dir, "fsync")
	if err != nil {
		fatal("%v", err)
	}
	defer os.RemoveAll(d)
	data := make([]byte, o.size)
	for i := range data {
		data[i] = byte(i*7 + 13)
	}
	var ops, syncs atomic.Int64
	end := time.Now().Add(time.Duration(*secs * float64(time.Second)))
	t0 := time.Now()
	var wg sync.WaitGroup
	lats := make([][]time.Duration, o.c)
	var log *groupLog
	if *mode == "group" {
		log = newGroupLog(d, &syncs)
	}
	for w := 0; w < o.c; w++ {
		wg.Add(1)
		go func() {
			defer wg.Done()
			var f *os.File
			if *mode == "append" {
				f, err = os.Create(filepath.Join(d, fmt.Sprint("w", w)))
				if err != nil {
					fatal("%v", err)
				}
				defer f.Close()
			}
			for i := 0; time.Now().Before(end); i++ {
				t := time.Now()
				switch *mode {
				case "append":
					f.Write(data)
					syscall.Fdatasync(int(f.Fd()))
					syncs.Add(1)
				case "create":
					p := filepath.Join(d, fmt.Sprintf("%d.%d.tmp", w, i))
					nf, err := os.Create(p)
					if err != nil {
						fatal("%v", err)
					}
					nf.Write(data)
					nf.Sync()
					nf.Close()
					os.Rename(p, filepath.Join(d, fmt.Sprintf("%d.%d", w, i)))
					syncs.Add(1)
				case "group":
					log.append(data)
				}
				ops.Add(1)
				lats[w] = append(lats[w], time.Since(t))
			}
		}()
	}
	wg.Wait()
	wall := time.Since(t0).Seconds()
	var all []time.Duration
	for _, l := range lats {
		all = append(all, l...)
	}
	emit(map[string]any{
		"label": o.label, "cmd": "fsync", "mode": *mode, "c": o.c, "size": o.size,
		"ops_per_s": round(float64(ops.Load())/wall, 0), "syncs_per_s": round(float64(syncs.Load())/wall, 0),
		"p50_ms": pct(all, .5), "p99_ms": pct(all, .99),
	})
}

// groupLog is the least that durable mail costs: one file, whose room is taken beforehand and used again, and one
// fdatasync for all records that wait.
type groupLog struct {
	submit chan record
}

type record struct {
	data []byte
	done chan struct{}
}

const groupLogRoom = 64 << 20

// newGroupLog makes a log in dir and counts its syncs.
func newGroupLog(dir string, syncs *atomic.Int64) *groupLog {
	f, err := os.Create(filepath.Join(dir, "log"))
	if err == nil {
		_, err = f.Write(make([]byte, groupLogRoom))
	}
	if err == nil {
		err = f.Sync()
	}
	if err != nil {
		fatal("%v", err)
	}
	g := &groupLog{submit: make(chan record, 10000)}
	go g.run(f, syncs)
	return g
}

func (g *groupLog) run(f *os.File, syncs *atomic.Int64) {
	var at int64
	for first := range g.submit {
		batch := append(make([]record, 0, 64), first)
		for more := true; more && len(batch) < 1000; {
			select {
			case r := <-g.submit:
				batch = append(batch, r)
			default:
				more = false
			}
		}
		var buf []byte
		for _, r := range batch {
			buf = append(buf, r.data...)
		}
		if at+int64(len(buf)) > groupLogRoom {
			at = 0
		}
		_, err := f.WriteAt(buf, at)
		if err == nil {
			err = syscall.Fdatasync(int(f.Fd()))
		}
		if err != nil {
			fatal("%v", err)
		}
		at += int64(len(buf))
		syncs.Add(1)
		for _, r := range batch {
			r.done <- struct{}{}
		}
	}
}

// append returns when data is on the disk.
func (g *groupLog) append(data []byte) {
	r := record{data, make(chan struct{}, 1)}
	g.submit <- r
	<-r.done
}
