package app

import (
	"context"
	"errors"
	"path/filepath"
	"time"

	"postel/internal/bus/local"
	buspostgres "postel/internal/bus/postgres"
	"postel/internal/config"
	"postel/internal/kv"
	"postel/internal/kv/pebble"
	"postel/internal/kv/postgres"
	"postel/internal/upgrade"
)

// openRows opens the rows where the configuration says, under the lock of the data directory, which holds the control
// socket and large bodies also when the rows lie in a database.
func (n *node) openRows(ctx context.Context) (err error) {
	dir := filepath.Join(n.Config.Data, "kv")
	if !config.IsDatabase(n.Config.Storage) {
		n.kv, err = pebble.Open(pebble.Options{FS: n.fs, Dir: dir, Logger: n.Log, Space: n.space, Format: upgrade.Newest(n.formats())})
		return err
	}
	if n.dataLock, err = pebble.Lock(n.fs, dir); err != nil {
		return err
	}
	n.kv, err = postgres.Open(ctx, postgres.Options{URL: n.Config.Storage, Logger: n.Log})
	if err != nil {
		return errors.Join(err, n.dataLock.Close())
	}
	return nil
}

// openBus opens the notices between sessions, and between nodes where these share a database.
func (n *node) openBus() error {
	here := local.New()
	if n.bus = here; !config.IsDatabase(n.Config.Storage) {
		return nil
	}
	b, err := buspostgres.New(buspostgres.Options{URL: n.Config.Storage, Local: here, Logger: n.Log})
	if err == nil {
		n.bus, n.closeBus = b, b.Close
	}
	return err
}

func (n *node) closeRows() error {
	err := n.kv.Close()
	if n.closeBus != nil {
		err = errors.Join(err, n.closeBus())
	}
	if n.dataLock != nil {
		err = errors.Join(err, n.dataLock.Close())
	}
	return err
}

// failed is closed once this process can never use its rows again; it never is when they lie in a database, which may
// come back.
func (n *node) failed() <-chan struct{} {
	if w, ok := n.kv.(kv.Waiter); ok {
		return w.Failed()
	}
	return nil
}

// storageReady tells why nothing can be stored now; nil when it can.
func (n *node) storageReady() error {
	if w, ok := n.kv.(kv.Waiter); ok {
		return w.Err()
	}
	const patience = 3 * time.Second
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	return n.kv.View(ctx, nil, func(kv.Reader) error { return nil })
}
