// Package app is the parts list: it alone constructs concrete things and hands them down. What is not constructed
// here does not run.
//
// The order of a start: data directory and its lock, storage, directory and mailboxes, all listeners bound, the
// roles, then every listener answers at once. A stop goes the other way within ten seconds.
package app

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"postel/internal/blob"
	"postel/internal/bus"
	"postel/internal/config"
	dirlocal "postel/internal/directory/local"
	"postel/internal/dns"
	"postel/internal/fetch"
	"postel/internal/kv"
	"postel/internal/lease"
	"postel/internal/mail"
	"postel/internal/migrate"
	"postel/internal/mta"
	"postel/internal/observe"
	"postel/internal/proto/sasl"
	"postel/internal/queue"
	"postel/internal/quota"
	"postel/internal/rate"
	"postel/internal/route"
	"postel/internal/search"
	"postel/internal/space"
	"postel/internal/store"
	"postel/internal/tlspolicy"
	"postel/internal/tlspolicy/certs"
	"postel/internal/tlspolicy/mtasts"
	"postel/internal/tlspolicy/tlsrpt"
	"postel/internal/tool"
	"postel/internal/upgrade"
	"postel/internal/vfs"
)

// Options say what to run.
type Options struct {
	Config     *config.Config
	Dev        *Dev                // nil for `postel serve`
	Bare       bool                // nothing is made sure of nor upgraded: for a check
	Migrations []upgrade.Migration // nil: those there are
	Version    string
	Log        *slog.Logger
	waits      bool // for room on the disk, where opening the storage fails for want of it
	offline    bool // a command without a server
}

// Dev is what `postel dev` has beside a configuration.
type Dev struct {
	Host     netip.Addr
	Accounts []DevAccount
	Catch    bool   // mail that fits nowhere else is caught
	MXPort   uint16 // remote port for delivery by MX
	// HTTPSPort is the remote port of hosts that have policies of MTA-STS.
	HTTPSPort uint16
	XClient   bool // XCLIENT, XFORWARD and PROXY headers are taken from loopback
}

// DevAccount is an account that is made sure of.
type DevAccount struct {
	Address  mail.Address
	Password string
}

// node is one running server.
type node struct {
	Options
	clock func() time.Time
	ids   *mail.IDs

	fs         vfs.FS
	space      *space.Guard // nil where nothing is kept on a disk of ours
	stopSpace  func()
	kv         kv.Store
	dataLock   io.Closer // nil where kv holds it
	blobs      *blob.Store
	bucket     *bucket     // nil: large bodies are files
	nodes      *lease.Node // nil: nobody shares the rows
	bus        bus.Bus
	closeBus   func() error // nil where there is nothing to close
	store      *store.Store
	directory  *dirlocal.Directory
	router     *route.Router // nil before the roles are built
	quotas     *quota.Keeper
	queue      *queue.Queue
	sending    *queue.Sending // nil where it cannot be noted what is being sent
	index      *search.Index  // nil when it is turned off
	resolver   dns.Resolver
	policies   *mtasts.Client // of MTA-STS; nil before the roles are built
	tlsKeeper  *tlspolicy.Keeper
	tlsReports *tlsrpt.Reporter
	logins     *rate.Networks // that failed; nil: as many as they like
	catcher    mail.AccountID // 0: nothing is caught

	flushedByAccounts bool // some domain's ETRN is for accounts, so that the smtp listener lets them log in

	glass     *observe.Glass
	journey   *observe.Journey
	certs     certs.Source   // nil without TLS
	clients   *x509.CertPool // authorities of clients; nil: no client has a certificate
	tokens    sasl.Tokens    // nil: no bearer tokens
	mta       *mta.MTA
	fetch     *fetch.Fetcher // nil: nobody is asked for mail
	listeners map[string]net.Listener
	servers   []server

	collectors []prometheus.Collector // of the servers' own metrics
	replies    *prometheus.CounterVec // SMTP replies

	stopWork  func() // ends the queue's deliveries and the sweeper, and waits for them
	unlinkDev func() // nil: commands find us by --data only
}

