package admin

import (
	"context"
	"net/http"

	"postel/internal/check"
	"postel/internal/upgrade"
)

// DryRun is what an upgrade of a copy of the data came to.
type DryRun struct {
	Format uint32         `json:"format"` // of the data
	Newest uint32         `json:"newest"` // that this program makes
	Done   []upgrade.Done `json:"done,omitempty"`
	Check  check.Summary  `json:"check"` // of the upgraded copy
}

// Upgrader tries an upgrade on a copy; app gives it.
type Upgrader func(context.Context) (DryRun, error)

func (a *api) upgradeDryRun(w http.ResponseWriter, r *http.Request) error {
	out, err := a.Upgrade(r.Context())
	if err != nil {
		return err
	}
	return answer(w, out)
}
