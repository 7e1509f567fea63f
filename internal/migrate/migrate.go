package migrate

import (
	"context"
	"time"

	"postel/internal/blob"
	"postel/internal/kv"
	"postel/internal/lease"
	"postel/internal/mail"
)

// Side is where the data lies, or is to lie.
type Side struct {
	Name  string // shown to people; no secrets
	Rows  kv.Store
	Large blob.Large // nil: it has none
	// Place tells where large bodies lie; when both sides have the same, they stay there and are not copied.
	Place string
}

// Options say what Run does.
type Options struct {
	From, To Side
	Resume   bool                      // go on with a target that an interrupted run left
	Batch    int                       // rows a transaction; 0 is 5,000
	Progress func(Progress)            // called now and then; may be nil
	Wait     func(time.Duration) error // sleeps; nil is a real sleep. For nodes that may be dead
	TTL      time.Duration             // of leases; 0 is lease.DefaultTTL
}

// Progress is how far a run is.
type Progress struct {
	Phase  string `json:"phase"` // "rows", "bodies" or "verify"
	Table  string `json:"table,omitempty"`
	Rows   int64  `json:"rows"`   // in this phase and run
	Bodies int64  `json:"bodies"` // in this run
	Bytes  int64  `json:"bytes"`  // in this phase and run
}

// Result is what a finished run found equal on both sides.
type Result struct {
	Tables    []Table `json:"tables"`
	Rows      int64   `json:"rows"`
	Bytes     int64   `json:"bytes"`
	Bodies    int64   `json:"bodies"` // large ones
	BodyBytes int64   `json:"body_bytes"`
	Resumed   bool    `json:"resumed,omitempty"`
}

// Run copies and verifies. Kinds: Busy when a server runs on either side, Exists when the target is not empty, Invalid
// when there is nothing to copy or nothing to resume, Internal when the sides differ at the end. After any error the
// target is as it was, or has the mark.
func Run(ctx context.Context, o Options) (Result, error) {
	r := &run{Options: o}
	if r.Batch <= 0 {
		r.Batch = batchRows
	}
	for i, s := range []Side{o.From, o.To} {
		var err error
		if r.dead[i], err = r.idle(ctx, s); err != nil {
			return Result{}, err
		}
	}
	for _, step := range []func(context.Context) error{r.begin, r.rows, r.bodies, r.verify, r.end} {
		if err := step(ctx); err != nil {
			return Result{}, mail.Wrap("migrate", err)
		}
	}
	return r.result, nil
}

// run is one Run.
type run struct {
	Options
	source   [32]byte
	dead     [2]map[uint64]uint64 // beats of nodes that were killed, at either side
	after    kv.Key               // the last key that is in the target
	progress Progress
	result   Result
}

func (r *run) tell() {
	if r.Progress != nil {
		r.Progress(r.progress)
	}
}

// idle fails with Kind Busy when a node is alive on the side's rows. A node that was killed leaves its row, whose beat
// then stands still; those are given.
func (r *run) idle(ctx context.Context, s Side) (dead map[uint64]uint64, err error) {
	dead, err = lease.Beats(ctx, s.Rows)
	if err != nil || len(dead) == 0 {
		return nil, err
	}
	ttl, wait := r.TTL, r.Wait
	if ttl <= 0 {
		ttl = lease.DefaultTTL
	}
	if wait == nil {
		wait = func(d time.Duration) error { return sleep(ctx, d) }
	}
	if err := wait(ttl); err != nil {
		return nil, err
	}
	return dead, still(ctx, s, dead)
}

// still fails with Kind Busy when the side has other nodes, or other beats of these, than those that were seen.
func still(ctx context.Context, s Side, seen map[uint64]uint64) error {
	now, err := lease.Beats(ctx, s.Rows)
	if err != nil {
		return err
	}
	for id, beat := range now {
		if before, known := seen[id]; !known || before != beat {
			return mail.E("migrate", mail.Busy, "a server runs on %s (%s): stop it first", s.Name, lease.NameOf(id))
		}
	}
	return nil
}

func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return &mail.Error{Op: "migrate", Kind: mail.Canceled, Err: ctx.Err()}
	}
}

// end takes the mark away, which makes the target a store.
func (r *run) end(ctx context.Context) error {
	for i, s := range []Side{r.From, r.To} {
		if err := still(ctx, s, r.dead[i]); err != nil {
			return err
		}
	}
	return r.To.Rows.Update(ctx, kv.Txn{Lock: lockServer()}, func(tx kv.Tx) error {
		tx.Delete(markKey())
		return nil
	})
}
