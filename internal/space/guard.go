package space

import (
	"context"
	"log/slog"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"postel/internal/mail"
	"postel/internal/vfs"
)

// Defaults of Options.
const (
	DefaultReserve = 64 << 20
	lookEvery      = 250 * time.Millisecond
	lookAgain      = 5 * time.Millisecond // the least age of a look that is done anew on demand
)

// Options say what is watched. FS and Dir are needed.
type Options struct {
	FS      vfs.FS
	Dir     string           // the data directory; it exists
	Ballast int64            // octets of the ballast; 0 is none
	Reserve int64            // octets below which no new mail is taken; 0 is 64 MiB
	Clock   func() time.Time // nil is time.Now
	Log     *slog.Logger     // nil is none
}

// Guard watches one disk. Safe for concurrent use; a nil one admits everything.
type Guard struct {
	o  Options
	fs vfs.FS // with the callback

	left atomic.Int64 // octets free at the last look, less what was admitted since
	free atomic.Int64 // octets free at the last look
	shut atomic.Bool  // no new mail
	dire atomic.Bool  // no writes at all, for the log

	mu      sync.Mutex // the looks and the ballast
	looked  time.Time
	blind   bool // the file system does not tell
	ballast bool // it lies there whole
	keeps   bool // we see to it that it does
	broken  bool // it cannot be written, for reasons other than room
}

// Open looks. It changes nothing, so that another process may use the directory; but should the first writes by FS find
// the disk full, a ballast that lies there is given up.
func Open(o Options) *Guard {
	if o.Reserve <= 0 {
		o.Reserve = DefaultReserve
	}
	if o.Clock == nil {
		o.Clock = time.Now
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	g := &Guard{o: o}
	g.fs = vfs.OnDiskFull(o.FS, g.full)
	g.mu.Lock()
	defer g.mu.Unlock()
	g.seeBallast()
	g.look()
	return g
}

// Keep makes the guard keep the ballast from now on: it writes it where there is room, and removes one of another size.
// To be called once the directory is held by this process alone.
func (g *Guard) Keep() {
	if g == nil {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.keeps = true
	g.adoptBallast()
	g.restore()
	g.look()
}

// FS gives the file system to write by: at its first ENOSPC the ballast is given up and the write done again.
func (g *Guard) FS() vfs.FS { return g.fs }

// reopens is the level at which new mail is taken again.
func (g *Guard) reopens() int64 { return g.o.Reserve + g.o.Reserve/4 }

// stops is the level of the engine's last room. A small ballast lowers it: given up on a disk that another program filled to
// the end, it must still lead above this level.
func (g *Guard) stops() int64 {
	if g.o.Ballast > 0 {
		return min(g.o.Reserve, g.o.Ballast) / 2
	}
	return g.o.Reserve / 2
}

// Run looks until ctx ends.
func (g *Guard) Run(ctx context.Context) {
	if g == nil {
		return
	}
	t := time.NewTicker(lookEvery)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		g.Look()
	}
}

// Look looks now, and writes the ballast anew where there is room.
func (g *Guard) Look() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.seeBallast()
	g.restore()
	g.look()
}

// look learns what is free and draws the consequences. Under the lock.
func (g *Guard) look() {
	g.judge(g.measure())
}

// measure learns what is free. Under the lock.
func (g *Guard) measure() int64 {
	g.looked = g.o.Clock()
	free, err := vfs.Free(g.o.FS, g.o.Dir)
	if err != nil {
		if !g.blind {
			g.o.Log.Warn("the room on the disk is unknown: nothing is refused before it is full", "err", err)
		}
		g.blind, free = true, math.MaxInt64/2
	} else {
		g.blind = false
	}
	g.left.Store(free)
	g.free.Store(free)
	return free
}

// judge says when a level is crossed. Under the lock.
func (g *Guard) judge(free int64) {
	wants := g.reopens()
	if g.wantsBallast() {
		wants += g.o.Ballast
	}
	switch shut := g.shut.Load(); { // free may be what would be left
	case !shut && (free < g.o.Reserve || g.wantsBallast()):
		g.shut.Store(true)
		g.o.Log.Warn("the disk is nearly full: no new mail is taken", "free", free, "wanted", wants, "dir", g.o.Dir)
	case shut && free >= g.reopens() && !g.wantsBallast():
		g.shut.Store(false)
		g.o.Log.Info("there is room on the disk again: new mail is taken", "free", free)
	}
	switch dire := g.dire.Load(); {
	case !dire && free < g.stops():
		g.dire.Store(true)
		g.o.Log.Error("the disk is full: mail can be read, nothing else", "free", free, "wanted", wants, "dir", g.o.Dir)
	case dire && free >= g.stops():
		g.dire.Store(false)
	}
}

// Room tells whether a new message of n octets (0: unknown) may come: there must be twice its size beyond the reserve.
// It takes nothing. Kind Full.
func (g *Guard) Room(n int64) error {
	if g == nil || !g.shut.Load() && g.admit(0, g.o.Reserve+2*min(max(n, 0), math.MaxInt64/4)) {
		return nil
	}
	return full()
}

// Use says what octets are written for.
type Use byte

// The uses.
const (
	Mail  Use = iota // what is new: down to the reserve
	Frees            // what makes room or ends work: down to the engine's last room, with that of the ballast if need be
	Tidy             // compactions: as Frees, but without the ballast's
)

// Take admits that n octets are written now. Kind Full: they may not be.
func (g *Guard) Take(n int64, use Use) error {
	switch {
	case g == nil:
		return nil
	case use == Mail:
		if g.shut.Load() || !g.admit(n, g.o.Reserve) {
			return g.refused(n)
		}
		return nil
	case g.admit(n, g.stops()) || use == Frees && g.spend() && g.admit(n, g.stops()):
		return nil
	}
	return full()
}

// refused refuses new mail of n octets. When it was not very large, what comes next needs not be sent to learn the same.
func (g *Guard) refused(n int64) error {
	if n <= g.o.Reserve/32 && !g.shut.Load() {
		g.mu.Lock()
		defer g.mu.Unlock()
		g.judge(g.left.Load() - n)
	}
	return full()
}

// admit subtracts n if level is left beyond it, after a look where the last one said no.
func (g *Guard) admit(n, level int64) bool {
	if g.left.Add(-n) >= level {
		return true
	}
	g.left.Add(n)
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.o.Clock().Sub(g.looked) >= lookAgain {
		g.look()
	}
	if g.left.Load()-n < level {
		return false
	}
	g.left.Add(-n)
	return true
}

// full is what is said to those who are refused (RFC 3463 §3.4, X.3.1).
func full() error {
	return &mail.Error{Op: "space", Kind: mail.Full, Code: mail.Enhanced{4, 3, 1}, Text: "insufficient system storage, try again later"}
}

// Status is what an operator may know.
type Status struct {
	Free    int64 // octets at the last look, the ballast not counted
	Ballast bool  // it lies there
	Shut    bool  // no new mail is taken
}

// Status gives what the last look said. A nil Guard knows nothing.
func (g *Guard) Status() Status {
	if g == nil {
		return Status{}
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	return Status{Free: g.free.Load(), Ballast: g.ballast, Shut: g.shut.Load()}
}
