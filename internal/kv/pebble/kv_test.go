package pebble

import (
	"testing"

	"postel/internal/kv"
	"postel/internal/kv/kvtest"
)

func TestConformanceOnDisk(t *testing.T) {
	t.Parallel()
	kvtest.Run(t, func(t *testing.T) kv.Store {
		s, err := Open(Options{Dir: t.TempDir()})
		if err != nil {
			t.Fatal(err)
		}
		return s
	})
}

func TestConformanceInMemory(t *testing.T) {
	t.Parallel()
	kvtest.Run(t, func(t *testing.T) kv.Store { return memory(t) })
}

func TestConformanceStrict(t *testing.T) {
	t.Parallel()
	kvtest.Run(t, func(t *testing.T) kv.Store { return kvtest.Strict(memory(t), kvtest.Options{Report: t.Error}) })
}

func memory(t *testing.T) *Store {
	t.Helper()
	s, err := OpenMemory()
	if err != nil {
		t.Fatal(err)
	}
	return s
}
