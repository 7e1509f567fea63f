package search

import (
	"context"
	"time"

	"postel/internal/mail"
)

// Want has Run bring an account's index up to date.
func (x *Index) Want(a mail.AccountID) {
	x.mu.Lock()
	x.wanted[a] = true
	x.mu.Unlock()
	select {
	case x.wake <- struct{}{}:
	default:
	}
}

func (x *Index) next() (mail.AccountID, bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for a := range x.wanted {
		delete(x.wanted, a)
		return a, true
	}
	return 0, false
}

// Pauses of Run after something failed, as when the disk is full.
const (
	firstPause = 5 * time.Second
	lastPause  = 5 * time.Minute
)

// Run builds what is wanted, one account at a time and with the power of half a processor, until ctx ends. What a
// full disk or a store that is gone refuses is tried again later.
func (x *Index) Run(ctx context.Context) {
	pause := firstPause
	for ctx.Err() == nil {
		a, ok := x.next()
		if !ok {
			select {
			case <-x.wake:
			case <-ctx.Done():
			}
			continue
		}
		err := x.bring(ctx, a)
		if err == nil || mail.Is(err, mail.NotFound) {
			pause = firstPause
			continue
		}
		if ctx.Err() != nil {
			return
		}
		x.o.Log.Warn("search: the text index is not up to date, searches take longer", "account", uint64(a), "err", err, "again", pause)
		x.Want(a)
		rest(ctx, pause)
		pause = min(2*pause, lastPause)
	}
}

// bring brings an account's index up to date, but for a few emails.
func (x *Index) bring(ctx context.Context, a mail.AccountID) error {
	for {
		began := time.Now()
		more, err := x.step(ctx, a, x.o.Least)
		if err != nil || !more {
			return err
		}
		if !x.o.Busy {
			rest(ctx, time.Since(began))
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
}

func rest(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}
