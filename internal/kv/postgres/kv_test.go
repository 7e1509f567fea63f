package postgres

import (
	"os"
	"testing"

	"postel/internal/kv"
	"postel/internal/kv/kvtest"
	"postel/internal/kv/pgtest"
)

// server is the PostgreSQL of all tests here that need none of their own.
var server pgtest.Shared

func TestMain(m *testing.M) { os.Exit(server.Main(m)) }

// open gives an empty store in a schema of its own. Few sessions: many tests run at once.
func open(t testing.TB) *Store {
	t.Helper()
	s, err := Open(t.Context(), Options{URL: server.URL(t), Views: 4, Groups: 2})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func TestConformance(t *testing.T) {
	t.Parallel()
	kvtest.Run(t, func(t *testing.T) kv.Store { return open(t) })
}

func TestConformanceStrict(t *testing.T) {
	t.Parallel()
	kvtest.Run(t, func(t *testing.T) kv.Store {
		return kvtest.Strict(open(t), kvtest.Options{Report: t.Error})
	})
}
