package app

import (
	"context"
	"time"

	"postel/internal/mail"
	"postel/internal/space"
	"postel/internal/vfs"
)

// openSpace puts the guard of the disk under all that is kept in the data directory.
func (n *node) openSpace() {
	if n.Config.Storage == "memory" {
		n.fs = vfs.NewMem()
		return
	}
	n.space = space.Open(space.Options{FS: n.fs, Dir: n.Config.Data, Ballast: n.Config.Ballast, Log: n.Log})
	n.fs = n.space.FS()
}

// watchSpace begins to watch, once the data directory is ours; stopSpace ends it. Only a server keeps a ballast: a command
// soon ends, and may not know the configuration.
func (n *node) watchSpace() {
	if n.waits {
		n.space.Keep()
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		n.space.Run(ctx)
		close(done)
	}()
	n.stopSpace = func() {
		cancel()
		<-done
	}
}

// waitRows opens the rows. A server for which there is no room waits until there is.
func (n *node) waitRows(ctx context.Context) (err error) {
	const again = time.Second
	for told := false; ; told = true {
		if err = n.openRows(ctx); !mail.Is(err, mail.Full) || !n.waits {
			return err
		}
		if !told {
			n.Log.Error("the disk is full: the server starts as soon as there is room", "dir", n.Config.Data, "err", err)
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(again):
		}
	}
}

// blobRoom admits octets of a large body.
func (n *node) blobRoom(octets int64) error { return n.space.Take(octets, space.Mail) }

// takesMail is what /readyz tells.
func (n *node) takesMail() error {
	if err := n.storageReady(); err != nil {
		return err
	}
	if n.space.Status().Shut {
		return mail.E("app.ready", mail.Full, "the disk is nearly full: mail can be read, no new mail is taken")
	}
	return nil
}

// reclaim gives back, while the disk is nearly full, what removed mail takes: what is kept for undelete goes too, the
// oldest first and in the end all, as new mail is worth more.
func (n *node) reclaim(ctx context.Context) {
	const every = 2 * time.Second
	t := time.NewTicker(every)
	defer t.Stop()
	for kept := n.Config.Undelete; ; {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		if !n.space.Status().Shut {
			kept = n.Config.Undelete
			continue
		}
		if kept /= 4; kept < time.Minute {
			kept = 0
		}
		n.giveUp(ctx, kept)
		n.collect(ctx)
	}
}

// giveUp removes for good what was expunged longer than age ago.
func (n *node) giveUp(ctx context.Context, age time.Duration) {
	gone, err := n.store.GiveUpExpunged(ctx, age)
	if gone > 0 {
		n.Log.Warn("expunged mail is given up for want of room on the disk", "messages", gone)
	}
	n.failedToFree(ctx, err)
}

// collect removes bodies without an owner and has the engine give their room back.
func (n *node) collect(ctx context.Context) {
	_, err := n.blobs.Collect(ctx)
	n.failedToFree(ctx, err)
	if r, ok := n.kv.(interface{ Reclaim(context.Context) error }); ok {
		n.failedToFree(ctx, r.Reclaim(ctx))
	}
}

func (n *node) failedToFree(ctx context.Context, err error) {
	if err != nil && ctx.Err() == nil && !mail.Is(err, mail.Full) {
		n.Log.Error("making room on the disk failed", "err", err)
	}
}
