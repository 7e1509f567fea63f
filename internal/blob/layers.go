package blob

import (
	"context"
	"errors"
	"iter"
	"time"

	"postel/internal/mail"
)

// Layers is a Large that writes to one backend and reads from it and an older one: bodies stay readable after an
// operator has chosen another place for new ones. The older one is asked first: it is the nearer.
type Layers struct {
	Now   Large // new objects
	Older Large
}

var _ Large = Layers{}

// Create implements Large.
func (l Layers) Create(ctx context.Context, id mail.ID) (LargeWriter, error) {
	return l.Now.Create(ctx, id)
}

// Open implements Large.
func (l Layers) Open(ctx context.Context, id mail.ID) (LargeObject, error) {
	o, err := l.Older.Open(ctx, id)
	if mail.Is(err, mail.NotFound) {
		return l.Now.Open(ctx, id)
	}
	return o, err
}

// Remove implements Large.
func (l Layers) Remove(ctx context.Context, id mail.ID) error {
	return errors.Join(l.Older.Remove(ctx, id), l.Now.Remove(ctx, id))
}

// List implements Large.
func (l Layers) List(ctx context.Context) iter.Seq2[LargeInfo, error] {
	return func(yield func(LargeInfo, error) bool) {
		for _, one := range []Large{l.Older, l.Now} {
			for info, err := range one.List(ctx) {
				if !yield(info, err) || err != nil {
					return
				}
			}
		}
	}
}

// SweepUnfinished passes on to the backends that have something to sweep.
func (l Layers) SweepUnfinished(ctx context.Context, before time.Time) (int, error) {
	n, err := sweepUnfinished(ctx, l.Older, before)
	k, err2 := sweepUnfinished(ctx, l.Now, before)
	return n + k, errors.Join(err, err2)
}

// sweepUnfinished asks a backend, where what a crash left is not gone by itself, to remove that.
func sweepUnfinished(ctx context.Context, l Large, before time.Time) (int, error) {
	if u, ok := l.(interface {
		SweepUnfinished(context.Context, time.Time) (int, error)
	}); ok {
		return u.SweepUnfinished(ctx, before)
	}
	return 0, nil
}
