package app

import (
	"io"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"

	"postel/internal/check"
	"postel/internal/config"
	"postel/internal/directory"
	"postel/internal/kv"
	"postel/internal/kv/pebble"
	"postel/internal/mail"
	"postel/internal/upgrade"
)

// TestDamagedServerRows damages the rows without which no server starts: the format's, an upgrade's, the directory's
// secret. The start is refused and names the check; a check goes on, names the row and looks at all else; its repair mends
// the row, and the server starts with the accounts it had.
func TestDamagedServerRows(t *testing.T) {
	t.Parallel()
	ran := 0
	list := append(migrations(), upgrade.Migration{To: 3, Name: "a test", Step: func(kv.Tx, kv.Key) (kv.Key, int, error) {
		ran++
		return nil, 0, nil
	}})
	for _, row := range []string{"format", "upgrade", "directory"} {
		c := config.Default()
		c.Data = filepath.Join(t.TempDir(), "data")
		alice := mail.Address{Local: "alice", Domain: "a.test"}
		start := func(bare bool) (*node, error) {
			return openStorage(t.Context(), Options{Config: c, Bare: bare, Migrations: list, Log: slog.New(slog.NewTextHandler(io.Discard, nil))})
		}
		opened := func(bare bool) *node {
			t.Helper()
			n, err := start(bare)
			if err != nil {
				t.Fatal(row, err)
			}
			return n
		}
		stop := func(n *node) {
			t.Helper()
			if err := n.closeStorage(); err != nil {
				t.Fatal(row, err)
			}
		}
		n := opened(false)
		err := n.AddDomain(t.Context(), directory.Domain{Name: "a.test", Kind: directory.Local})
		if err == nil {
			_, err = n.AddAccount(t.Context(), alice, "secret", 0)
		}
		if err != nil {
			t.Fatal(err)
		}
		stop(n)
		hurt(t, filepath.Join(c.Data, "kv"), row)
		if _, err := start(false); err == nil || !strings.Contains(err.Error(), "`postel check") {
			t.Errorf("%s: the start says %v", row, err)
		}
		for _, repair := range []bool{false, true} {
			n = opened(true)
			found, sum := checked(t, n, repair)
			want := map[bool]mail.Mend{false: mail.Mendable, true: mail.Mended}[repair]
			if len(found) != 1 || found[0].State != want || sum.Accounts != 1 {
				t.Errorf("%s: %+v, %v", row, sum, found)
			}
			stop(n)
		}
		n = opened(false)
		if found, _ := checked(t, n, false); len(found) > 0 {
			t.Errorf("%s: behind the repair %v", row, found)
		}
		if a, err := n.directory.AccountOf(t.Context(), alice); err != nil || a.Address != alice {
			t.Errorf("%s: %v, %v", row, a, err)
		}
		stop(n)
	}
	if ran != 1 { // a repair that does not know the format has the migrations carried out
		t.Errorf("the migration ran %d times", ran)
	}
}

// TestFormatDamagedUnderServer: a server that runs knows the format of its data.
func TestFormatDamagedUnderServer(t *testing.T) {
	t.Parallel()
	c := config.Default()
	c.Data = filepath.Join(t.TempDir(), "data")
	n, err := openStorage(t.Context(), Options{Config: c, Log: slog.New(slog.NewTextHandler(io.Discard, nil))})
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range []string{"format", "directory"} {
		damage(t, n.kv, row)
	}
	if found, _ := checked(t, n, true); len(found) != 2 || found[0].State != mail.Mended || found[1].State != mail.Mended || found[1].Lost != "" {
		t.Errorf("%v", found)
	}
	if found, _ := checked(t, n, true); len(found) > 0 {
		t.Errorf("%v", found)
	}
	if f, err := upgrade.Format(t.Context(), n.kv); err != nil || f != upgrade.Newest(migrations()) {
		t.Error(f, err)
	}
	if err := n.closeStorage(); err != nil {
		t.Fatal(err)
	}
}

func hurt(t *testing.T, dir, row string) {
	t.Helper()
	s, err := pebble.Open(pebble.Options{Dir: dir, Format: 3})
	if err != nil {
		t.Fatal(err)
	}
	damage(t, s, row)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

func damage(t *testing.T, s kv.Store, row string) {
	t.Helper()
	err := s.Update(t.Context(), kv.Txn{Lock: []kv.Key{kv.LockServer()}}, func(tx kv.Tx) error {
		tx.Set(kv.K(kv.Server).Text(row), []byte{0xee})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func checked(t *testing.T, n *node, repair bool) (found []mail.Finding, sum check.Summary) {
	t.Helper()
	sum, err := n.check(t.Context(), check.Request{Repair: repair}, func(f mail.Finding) error {
		found = append(found, f)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return found, sum
}
