package admin

import (
	"context"
	"io"
	"net/http"

	"postel/internal/backup"
	"postel/internal/mail"
)

const (
	maxArchive = 1 << 50
	maxOrder   = 256 << 20 // an order that builds on an archive names the messages that it has
)

// archives are the routes whose requests may be as large as all mail.
func archives() []route {
	return []route{
		{"POST /v1/backup", (*api).backup},
		{"POST /v1/restore", (*api).restore},
	}
}

// Backups writes archives and brings back what is in them.
type Backups interface {
	Backup(ctx context.Context, o backup.Order, w io.Writer) error
	Restore(ctx context.Context, t backup.Target, r io.Reader) (backup.Restored, error)
}

// BackupOrder is what is backed up, as JSON.
type BackupOrder struct {
	Account string       `json:"account,omitempty"`
	Since   *backup.Base `json:"since,omitempty"`
}

// backup answers an archive. An answer that breaks off was cut off by an error.
func (a *api) backup(w http.ResponseWriter, r *http.Request) error {
	var in BackupOrder
	r.Body = http.MaxBytesReader(w, r.Body, maxOrder)
	if err := read(r, &in); err != nil {
		return err
	}
	o := backup.Order{Since: in.Since}
	if in.Account != "" {
		var err error
		if o.Account, err = mail.ParseAddress(in.Account); err != nil {
			return err
		}
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	begun := &begun{w: w}
	err := a.Backups.Backup(r.Context(), o, begun)
	if err == nil || !begun.on {
		return err
	}
	return a.cut(r, err)
}

// begun notes that an answer has begun.
type begun struct {
	w  io.Writer
	on bool
}

func (b *begun) Write(p []byte) (int, error) {
	b.on = true
	return b.w.Write(p)
}

// restore takes a stream of package backup.
func (a *api) restore(w http.ResponseWriter, r *http.Request) error {
	t := backup.Target{Proven: r.URL.Query().Get("proven") == "true"}
	if to := r.URL.Query().Get("to"); to != "" {
		var err error
		if t.To, err = mail.ParseAddress(to); err != nil {
			return err
		}
	}
	done, err := a.Backups.Restore(r.Context(), t, r.Body)
	if err != nil {
		return err
	}
	return answer(w, done)
}
