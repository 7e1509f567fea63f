package main

import (
	"os/exec"
	"time"
)

func init() {
	register("relay", "send -n messages and receive them again on a null sink (-sink): an own one, or Postfix's smtp-sink (-smtp-sink)", relayCmd)
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
	atOnce := openAt(*listen)
	drain := startMeter(j.cg)
	if *gate {
		k.open()
		if *kick != "" {
			exec.Command("sh", "-c", *kick).Run()
		}
	}
	awaitRelay(k, r, *wait, func() { atOnce = max(atOnce, openAt(*listen)) })
	got, last := k.got()
	res["relayed"] = got
	if got > 0 {
		res["relayed_per_s"] = round(float64(got)/last.Sub(m.t0).Seconds(), 1)
	}
	if *gate && got > 0 {
		drained := drain.done(map[string]any{}, int(got))
		res["drain_per_s"] = round(float64(got)/last.Sub(drain.t0).Seconds(), 1)
		res["drain_peak_anon_mb"], res["drain_cpu_s_per_1000"] = drained["server_peak_anon_mb"], drained["server_cpu_s_per_1000"]
	}
	res["sink_conns"], res["sink_conns_at_once"] = k.conns(), atOnce
	emit(m.done(res, r.accepted))
}

// awaitRelay waits until all that was accepted has come, or nothing comes any more; look is called ever again.
func awaitRelay(k target, r sendResult, wait time.Duration, look func()) {
	lastN, lastT := int64(-1), time.Now()
	for i := 0; time.Since(lastT) < wait; i++ {
		if i%10 == 0 {
			look()
		}
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
