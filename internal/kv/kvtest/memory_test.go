package kvtest_test

import (
	"testing"

	"postel/internal/kv"
	"postel/internal/kv/kvtest"
)

func TestMemory(t *testing.T) {
	t.Parallel()
	kvtest.Run(t, func(*testing.T) kv.Store { return kvtest.Memory() })
}
