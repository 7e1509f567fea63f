package app

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"postel/internal/admin"
	"postel/internal/blob"
	"postel/internal/check"
	"postel/internal/kv"
	"postel/internal/kv/pebble"
	"postel/internal/mail"
	"postel/internal/queue"
	"postel/internal/store"
	"postel/internal/upgrade"
)

// migrations lists how older formats become the newest one, in order. Their owners make them.
func migrations() []upgrade.Migration {
	return []upgrade.Migration{{To: 2, Name: "parameters of ESMTP in the queue", Step: queue.Upgrade2}}
}

// formats are the migrations in force.
func (n *node) formats() []upgrade.Migration {
	if n.Migrations != nil {
		return n.Migrations
	}
	return migrations()
}

// snapshots are the copies of the rows from before an upgrade: links, which cost room only as the rows change.
const (
	snapshotName = "before-format-"
	snapshotKept = 7 * 24 * time.Hour
	dryRunName   = "upgrade-dry-run"
)

// checkpointer is a backend that can copy itself in no time.
type checkpointer interface {
	Checkpoint(ctx context.Context, dir string) error
	RaiseFormat(uint32) error
}

// upgradeRows brings the rows to the format of this program, and removes snapshots of older upgrades.
func (n *node) upgradeRows(ctx context.Context) error {
	err := upgrade.Run(ctx, upgrade.Options{
		KV: n.kv, Migrations: n.formats(), Prepare: n.prepareUpgrade,
		Tell: func(d upgrade.Done) {
			n.Log.Info("the data was upgraded", "from", d.From, "to", d.To, "what", d.Name, "rows", d.Rows)
		},
	})
	if err == nil {
		err = n.refuseOlder()
	}
	if err != nil {
		return err
	}
	return n.pruneSnapshots()
}

// refuseOlder has older programs refuse the data also when the row that tells its format is damaged.
func (n *node) refuseOlder() error {
	newest := upgrade.Newest(n.formats())
	if c, ok := n.kv.(checkpointer); ok && newest > upgrade.First {
		return c.RaiseFormat(newest)
	}
	return nil
}

// prepareUpgrade takes a snapshot, and has older programs refuse the data. A database's owner takes its snapshots.
func (n *node) prepareUpgrade(ctx context.Context, from, to uint32) error {
	c, ok := n.kv.(checkpointer)
	if !ok {
		n.Log.Warn("the database is upgraded, without a snapshot of ours", "from", from, "to", to)
		return nil
	}
	dir := filepath.Join(n.Config.Data, fmt.Sprintf("%s%d", snapshotName, to))
	if err := n.fs.RemoveAll(dir); err != nil { // of a start that was killed before its first step
		return &mail.Error{Op: "app.upgrade", Kind: mail.Unavailable, Text: "the snapshot before an upgrade cannot be made", Err: err}
	}
	if err := c.Checkpoint(ctx, dir); err != nil {
		return err
	}
	n.Log.Info("a snapshot of the rows was taken before their upgrade", "dir", dir, "from", from, "to", to)
	return c.RaiseFormat(to)
}

func (n *node) pruneSnapshots() error {
	names, err := n.fs.List(n.Config.Data)
	if err != nil {
		return nil //nolint:nilerr // nothing of ours is there, or the data is in memory
	}
	for _, name := range names {
		if name != dryRunName && !strings.HasPrefix(name, snapshotName) {
			continue
		}
		path := filepath.Join(n.Config.Data, name)
		info, err := n.fs.Stat(path)
		if err != nil || name != dryRunName && n.clock().Sub(info.ModTime()) < snapshotKept {
			continue
		}
		if err := n.fs.RemoveAll(path); err != nil {
			n.Log.Warn("an old snapshot cannot be removed", "dir", path, "err", err)
		}
	}
	return nil
}

// dryRun upgrades a copy of the rows, checks it, and throws it away: the data itself is not touched.
func (n *node) dryRun(ctx context.Context) (r admin.DryRun, err error) {
	have, err := upgrade.Format(ctx, n.kv)
	if err != nil {
		return r, err
	}
	r = admin.DryRun{Format: have, Newest: upgrade.Newest(n.formats())}
	if r.Format == r.Newest {
		return r, nil
	}
	c, ok := n.kv.(checkpointer)
	if !ok {
		return r, mail.E("app.upgrade", mail.Unsupported, "rows in a database cannot be tried on a copy: restore a backup into another database and start there")
	}
	dir := filepath.Join(n.Config.Data, dryRunName)
	if err := n.fs.RemoveAll(dir); err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, n.fs.RemoveAll(dir)) }()
	if err := c.Checkpoint(ctx, dir); err != nil {
		return r, err
	}
	rows, err := pebble.Open(pebble.Options{FS: n.fs, Dir: dir, Logger: n.Log, Format: r.Newest})
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	err = upgrade.Run(ctx, upgrade.Options{KV: rows, Migrations: n.formats(), Tell: func(d upgrade.Done) { r.Done = append(r.Done, d) }})
	if err != nil {
		return r, err
	}
	r.Check, err = n.checkCopy(ctx, rows)
	return r, err
}

// checkCopy checks rows that were upgraded. Large bodies lie elsewhere, and are not touched by upgrades.
func (n *node) checkCopy(ctx context.Context, rows kv.Store) (check.Summary, error) {
	large, err := n.openLarge(ctx)
	if err != nil {
		return check.Summary{}, err
	}
	blobs := blob.New(blob.Options{KV: rows, Large: large})
	s := store.New(store.Options{KV: rows, Blobs: blobs})
	sum, err := check.Run(ctx, check.Options{Store: s, Blobs: blobs, Queue: queue.New(queue.Options{KV: rows, Blobs: blobs})},
		check.Request{}, func(f mail.Finding) error {
			n.Log.Error("found in the upgraded copy", "finding", f.String())
			return nil
		})
	return sum, errors.Join(err, s.Close())
}