// makeData makes the data directory with mode 0711 whatever the umask, so that everyone reaches submit.sock. The mode
// of a directory that holds what is not ours is left alone.
func makeData(data string) error {
	if err := os.MkdirAll(data, 0o711); err != nil {
		return err
	}
	entries, err := os.ReadDir(data)
	ours := len(entries) == 0 || slices.ContainsFunc(entries, func(e os.DirEntry) bool { return e.Name() == "kv" })
	if err != nil || !ours {
		return err
	}
	return os.Chmod(data, 0o711)
}

// openStorage opens everything that keeps something, under the data directory's lock.
func openStorage(ctx context.Context, o Options) (*node, error) {
	n := &node{Options: o, clock: time.Now, ids: &mail.IDs{}, listeners: map[string]net.Listener{}}
	n.fs = vfs.Default()
	data := o.Config.Data
	if err := makeData(data); err != nil {
		return nil, &mail.Error{Op: "app.data", Kind: mail.Unavailable, Text: "the data directory cannot be made: " + err.Error(), Err: err}
	}
	n.openSpace()
	if err := n.waitRows(ctx); err != nil {
		return nil, inUse(data, err)
	}
	n.watchSpace()
	err := migrate.Unfinished(ctx, n.kv)
	if err == nil && !o.Bare {
		err = n.upgradeRows(ctx)
	}
	if err == nil {
		err = n.openRooms(ctx)
	}
	if err != nil {
		n.leave()
		return nil, errors.Join(err, n.closeStorage())
	}
	return n, nil
}

// inUse says to people which directory has its server already.
func inUse(data string, err error) error {
	if !mail.Is(err, mail.Busy) {
		return err
	}
	return &tool.ExitError{Code: tool.Found, Err: fmt.Errorf("another postel runs on %s: stop it first, or give this one a data directory of its own", data)}
}

// openRooms builds what stands on the rows.
func (n *node) openRooms(ctx context.Context) error {
	large, err := n.openLarge(ctx)
	if err != nil {
		return err
	}
	n.blobs = blob.New(blob.Options{KV: n.kv, Large: large, IDs: n.ids, Clock: n.clock})
	if err := n.openBus(); err != nil {
		return err
	}
	n.glass = observe.NewGlass(n.ids, n.clock, nil)
	n.journey = observe.NewJourney(n.Log, n.clock, nil)
	if err := n.join(ctx); err != nil {
		return err
	}
	n.queue = queue.New(queue.Options{KV: n.kv, Blobs: n.blobs, Bus: n.bus, Clock: n.clock, Node: n.nodes})
	lim := n.Config.Limits
	n.store = store.New(store.Options{
		KV: n.kv, Blobs: n.blobs, Bus: n.bus, Clock: n.clock, Log: n.Log, Quota: n.quota, Room: n.space.Room,
		Keep:   n.Config.Undelete,
		LogAge: n.Config.Changes.Age, LogRows: n.Config.Changes.Rows,
		Counted: func(u store.Usage) { n.quotas.Counted(u) },
		Parse:   n.parseLimits(), Mailboxes: lim.MailboxesPerUser,
		Shared: n.shared(), Node: n.nodes,
	})
	if n.Config.SearchIndex == "on" {
		n.index = n.textIndex()
	}
	if n.directory, err = n.openDirectory(ctx); err != nil {
		return err
	}
	n.quotas = quota.New(quota.Options{
		Directory: n.directory, Store: n.store, Clock: n.clock, Final: n.Config.Limits.OverQuota == "never",
	})
	if n.Bare {
		return nil
	}
	return n.makeSure(ctx)
}

func (n *node) closeStorage() error {
	var err error
	if n.store != nil {
		err = n.store.Close()
	}
	err = errors.Join(err, n.sending.Close())
	n.stopSpace()
	if n.bucket != nil {
		err = errors.Join(err, n.bucket.Close())
	}
	return errors.Join(err, n.closeRows())
}
