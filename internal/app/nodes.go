package app

import (
	"context"
	"time"

	"postel/internal/config"
	"postel/internal/lease"
)

// Where the rows lie in a database several nodes may share them: each is a member, works on its share of the queue, and
// does now and then what all of them would do alike.

// shared tells that other nodes may use the same rows.
func (n *node) shared() bool { return config.IsDatabase(n.Config.Storage) }

// join makes this process one of the nodes.
func (n *node) join(ctx context.Context) (err error) {
	if !n.shared() || n.offline {
		return nil
	}
	n.nodes, err = lease.Join(ctx, lease.Options{
		KV: n.kv, Bus: n.bus, Name: string(n.Config.Hostname), Clock: n.clock, Log: n.Log, Joined: n.ids.Share,
	})
	return err
}

// follow has the queue take its share of the partitions, at once and at each change.
func (n *node) follow(ctx context.Context) error {
	if n.nodes == nil {
		return nil
	}
	others := 0
	n.nodes.Follow(func(ctx context.Context, m []lease.Member) {
		if len(m) > 1 && others <= 1 && n.bucket == nil {
			n.Log.Warn("large bodies are files, which other nodes find only where all share that directory; storage.blobs may name a bucket", "nodes", len(m))
		}
		others = len(m)
		if err := n.queue.Balance(ctx, len(m)); err != nil && ctx.Err() == nil {
			n.Log.Warn("the queue cannot be divided among the nodes", "err", err)
		}
	})
	return n.nodes.Tick(ctx)
}

// leave frees what this node holds. Nothing is worked on any more.
func (n *node) leave() {
	if n.nodes == nil {
		return
	}
	const patience = 3 * time.Second
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := n.nodes.Leave(ctx); err != nil {
		n.Log.Warn("other nodes will take this one for dead before they take its share over", "err", err)
	}
}

// only runs fn if no other node is at it: what all would do alike.
func (n *node) only(ctx context.Context, name string, fn func()) {
	if n.nodes == nil {
		fn()
		return
	}
	l, err := n.nodes.Take(ctx, 1, name)
	if err != nil || len(l) == 0 {
		return
	}
	fn()
	if err := n.nodes.Give(context.WithoutCancel(ctx), l...); err != nil {
		n.Log.Warn("a lease could not be given back", "lease", name, "err", err)
	}
}

// resumeJobs finishes what was interrupted. Where nodes share the rows it may be another's that is at it: then only what
// has been there for a while is done, from time to time.
func (n *node) resumeJobs(ctx context.Context) error {
	if !n.shared() {
		return n.store.ResumeJobs(ctx)
	}
	return nil
}

// resumeOthers does the jobs that nodes left which are gone.
func (n *node) resumeOthers(ctx context.Context) {
	const every, age = time.Minute, 10 * time.Minute
	if n.nodes == nil {
		return
	}
	t := time.NewTicker(every)
	defer t.Stop()
	for {
		if err := n.store.ResumeStale(ctx, age); err != nil && ctx.Err() == nil {
			n.Log.Warn("jobs that another node left cannot be done", "err", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
	}
}
