package app

import (
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"postel/internal/config"
	"postel/internal/kv"
	"postel/internal/mail"
	"postel/internal/upgrade"
)

// TestUpgradeOfData tries an upgrade on a copy, carries it out at a start, keeps a snapshot, and is refused afterwards to
// who knows only the format before.
func TestUpgradeOfData(t *testing.T) {
	t.Parallel()
	data := filepath.Join(t.TempDir(), "data")
	key := kv.K(kv.Server).Text("test")
	list := []upgrade.Migration{{To: 2, Name: "a test", Step: func(tx kv.Tx, _ kv.Key) (kv.Key, int, error) {
		tx.Set(key, []byte("upgraded"))
		return nil, 1, nil
	}}}
	open := func(bare bool, list []upgrade.Migration) (*node, error) {
		c := config.Default()
		c.Data = data
		return openStorage(t.Context(), Options{
			Config: c, Bare: bare, Migrations: list, Log: slog.New(slog.NewTextHandler(io.Discard, nil)),
		})
	}
	must := func(n *node, err error) *node {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	upgraded := func(n *node) bool {
		t.Helper()
		there := false
		err := n.kv.View(t.Context(), []kv.Key{kv.LockServer()}, func(r kv.Reader) error {
			v, err := r.Get(key)
			there = string(v) == "upgraded"
			if mail.Is(err, mail.NotFound) {
				err = nil
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		return there
	}
	closed := func(n *node) {
		t.Helper()
		if err := n.closeStorage(); err != nil {
			t.Fatal(err)
		}
	}
	none := []upgrade.Migration{}
	n := must(open(false, none))
	if r, err := n.dryRun(t.Context()); err != nil || r.Format != 1 || r.Newest != 1 || len(r.Done) > 0 {
		t.Errorf("%+v, %v", r, err)
	}
	closed(n)

	n = must(open(true, list))
	r, err := n.dryRun(t.Context())
	if err != nil || r.Format != 1 || r.Newest != 2 || len(r.Done) != 1 || r.Check.Found != 0 || upgraded(n) {
		t.Errorf("%+v, %v", r, err)
	}
	if _, err := os.Stat(filepath.Join(data, dryRunName)); err == nil {
		t.Error("the copy is left")
	}
	closed(n)

	n = must(open(false, list))
	if !upgraded(n) {
		t.Error("the start did not upgrade")
	}
	if _, err := os.Stat(filepath.Join(data, snapshotName+"2", "CURRENT")); err != nil {
		if m, _ := filepath.Glob(filepath.Join(data, snapshotName+"2", "MANIFEST-*")); len(m) == 0 {
			t.Error("no snapshot")
		}
	}
	closed(n)
	if _, err := open(false, none); !mail.Is(err, mail.Unsupported) {
		t.Errorf("an older program: %v", err)
	}
	closed(must(open(false, list)))
}
