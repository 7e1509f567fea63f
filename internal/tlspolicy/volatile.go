package tlspolicy

import (
	"context"
	"maps"
	"sync"

	"postel/internal/mail"
)

// Volatile is a Memory that lasts as long as the process: for commands, and for tests. The zero value is empty.
type Volatile struct {
	mu sync.Mutex
	m  map[mail.Domain]Remembered
}

// Load implements Memory.
func (v *Volatile) Load(_ context.Context, d mail.Domain) (Remembered, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.m[d], nil
}

// Change implements Memory.
func (v *Volatile) Change(_ context.Context, d mail.Domain, _ bool, fn func(*Remembered)) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	r := v.m[d]
	fn(&r)
	if v.m == nil {
		v.m = map[mail.Domain]Remembered{}
	}
	if v.m[d] = r; r.Empty() {
		delete(v.m, d)
	}
	return nil
}

// All implements Memory.
func (v *Volatile) All(_ context.Context, fn func(d mail.Domain, r Remembered)) error {
	v.mu.Lock()
	all := maps.Clone(v.m)
	v.mu.Unlock()
	for d, r := range all {
		fn(d, r)
	}
	return nil
}
