package app

import (
	"context"
	"io"

	"postel/internal/backup"
	"postel/internal/directory"
	dirlocal "postel/internal/directory/local"
)

// backups writes and restores archives of a node.
type backups struct{ n *node }

// Backup implements admin.Backups.
func (b backups) Backup(ctx context.Context, o backup.Order, w io.Writer) error {
	return backup.Write(ctx, b.rooms(), o, w)
}

// Restore implements admin.Backups.
func (b backups) Restore(ctx context.Context, t backup.Target, r io.Reader) (backup.Restored, error) {
	return backup.Apply(ctx, b.rooms(), t, r)
}

func (b backups) rooms() backup.Rooms {
	n := b.n
	return backup.Rooms{
		Store: n.store, Blobs: n.blobs, Queue: n.queue, Directory: archived{n.directory}, IDs: n.ids, Clock: n.clock,
		Version: n.Version,
	}
}

// archived gives the directory as backups want it.
type archived struct{ *dirlocal.Directory }

// Accounts lists all accounts.
func (a archived) Accounts(ctx context.Context) ([]directory.Account, error) {
	var all []directory.Account
	for acc, err := range a.Directory.Accounts(ctx) {
		if err != nil {
			return nil, err
		}
		all = append(all, acc)
	}
	return all, nil
}
