package kvtest

import (
	"bytes"
	"context"
	"errors"
	"sync"
	"time"

	"postel/internal/kv"
	"postel/internal/mail"
)

// Options choose what Strict does.
type Options struct {
	// Report is called with each violation, besides failing the transaction; t.Error fits. May be nil.
	Report func(args ...any)
	// Once runs fn once. Otherwise each Update runs it twice: the first run is dropped as if it had met a
	// conflict, so whatever fn does besides its writes happens twice.
	Once bool
	// Unlocked are tables that may be read without their lock: indexes whose rows are checked again under it.
	Unlocked []kv.Prefix
	// Declared fails a Get in an Update of a row that is not in its Txn.Read, where there is one.
	Declared bool
	// Slow fails an Update or View whose fn runs longer; 0 is no limit. The contract's limit is 2 s.
	Slow time.Duration
}

// Strict wraps a store. A transaction fails with Kind Internal, and is reported, when it
//   - touches a row without holding the row's lock (kv.Tables; rows written once and Lazy ones may be read without),
//   - touches a row of no table, or deletes a range that is not of one account,
//   - sets rows lazily that may not be lost,
//   - scans a range that it wrote,
//   - uses its Tx or Reader after fn has returned.
//
// It enforces the limits of a transaction (Kind TooLarge), and overwrites what Get and Scan gave when its life is
// over, so that a later use reads nonsense.
func Strict(s kv.Store, o Options) kv.Store {
	st := &strict{inner: s, o: o, tables: make(map[kv.Prefix]kv.Table), unlocked: make(map[kv.Prefix]bool)}
	for _, t := range kv.Tables() {
		st.tables[t.Prefix] = t
	}
	for _, p := range o.Unlocked {
		st.unlocked[p] = true
	}
	return st
}

type strict struct {
	inner    kv.Store
	o        Options
	tables   map[kv.Prefix]kv.Table
	unlocked map[kv.Prefix]bool
}

// errConflict ends the first run of an Update.
var errConflict = errors.New("injected conflict")

func (s *strict) Close() error { return s.inner.Close() }

// Failed implements kv.Waiter, if the store does.
func (s *strict) Failed() <-chan struct{} {
	if w, ok := s.inner.(kv.Waiter); ok {
		return w.Failed()
	}
	return nil
}

// Err implements kv.Waiter, if the store does.
func (s *strict) Err() error {
	if w, ok := s.inner.(kv.Waiter); ok {
		return w.Err()
	}
	return nil
}

func (s *strict) View(ctx context.Context, lock []kv.Key, fn func(kv.Reader) error) error {
	return s.inner.View(ctx, lock, func(r kv.Reader) error {
		sr := &strictReader{s: s, r: r, lock: lock}
		return sr.run(func() error { return fn(sr) })
	})
}

func (s *strict) Update(ctx context.Context, t kv.Txn, fn func(kv.Tx) error) error {
	run := func(tx kv.Tx) error {
		st := &strictTx{strictReader: strictReader{s: s, r: tx, lock: t.Lock, txn: &t}, tx: tx}
		return st.run(func() error { return fn(st) })
	}
	if !s.o.Once {
		err := s.inner.Update(ctx, t, func(tx kv.Tx) error {
			if err := run(tx); mail.Is(err, mail.TooLarge) || isViolation(err) {
				return err
			}
			return errConflict
		})
		if !errors.Is(err, errConflict) {
			return err
		}
	}
	return s.inner.Update(ctx, t, run)
}

// violation is the error of a broken rule.
type violation struct{ e *mail.Error }

func isViolation(err error) bool {
	var v violation
	return errors.As(err, &v)
}

func (v violation) Error() string { return v.e.Error() }

// Unwrap gives its Kind.
func (v violation) Unwrap() error { return v.e }

// strictReader checks reads. The mutex is for users that break the rule of using it in one goroutine.
type strictReader struct {
	s    *strict
	r    kv.Reader
	lock []kv.Key
	txn  *kv.Txn // nil in a View

	mu     sync.Mutex
	given  [][]byte // overwritten at the end
	writes []span
	size   int
	err    error // first violation
	done   bool
}

// span is a write: one key (to is nil) or a range.
type span struct{ from, to kv.Key }

// run runs fn and ends the life of all it was given.
func (r *strictReader) run(fn func() error) error {
	start := time.Now()
	err := fn()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.done = true
	for _, v := range r.given {
		spoil(v)
	}
	if took := time.Since(start); r.s.o.Slow > 0 && took > r.s.o.Slow {
		r.violate("fn ran for %v", took)
	}
	if r.err != nil {
		return r.err
	}
	return err
}

// spoil overwrites octets whose life is over.
func spoil(b []byte) {
	for i := range b {
		b[i] = 0xdb
	}
}

// violate keeps the first violation and reports each. The caller holds mu.
func (r *strictReader) violate(format string, args ...any) error {
	v := violation{mail.E("kvtest.strict", mail.Internal, format, args...)}
	if r.err == nil {
		r.err = v
	}
	if r.s.o.Report != nil {
		r.s.o.Report(v)
	}
	return v
}

// usable tells whether the transaction is still alive. The caller holds mu.
func (r *strictReader) usable() error {
	if r.done {
		return r.violate("used after fn returned")
	}
	return r.err
}

// lend gives a copy that dies with the transaction. The caller holds mu.
func (r *strictReader) lend(v []byte) []byte {
	if v == nil {
		return nil
	}
	c := append(make([]byte, 0, len(v)), v...)
	r.given = append(r.given, c)
	return c
}

func (r *strictReader) Get(k kv.Key) ([]byte, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.mayRead(k); err != nil {
		return nil, err
	}
	v, err := r.r.Get(k)
	return r.lend(v), err
}

func (r *strictReader) GetMulti(keys []kv.Key) ([][]byte, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, k := range keys {
		if err := r.mayRead(k); err != nil {
			return nil, err
		}
	}
	values, err := r.r.GetMulti(keys)
	for i, v := range values {
		values[i] = r.lend(v)
	}
	return values, err
}

// strictTx checks writes too.
type strictTx struct {
	strictReader
	tx kv.Tx
}

func (t *strictTx) Set(k kv.Key, v []byte) {
	t.write(span{from: k}, len(v), func() { t.tx.Set(bytes.Clone(k), bytes.Clone(v)) })
}

func (t *strictTx) Delete(k kv.Key) {
	t.write(span{from: k}, -1, func() { t.tx.Delete(bytes.Clone(k)) })
}

func (t *strictTx) DeleteRange(from, to kv.Key) {
	t.write(span{from, to}, -1, func() { t.tx.DeleteRange(bytes.Clone(from), bytes.Clone(to)) })
}

// write checks and does a write; value is the length of a value set, or -1.
func (t *strictTx) write(w span, value int, do func()) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.usable() != nil || t.mayWrite(w, value >= 0) != nil {
		return
	}
	t.writes = append(t.writes, span{bytes.Clone(w.from), bytes.Clone(w.to)})
	t.size += len(w.from) + len(w.to) + max(0, value)
	if len(t.writes) > kv.MaxTxnRows || t.size > kv.MaxTxnBytes {
		t.err = mail.E("kvtest.strict", mail.TooLarge, "transaction of %d rows, %d octets", len(t.writes), t.size)
		return
	}
	do()
}
