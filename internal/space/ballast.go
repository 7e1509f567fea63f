package space

import (
	"errors"
	"math/rand/v2"

	"postel/internal/vfs"
)

// ballastName is the file of the data directory that is there to be removed.
const ballastName = "ballast"

func (g *Guard) ballastPath() string { return g.o.FS.PathJoin(g.o.Dir, ballastName) }

// seeBallast learns whether the ballast lies there: an operator may remove it too. Under the lock.
func (g *Guard) seeBallast() {
	_, err := g.o.FS.Stat(g.ballastPath())
	g.ballast = err == nil
}

// adoptBallast removes what is not the ballast that is wanted. Under the lock.
func (g *Guard) adoptBallast() {
	_ = g.o.FS.Remove(g.ballastPath() + ".tmp") // left by a crash
	info, err := g.o.FS.Stat(g.ballastPath())
	if err != nil || g.fits(vfs.Allocated(info)) {
		return
	}
	if err := g.o.FS.Remove(g.ballastPath()); err != nil {
		g.o.Log.Error("the ballast cannot be removed", "err", err)
	}
	g.seeBallast()
}

// fits tells whether a file that takes these octets of the disk is the ballast; the file system may add a little of its own.
func (g *Guard) fits(allocated int64) bool {
	return g.o.Ballast > 0 && allocated >= g.o.Ballast && allocated <= g.o.Ballast+g.o.Ballast/64+64<<10
}

// wantsBallast tells whether it is missing. Under the lock.
func (g *Guard) wantsBallast() bool {
	return g.keeps && g.o.Ballast > 0 && !g.ballast && !g.blind && !g.broken
}

// release gives the ballast up. Under the lock.
func (g *Guard) release(why string, value any) {
	if !g.ballast {
		return
	}
	if err := g.o.FS.Remove(g.ballastPath()); err != nil && !vfs.IsNotExist(err) {
		g.o.Log.Error("the ballast cannot be removed", "err", err)
		return
	}
	g.ballast = false
	g.o.Log.Warn("the ballast is given up, so that what makes room can be committed", "octets", g.o.Ballast, why, value)
}

// spend gives the ballast up for what makes room; false when there is none.
func (g *Guard) spend() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.ballast {
		return false
	}
	g.release("free", g.free.Load())
	g.look()
	return true
}

// full is called at the first ENOSPC, while all writing waits.
func (g *Guard) full() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.release("why", "a write met the end of the disk")
	g.look()
}

// restore writes the ballast anew where it is missing and there is room for it. Under the lock.
func (g *Guard) restore() {
	if !g.wantsBallast() || g.measure() < g.o.Ballast+g.reopens() {
		return
	}
	if err := g.writeBallast(); vfs.IsNoSpace(err) {
		return // somebody was faster
	} else if err != nil {
		g.broken = true
		g.o.Log.Error("the ballast cannot be written: a full disk will be harder to clear", "err", err)
		return
	}
	if g.shut.Load() {
		g.o.Log.Info("the ballast lies there again", "octets", g.o.Ballast)
	}
	g.ballast = true
}

// writeBallast allocates it for real: where the file system cannot do that by itself, by writing what no file system can
// compress.
func (g *Guard) writeBallast() error {
	temp := g.ballastPath() + ".tmp"
	f, err := vfs.Create(g.o.FS, temp)
	if err != nil {
		return err
	}
	if err = g.fill(f); err != nil {
		err = errors.Join(err, f.Close())
	} else {
		err = vfs.Publish(g.o.FS, f, temp, g.ballastPath())
	}
	if err != nil {
		_ = g.o.FS.Remove(temp) // it would only be in the way
	}
	return err
}

func (g *Guard) fill(f vfs.File) error {
	if err := f.Preallocate(0, g.o.Ballast); err == nil {
		if info, err := f.Stat(); err == nil && vfs.Allocated(info) >= g.o.Ballast {
			_, err = f.WriteAt([]byte{0}, g.o.Ballast-1) // so that its length shows too
			return err
		}
	}
	piece := make([]byte, 1<<20)
	noise := rand.NewPCG(rand.Uint64(), rand.Uint64())
	for left := g.o.Ballast; left > 0; {
		for i := 0; i+8 <= len(piece); i += 8 {
			v := noise.Uint64()
			for j := range 8 {
				piece[i+j] = byte(v >> (8 * j))
			}
		}
		n, err := f.Write(piece[:min(left, int64(len(piece)))])
		if err != nil {
			return err
		}
		left -= int64(n)
	}
	return nil
}
