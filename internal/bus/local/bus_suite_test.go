package local

import (
	"testing"

	"postel/internal/bus"
	"postel/internal/bus/bustest"
)

func TestConformance(t *testing.T) {
	t.Parallel()
	bustest.Run(t, func(*testing.T) (bus.Bus, bus.Bus) {
		b := New()
		return b, b
	})
}
