package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"runtime/debug"
	"slices"
	"sync"
	"time"

	"postel/internal/config"
	"postel/internal/tool"
)

// How long sessions and deliveries get to end: at a stop, and once the store has failed.
const (
	stopTime = 8 * time.Second
	failTime = 2 * time.Second
	exitTime = 4 * time.Second // from the failure to the end of the process at the latest
)

// run opens, serves and stops a node; it returns when ctx ends or the store fails.
func run(ctx context.Context, env *tool.Env, o Options) error {
	level := slog.LevelInfo
	if env.Quiet {
		level = slog.LevelWarn
	}
	o.Log = slog.New(slog.NewTextHandler(env.Err, &slog.HandlerOptions{Level: level}))
	o.waits = true
	n, err := openStorage(ctx, o)
	if err != nil {
		return err
	}
	if err := n.start(ctx); err != nil {
		n.leave()
		return errors.Join(err, n.closeStorage())
	}
	if err := n.ready(env); err != nil {
		return errors.Join(err, n.stop(stopTime))
	}
	debug.FreeOSMemory() // hashing the passwords of dev's accounts took tens of MiB that rest does not need
	select {
	case <-ctx.Done():
		return n.stop(stopTime)
	case <-n.failed():
		err := fmt.Errorf("the store failed and serves no more: %w", n.storageReady())
		n.Log.Error("ending, to be restarted", "err", err)
		time.AfterFunc(exitTime, func() { os.Exit(tool.Found) }) // whatever hangs on the broken disk
		time.Sleep(time.Second)                                  // sessions give their coded replies
		return errors.Join(err, n.stop(failTime))
	}
}

// start binds all listeners, builds the roles and lets every server answer.
func (n *node) start(ctx context.Context) error {
	for _, name := range config.Listeners() {
		if addr := n.Config.Listen[name]; addr != "" {
			if err := n.bind(ctx, name, addr); err != nil {
				return errors.Join(err, n.unbind())
			}
		}
	}
	if err := n.build(ctx); err != nil {
		return errors.Join(err, n.unbind())
	}
	if err := n.follow(ctx); err != nil {
		return errors.Join(err, n.unbind())
	}
	n.work()
	for _, s := range n.servers {
		go func() {
			if err := s.serve(s.ln); err != nil {
				n.Log.Error("listener broke", "listener", s.name, "err", err)
			}
		}()
	}
	return nil
}

// work starts what runs beside the listeners: the queue, and the sweeping of bodies that nothing links. stopWork
// ends it and waits.
func (n *node) work() {
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() {
		if err := n.mta.Run(ctx); err != nil {
			n.Log.Error("the queue stopped", "err", err)
		}
	})
	running.Go(func() { n.sweep(ctx) })
	running.Go(func() { n.followRoutes(ctx) })
	if n.index != nil {
		running.Go(func() { n.index.Run(ctx) })
	}
	if n.fetch != nil {
		running.Go(func() { n.fetch.Run(ctx) })
	}
	running.Go(func() { n.tlsReports.Run(ctx) })
	running.Go(func() { n.reclaim(ctx) })
	running.Go(func() { n.resumeOthers(ctx) })
	alive, die := context.WithCancel(context.Background()) // longer than what is under way
	var living sync.WaitGroup
	if n.nodes != nil {
		living.Go(func() { n.nodes.Run(alive) })
	}
	n.stopWork = func() {
		cancel()
		running.Wait()
		n.policies.Close()
		if err := n.tlsReports.Flush(context.Background()); err != nil {
			n.Log.Warn("what sessions' TLS came to is lost", "err", err)
		}
		die()
		living.Wait()
	}
}

// sweep removes expunged mail whose time is over and large bodies that no commit names, from time to time. A body younger than sweepAge may be one whose
// commit is under way.
func (n *node) sweep(ctx context.Context) {
	const sweepEvery, sweepAge = time.Hour, time.Hour
	t := time.NewTicker(sweepEvery)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		n.only(ctx, "sweep", func() {
			n.sweepOnce(ctx, sweepAge)
			if err := n.tlsKeeper.Tend(ctx); err != nil && ctx.Err() == nil {
				n.Log.Error("what is remembered of TLS cannot be tended", "err", err)
			}
		})
	}
}

