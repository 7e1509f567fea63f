package local

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"runtime"
	"sync"
	"time"

	"postel/internal/directory"
	"postel/internal/kv"
	"postel/internal/mail"
)

// Options of a Directory. KV is needed, all else has defaults.
type Options struct {
	KV    kv.Store
	Clock func() time.Time // nil: time.Now
	// Postmaster takes mail for the postmaster of domains that have no account or alias of that name. Without it
	// the catcher does, without one the first account.
	Postmaster mail.Address
	// Recoverable keeps with each new password a sealed copy, for APOP and CRAM-MD5.
	Recoverable bool
	// Hash is the cost of argon2id for new passwords; zero is 19 MiB, 2 passes, 1 lane.
	Hash HashCost
	// Iterations of SCRAM for new passwords; 0 is 32,768, fewer than 10,000 are 10,000.
	Iterations int
	// Parallel is how many argon2id computations may run at once; 0 is one a core.
	Parallel int
	// Alone says that nobody else writes to the rows, so that what was read can be remembered until it is changed here.
	Alone bool
	// Unchecked also opens a directory whose secret is damaged, for Verify; nobody may log in to it.
	Unchecked bool
}

// Directory implements directory.Directory. Safe for concurrent use.
type Directory struct {
	o       Options
	secret  []byte // of the sv row; keys are derived from it. nil: it is damaged
	hashing chan struct{}
	known   remembered

	targets  table[mail.Address, directory.Target]
	accounts table[mail.AccountID, directory.Account]
	domains  table[mail.Domain, directory.Domain]
	coverage coverage
}

var _ directory.Directory = (*Directory)(nil)

// format is the version of all rows of this package.
const format = 1

// New opens the directory in o.KV and makes its secrets where they are missing. Kind Unsupported when a newer
// program wrote the rows.
func New(ctx context.Context, o Options) (*Directory, error) {
	if o.Clock == nil {
		o.Clock = time.Now
	}
	if o.Hash == (HashCost{}) {
		o.Hash = HashCost{MemoryKiB: 19 << 10, Passes: 2, Lanes: 1}
	}
	if o.Iterations == 0 {
		o.Iterations = 32_768
	}
	o.Iterations = max(o.Iterations, 10_000)
	if o.Parallel <= 0 {
		o.Parallel = runtime.GOMAXPROCS(0)
	}
	d := &Directory{o: o, hashing: make(chan struct{}, o.Parallel)}
	d.known.init()
	d.coverage.now = o.Clock
	if o.Alone {
		d.targets.m, d.accounts.m, d.domains.m = map[mail.Address]directory.Target{}, map[mail.AccountID]directory.Account{}, map[mail.Domain]directory.Domain{}
		d.o.KV = watched{o.KV, d.changed}
	}
	if err := d.open(ctx); err != nil {
		return nil, err
	}
	return d, nil
}

func secretKey() kv.Key  { return kv.K(kv.Server).Text("directory") }
func counterKey() kv.Key { return kv.K(kv.Server).Text("accounts") }

// open reads the server's secret, or makes it.
func (d *Directory) open(ctx context.Context) error {
	lock := []kv.Key{kv.LockServer()}
	err := d.o.KV.View(ctx, lock, func(r kv.Reader) error { return d.readSecret(r) })
	if !mail.Is(err, mail.NotFound) {
		return mail.Wrap("directory.open", err)
	}
	fresh := make([]byte, sha256.Size)
	_, _ = rand.Read(fresh) // never fails (crypto/rand)
	err = d.o.KV.Update(ctx, kv.Txn{Lock: lock, Read: []kv.Key{secretKey()}}, func(tx kv.Tx) error {
		err := d.readSecret(tx)
		if mail.Is(err, mail.NotFound) {
			d.secret = fresh
			tx.Set(secretKey(), append([]byte{format}, fresh...))
			return nil
		}
		return err
	})
	return mail.Wrap("directory.open", err)
}

func (d *Directory) readSecret(r kv.Reader) error {
	v, err := r.Get(secretKey())
	switch {
	case err != nil:
		return err
	case len(v) == 1+sha256.Size && v[0] == format:
		d.secret = append([]byte(nil), v[1:]...)
		return nil
	case d.o.Unchecked:
		return nil
	case len(v) > 0 && v[0] > format:
		return mail.E("directory.open", mail.Unsupported,
			"the directory was written by a newer version of this program, or its secret is damaged: `postel check` tells")
	}
	return mail.E("directory.open", mail.Internal, "the row of the directory's secret is damaged: `postel check --repair` mends it")
}

// derive gives a key, or stable bytes that look random, for a purpose and what it is about.
func (d *Directory) derive(purpose string, about ...string) []byte {
	h := hmac.New(sha256.New, d.secret)
	h.Write([]byte(purpose))
	for _, a := range about {
		h.Write([]byte{0})
		h.Write([]byte(a))
	}
	return h.Sum(nil)
}

// Key gives a secret of this server for a purpose; it is the same as long as the rows are kept, and on all nodes.
func (d *Directory) Key(purpose string) []byte { return d.derive("key", purpose) }

// Locks gives the locks for a transaction that adds or removes the accounts given, or addresses.
func Locks(ids ...mail.AccountID) []kv.Key {
	out := []kv.Key{kv.LockDirectory()}
	for _, id := range ids {
		out = append(out, kv.LockAccount(id))
	}
	return out
}

// remembered keeps which passwords were found right.
type remembered struct {
	key [32]byte
	mu  sync.Mutex
	m   map[[32]byte]time.Time // MAC to when it is forgotten
}

const (
	rememberFor = 5 * time.Minute
	rememberMax = 10_000
)

func (r *remembered) init() {
	_, _ = rand.Read(r.key[:]) // never fails (crypto/rand)
	r.m = map[[32]byte]time.Time{}
}

// mac names a password of an account as long as its stored hash is the same.
func (r *remembered) mac(id mail.AccountID, stored []byte, prepared string) (out [32]byte) {
	h := hmac.New(sha256.New, r.key[:])
	h.Write(kv.Key(nil).Account(id).U32(uint32(len(stored))))
	h.Write(stored)
	h.Write([]byte(prepared))
	h.Sum(out[:0])
	return out
}

func (r *remembered) has(mac [32]byte, now time.Time) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	until, ok := r.m[mac]
	if ok && now.After(until) {
		delete(r.m, mac)
		return false
	}
	return ok
}

// add remembers a password; when there is no room, what is old goes, else anything.
func (r *remembered) add(mac [32]byte, now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.m) >= rememberMax {
		for m, until := range r.m {
			if now.After(until) {
				delete(r.m, m)
			}
		}
		for m := range r.m {
			if len(r.m) < rememberMax {
				break
			}
			delete(r.m, m)
		}
	}
	r.m[mac] = now.Add(rememberFor)
}
