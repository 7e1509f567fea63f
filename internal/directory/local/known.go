package local

import (
	"context"
	"sync"

	"postel/internal/kv"
)

// table remembers what was read from the rows until the directory changes: each message asks three times who its
// recipient is, and the answer is nearly always the same. Only what exists is remembered.
type table[K comparable, V any] struct {
	mu  sync.RWMutex
	gen uint64  // how often the directory has changed
	m   map[K]V // nil: nothing is remembered
}

// maxKnown is how many entries a table has at most; one more, and it begins anew.
const maxKnown = 4096

// get gives what is remembered, or else reads it. What was read while the directory changed is not kept. The value is
// shared: do not change it.
func (t *table[K, V]) get(k K, read func() (V, error)) (V, error) {
	t.mu.RLock()
	v, ok := t.m[k]
	gen := t.gen
	t.mu.RUnlock()
	if ok {
		return v, nil
	}
	v, err := read()
	if err != nil {
		return v, err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.m != nil && t.gen == gen {
		if len(t.m) >= maxKnown {
			clear(t.m)
		}
		t.m[k] = v
	}
	return v, nil
}

func (t *table[K, V]) forget() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.gen++
	clear(t.m)
}

// watched tells of every transaction through it once it is over, also of one that failed: it may be there all the same.
type watched struct {
	kv.Store
	changed func()
}

func (w watched) Update(ctx context.Context, t kv.Txn, fn func(kv.Tx) error) error {
	defer w.changed()
	return w.Store.Update(ctx, t, fn)
}

// changed forgets what was read before.
func (d *Directory) changed() {
	d.targets.forget()
	d.accounts.forget()
	d.domains.forget()
}

// Update runs a transaction that adds or removes accounts, as Store.Update of kv.
func (d *Directory) Update(ctx context.Context, t kv.Txn, fn func(kv.Tx) error) error {
	return d.o.KV.Update(ctx, t, fn)
}
