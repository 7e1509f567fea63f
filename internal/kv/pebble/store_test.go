package pebble

import (
	"context"
	"errors"
	"testing"

	"postel/internal/kv"
	"postel/internal/mail"
	"postel/internal/vfs"
)

func TestReopen(t *testing.T) {
	t.Parallel()
	o := Options{FS: vfs.Default(), Dir: t.TempDir() + "/data/kv"}
	k := kv.K(kv.Accounts).Account(7)
	lock := []kv.Key{kv.LockAccount(7)}
	s, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Open(o); !mail.Is(err, mail.Busy) {
		t.Fatalf("a second opening gives %v", err)
	}
	err = s.Update(context.Background(), kv.Txn{Lock: lock}, func(x kv.Tx) error { x.Set(k, []byte("v")); return nil })
	if err = errors.Join(err, s.Close(), s.Close()); err != nil {
		t.Fatal(err)
	}
	if err := s.View(context.Background(), nil, nil); !mail.Is(err, mail.Unavailable) {
		t.Fatalf("a closed store gives %v", err)
	}
	if s, err = Open(o); err != nil {
		t.Fatal(err)
	}
	err = s.View(context.Background(), lock, func(r kv.Reader) error {
		v, err := r.Get(k)
		if string(v) != "v" {
			t.Errorf("got %q", v)
		}
		return err
	})
	if err = errors.Join(err, s.Close()); err != nil {
		t.Fatal(err)
	}
}

func TestNewerFormatIsRefused(t *testing.T) {
	t.Parallel()
	o := Options{FS: vfs.NewMem(), Dir: "/kv"}
	s, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	err = s.Update(context.Background(), kv.Txn{Lock: []kv.Key{kv.LockServer()}}, func(x kv.Tx) error {
		x.Set(kv.K(kv.Server).Text("format"), kv.Key{}.U32(Format+1))
		return nil
	})
	if err = errors.Join(err, s.Close()); err != nil {
		t.Fatal(err)
	}
	_, err = Open(o)
	const want = "the data directory has format 2, this binary reads up to 1: use a newer one; nothing was changed"
	var e *mail.Error
	if !errors.As(err, &e) || e.Kind != mail.Unsupported || e.Text != want {
		t.Fatalf("got %v", err)
	}
}

// TestRoomKeepsNothing: memory that waits for the next transaction holds on to nothing of the last one, however much that
// wrote.
func TestRoomKeepsNothing(t *testing.T) {
	t.Parallel()
	s, err := OpenMemory()
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for _, writes := range []int{0, 1, linear, linear + 1, 3 * linear} {
		x := newTx(s)
		r := x.room
		for i := range writes {
			x.Set(kv.K(kv.Accounts).U32(uint32(i)), []byte("value"))
		}
		x.close()
		for i, w := range r.ops {
			if w.key != nil || w.value != nil {
				t.Errorf("after %d writes, write %d is kept", writes, i)
				break
			}
		}
	}
}
