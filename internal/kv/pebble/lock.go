package pebble

import (
	"bytes"
	"context"
	"slices"
	"sync"

	"postel/internal/kv"
	"postel/internal/mail"
)

// lockTable holds the locks that someone holds, waits for, or whose last commit is not synced yet.
type lockTable struct {
	mu   sync.Mutex
	m    map[string]*lock
	free []*lock // for reuse, so that a commit allocates no channel
}

// lock is one named lock. Waiters get it in the order of their coming.
type lock struct {
	name    string
	token   chan struct{} // holds one element while the lock is held
	refs    int           // guarded by lockTable.mu
	pending *group        // of the last commit under the lock, if that may be unsynced; guarded by token
}

const maxFreeLocks = 256

// held is a set of locks in key order. Its owner unlocks it (once the commit is in the log) and then releases it
// (once the commit is synced), so that the pending commit stays known until then.
type held struct {
	t      *lockTable
	locks  []*lock
	locked bool
}

// take takes the locks in key order; duplicates are one. It gives up with Kind Canceled when ctx ends, and with
// Kind Unavailable when stop is closed (the caller says why).
func (t *lockTable) take(ctx context.Context, stop <-chan struct{}, keys []kv.Key) (held, error) {
	h := held{t: t, locked: true}
	if len(keys) > 1 && !slices.IsSortedFunc(keys, compare) {
		keys = slices.SortedFunc(slices.Values(keys), compare)
	}
	h.locks = t.refer(keys)
	for i, l := range h.locks {
		select {
		case l.token <- struct{}{}:
			continue
		default:
		}
		var err error
		select {
		case l.token <- struct{}{}:
			continue
		case <-ctx.Done():
			err = &mail.Error{Op: "kv.lock", Kind: mail.Canceled, Err: ctx.Err()}
		case <-stop:
			err = mail.E("kv.lock", mail.Unavailable, "")
		}
		for _, l := range h.locks[:i] {
			<-l.token
		}
		h.locked = false
		h.release()
		return held{}, err
	}
	return h, nil
}

func compare(a, b kv.Key) int { return bytes.Compare(a, b) }

// refer finds or makes the locks of sorted keys and counts a reference to each.
func (t *lockTable) refer(keys []kv.Key) []*lock {
	locks := make([]*lock, 0, len(keys))
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.m == nil {
		t.m = make(map[string]*lock)
	}
	for i, k := range keys {
		if i > 0 && bytes.Equal(k, keys[i-1]) {
			continue
		}
		l := t.m[string(k)]
		if l == nil {
			l = t.create(string(k))
		}
		l.refs++
		locks = append(locks, l)
	}
	return locks
}

func (t *lockTable) create(name string) *lock {
	var l *lock
	if n := len(t.free); n > 0 {
		l, t.free = t.free[n-1], t.free[:n-1]
		l.name = name
	} else {
		l = &lock{name: name, token: make(chan struct{}, 1)}
	}
	t.m[name] = l
	return l
}

// pendings gives the groups that must be synced before anything read under the locks is shown.
func (h *held) pendings() []*group {
	var p []*group
	for _, l := range h.locks {
		if l.pending != nil && !slices.Contains(p, l.pending) {
			p = append(p, l.pending)
		}
	}
	return p
}

// commit makes c the group of the last commit under the locks.
func (h *held) commit(c *group) {
	for _, l := range h.locks {
		l.pending = c
	}
}

// unlock lets the next ones in; again it does nothing.
func (h *held) unlock() {
	if !h.locked {
		return
	}
	h.locked = false
	for _, l := range h.locks {
		<-l.token
	}
}

// release unlocks, and forgets the locks that nobody else knows.
func (h *held) release() {
	h.unlock()
	t := h.t
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, l := range h.locks {
		if l.refs--; l.refs > 0 {
			continue
		}
		delete(t.m, l.name)
		l.pending, l.name = nil, ""
		if len(t.free) < maxFreeLocks {
			t.free = append(t.free, l)
		}
	}
	h.locks = nil
}
