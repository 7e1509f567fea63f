package app

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"time"

	"postel/internal/admin"
	"postel/internal/config"
	"postel/internal/server/listen"
	"postel/internal/tool"
)

// api is the management API of this node.
func (n *node) api() http.Handler {
	o := admin.Options{
		Accounts: n, Backups: backups{n}, Store: n.store, Queue: n.queue, Glass: n.glass, Journey: n.journey,
		Check: n.check, Upgrade: n.dryRun, Catcher: n.catcher, Version: n.Version, Ports: n.ports(), Log: n.Log,
		ReportsTo: n.Config.TLSReports.To,
	}
	if o.TLS = n.tlsReports; o.TLS == nil {
		o.TLS = n.reporter()
	}
	if n.mta != nil {
		o.Router = n.mta
	}
	return admin.Handler(o)
}

// controlServer serves the API on control.sock, for the owner of the data directory.
func (n *node) controlServer(ctx context.Context) error {
	path := filepath.Join(n.Config.Data, tool.ControlSocket)
	ln, err := listen.Bind(ctx, "unix:"+path, 0o600)
	if err != nil {
		return err
	}
	n.listeners["control"] = ln
	base, cancel := context.WithCancel(context.Background())
	srv := &http.Server{Handler: n.api(), ReadHeaderTimeout: 10 * time.Second, BaseContext: func(net.Listener) context.Context { return base }}
	n.servers = append(n.servers, server{
		name: "control", ln: ln,
		serve: func(ln net.Listener) error {
			if err := srv.Serve(ln); !errors.Is(err, http.ErrServerClosed) {
				return err
			}
			return nil
		},
		shutdown: func(ctx context.Context) error {
			cancel() // ends those who follow glass
			return srv.Shutdown(ctx)
		},
	})
	if n.Dev != nil {
		n.linkDev(path)
	}
	return nil
}

// linkDev lets commands find a running dev without being told where. Without a place for the link they need --data.
func (n *node) linkDev(control string) {
	unlink, err := tool.LinkDev(control)
	if err != nil {
		n.Log.Warn("commands need --data to find this server", "err", err)
		return
	}
	n.unlinkDev = unlink
}

// Offline opens a data directory that no server holds and gives its API. The directory is created where it is
// missing, and the file's domains are made sure of.
func Offline(ctx context.Context, file, data string) (http.Handler, func() error, error) {
	return offline(ctx, file, data, false)
}

// Unchecked is Offline without making sure of anything: for a check.
func Unchecked(ctx context.Context, file, data string) (http.Handler, func() error, error) {
	return offline(ctx, file, data, true)
}

func offline(ctx context.Context, file, data string, bare bool) (http.Handler, func() error, error) {
	c := config.Default()
	if file != "" {
		var err error
		if c, err = config.Load(file); err != nil {
			return nil, nil, &tool.ExitError{Code: tool.Usage, Err: err}
		}
	}
	c.Data = data
	n, err := openStorage(ctx, Options{Config: c, Bare: bare, Log: slog.New(slog.DiscardHandler), offline: true})
	if err != nil {
		return nil, nil, err
	}
	for a, err := range n.directory.Accounts(ctx) { // mail caught by a dev that kept its data
		if err == nil && a.Catcher {
			n.catcher = a.ID
		}
	}
	return n.api(), n.closeStorage, nil
}