// sweepOnce removes what was expunged long enough ago, then bodies without an owner.
func (n *node) sweepOnce(ctx context.Context, age time.Duration) {
	if removed, err := n.store.SweepExpunged(ctx); err != nil && ctx.Err() == nil {
		n.Log.Error("removing what was expunged failed", "err", err)
	} else if removed > 0 {
		n.Log.Info("what was expunged is gone for good", "messages", removed)
	}
	if removed, err := n.blobs.Sweep(ctx, age); err != nil && ctx.Err() == nil {
		n.Log.Error("sweeping bodies failed", "err", err)
	} else if removed > 0 {
		n.Log.Info("bodies without an owner were removed", "files", removed)
	}
}

// stop ends sessions, then deliveries, then the storage.
func (n *node) stop(within time.Duration) error {
	ctx, cancel := context.WithTimeout(context.Background(), within)
	defer cancel()
	done := make(chan struct{}, len(n.servers))
	for _, s := range n.servers {
		go func() {
			if err := s.shutdown(ctx); err != nil {
				n.Log.Warn("sessions were cut off", "listener", s.name)
			}
			done <- struct{}{}
		}()
	}
	n.stopWork()
	for range n.servers {
		<-done
	}
	n.leave()
	n.removeSockets()
	return n.closeStorage()
}

// Ready is what `postel dev --json` prints once everything answers.
type Ready struct {
	Ready    bool           `json:"ready"`
	Host     string         `json:"host"`
	Ports    map[string]int `json:"ports"`
	Accounts []string       `json:"accounts"`
	Data     string         `json:"data"`
	Web      string         `json:"web,omitempty"`
}

func (n *node) ready(env *tool.Env) error {
	if n.Dev == nil {
		n.Log.Info("ready", "hostname", n.Config.Hostname, "version", n.Version)
		return nil
	}
	r := Ready{Ready: true, Host: n.Dev.Host.String(), Ports: n.ports(), Accounts: []string{}, Data: n.Config.Data}
	if port, ok := r.Ports["web"]; ok {
		r.Web = fmt.Sprintf("http://%s", net.JoinHostPort(r.Host, fmt.Sprint(port)))
	}
	for _, a := range n.Dev.Accounts {
		r.Accounts = append(r.Accounts, a.Address.String())
	}
	if env.JSON {
		return env.Print(r, "")
	}
	_, err := fmt.Fprint(env.Out, n.welcome(r))
	return err
}

// ports gives the ports of the listeners on TCP.
func (n *node) ports() map[string]int {
	ports := map[string]int{}
	for name, ln := range n.listeners {
		if a, ok := ln.Addr().(*net.TCPAddr); ok {
			ports[name] = a.Port
		}
	}
	return ports
}

// welcome tells a person what runs and how to try it.
func (n *node) welcome(r Ready) string {
	s := fmt.Sprintf("Postel runs on %s; stop it with Ctrl-C.\n", r.Host)
	for _, name := range config.Listeners() {
		if port, ok := r.Ports[name]; ok {
			s += fmt.Sprintf("  %-12s %d\n", name, port)
		}
	}
	s += "accounts:"
	for _, a := range n.Dev.Accounts {
		s += fmt.Sprintf(" %s (password %s)", a.Address, a.Password)
	}
	if n.catcher != 0 {
		s += fmt.Sprintf("\nall other mail is caught: `postel inbox list`, or log in as catch@%s with any password", n.Config.Domains[0].Name)
	}
	return s + fmt.Sprintf("\ndata: %s\n", r.Data)
}

func (n *node) removeSockets() {
	if n.unlinkDev != nil {
		n.unlinkDev()
	}
	for _, path := range slices.Backward(n.socketPaths()) {
		_ = os.Remove(path)
	}
}
