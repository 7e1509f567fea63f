package app

import (
	"context"
	"errors"
	"time"

	"postel/internal/blob"
	"postel/internal/blob/s3"
	"postel/internal/kv"
	"postel/internal/mail"
)

// The rows know the bucket to which their large bodies went first, sv "store.blobs", without its secrets: so that whoever
// opens them with another setting is told that a body is elsewhere, and not that it is damaged. postel migrate sets the
// row anew.

func blobPlaceKey() kv.Key { return kv.K(kv.Server).Text("store.blobs") }

// blobPlace gives the URL of that bucket, "" where large bodies are files.
func blobPlace(ctx context.Context, rows kv.Store) (place string, err error) {
	err = rows.View(ctx, []kv.Key{kv.LockServer()}, func(r kv.Reader) error {
		place = ""
		v, err := r.Get(blobPlaceKey())
		if errors.Is(err, kv.ErrNotFound) {
			return nil
		}
		if err == nil && len(v) > 0 && v[0] == 1 {
			place = string(v[1:])
		}
		return err
	})
	return place, err
}

// setBlobPlace notes the bucket; "" is files.
func setBlobPlace(ctx context.Context, rows kv.Store, place string) error {
	return rows.Update(ctx, kv.Txn{Lock: []kv.Key{kv.LockServer()}}, func(tx kv.Tx) error {
		if place == "" {
			tx.Delete(blobPlaceKey())
		} else {
			tx.Set(blobPlaceKey(), append([]byte{1}, place...))
		}
		return nil
	})
}

// samePlace tells whether two URLs name one bucket and prefix; the host may have got another name.
func samePlace(a, b string) bool {
	x, err := s3.ParseURL(a)
	y, err2 := s3.ParseURL(b)
	return a == b || err == nil && err2 == nil && x.Bucket == y.Bucket && x.Prefix == y.Prefix
}

// known gives large as it is where the recorded place is the one in use; else what is not found there counts as away.
func (n *node) known(large blob.Large, place, recorded string) blob.Large {
	if recorded == "" || samePlace(place, recorded) {
		return large
	}
	n.Log.Warn("large bodies went to another place than storage.blobs names; those cannot be read", "place", recorded)
	return elsewhere{large}
}

// elsewhere is a place beside the one where bodies went.
type elsewhere struct{ blob.Large }

// Open implements blob.Large; what is not here has Kind Unavailable.
func (e elsewhere) Open(ctx context.Context, id mail.ID) (blob.LargeObject, error) {
	o, err := e.Large.Open(ctx, id)
	if mail.Is(err, mail.NotFound) {
		return nil, &mail.Error{
			Op: "app.blobs", Kind: mail.Unavailable, Text: "large bodies lie in another place than storage.blobs names", Err: err,
		}
	}
	return o, err
}

// SweepUnfinished passes on to a backend that has something to sweep.
func (e elsewhere) SweepUnfinished(ctx context.Context, before time.Time) (int, error) {
	if u, ok := e.Large.(interface {
		SweepUnfinished(context.Context, time.Time) (int, error)
	}); ok {
		return u.SweepUnfinished(ctx, before)
	}
	return 0, nil
}
