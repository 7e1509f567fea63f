package app

import (
	"bytes"
	"context"
	"errors"
	"iter"
	"path/filepath"
	"sync/atomic"
	"time"

	"postel/internal/blob"
	"postel/internal/blob/file"
	"postel/internal/blob/s3"
	"postel/internal/kv"
	"postel/internal/mail"
	"postel/internal/tool"
)

// bucket is where large bodies go when they are no files.
type bucket struct {
	*s3.Store
	owner  string      // what claims the prefix
	create bool        // a bucket that is missing is made
	ours   atomic.Bool // the prefix is known to be ours: only then it may be swept
}

// openLarge opens the place of large bodies. Files that are there stay readable when new bodies go to a bucket.
func (n *node) openLarge(ctx context.Context) (blob.Large, error) {
	files, err := file.New(file.Options{FS: n.fs, Dir: filepath.Join(n.Config.Data, "blobs"), Room: n.blobRoom, Shared: n.shared()})
	if err != nil {
		return nil, err
	}
	recorded, err := blobPlace(ctx, n.kv)
	if err != nil {
		return nil, err
	}
	if n.Config.Blobs.URL == "file" {
		return n.known(files, "", recorded), nil
	}
	at, err := s3.ParseURL(n.Config.Blobs.URL)
	if err != nil {
		return nil, &tool.ExitError{Code: tool.Usage, Err: err}
	}
	b := &bucket{create: n.Dev != nil}
	if b.owner, err = n.storeID(ctx); err != nil {
		return nil, err
	}
	if n.Config.Storage == "memory" { // its rows will be gone, and so what would name the objects
		at.Prefix = filepath.Join(at.Prefix, "memory-"+b.owner)
	}
	if b.Store, err = s3.New(s3.Options{Location: at, FS: n.fs, Dir: filepath.Join(n.Config.Data, "spool")}); err != nil {
		return nil, err
	}
	n.bucket = b
	switch err := b.claim(ctx); {
	case mail.Is(err, mail.Unavailable):
		n.Log.Warn("the bucket of large bodies does not answer; large mail is refused for now", "blobs", at.String(), "err", err)
	case err != nil:
		return nil, err
	}
	if recorded == "" && n.Config.Storage != "memory" {
		if err := setBlobPlace(ctx, n.kv, at.String()); err != nil {
			return nil, err
		}
		recorded = at.String()
	}
	return n.known(blob.Layers{Now: b, Older: files}, at.String(), recorded), nil
}

// claim makes sure that the bucket is there and the prefix ours.
func (b *bucket) claim(ctx context.Context) error {
	if b.ours.Load() {
		return nil
	}
	if err := b.Store.Check(ctx, b.create); err != nil {
		return err
	}
	if err := b.Store.Claim(ctx, b.owner); err != nil {
		return err
	}
	b.ours.Store(true)
	return nil
}

// List implements blob.Large. Who lists is about to remove what no row names: so the prefix must be ours.
func (b *bucket) List(ctx context.Context) iter.Seq2[blob.LargeInfo, error] {
	if err := b.claim(ctx); err != nil {
		return func(yield func(blob.LargeInfo, error) bool) { yield(blob.LargeInfo{}, err) }
	}
	return b.Store.List(ctx)
}

// SweepUnfinished is that of s3.Store, on a prefix that is ours.
func (b *bucket) SweepUnfinished(ctx context.Context, before time.Time) (int, error) {
	if err := b.claim(ctx); err != nil {
		return 0, err
	}
	return b.Store.SweepUnfinished(ctx, before)
}

// storeID gives the name of this set of rows, made at its first use: sv "store.id", 16 characters.
func (n *node) storeID(ctx context.Context) (string, error) {
	key := kv.K(kv.Server).Text("store.id")
	var id []byte
	err := n.kv.Update(ctx, kv.Txn{Lock: []kv.Key{kv.LockServer()}, Read: []kv.Key{key}}, func(tx kv.Tx) error {
		v, err := tx.Get(key)
		if errors.Is(err, kv.ErrNotFound) {
			fresh := n.ids.New(n.clock())
			id = fresh[:]
			tx.Set(key, append([]byte{1}, id...))
			return nil
		}
		if err != nil {
			return err
		}
		if len(v) != 17 || v[0] != 1 {
			return mail.E("app.id", mail.Internal, "the row of the store's id is damaged")
		}
		id = bytes.Clone(v[1:])
		return nil
	})
	return string(id), err
}
