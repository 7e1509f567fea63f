package kvtest

import (
	"bytes"
	"context"
	"iter"
	"slices"
	"sort"
	"sync"

	"postel/internal/kv"
	"postel/internal/mail"
)

// Memory is a small store in memory for tests that want no engine: it does nothing by itself, so that the clock of a
// bubble of synctest jumps over days. Each commit copies the list of rows: it is for some thousands of them.
func Memory() kv.Store { return &memory{locks: map[string]chan struct{}{}} }

type memory struct {
	running sync.WaitGroup

	mu     sync.Mutex
	closed bool
	locks  map[string]chan struct{} // closed when the holder leaves
	rows   []kv.Row                 // in order, never changed in place
}

// Close implements kv.Store.
func (m *memory) Close() error {
	m.mu.Lock()
	m.closed = true
	m.mu.Unlock()
	m.running.Wait()
	return nil
}

// begin takes locks and gives the function that leaves them, and the rows as they are then. Unless there is an error, the
// caller says running.Done.
func (m *memory) begin(ctx context.Context, lock []kv.Key) (leave func(), rows []kv.Row, err error) {
	names := make([]string, len(lock))
	for i, k := range lock {
		names[i] = string(k)
	}
	slices.Sort(names)
	names = slices.Compact(names)
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return nil, nil, mail.E("kvtest.memory", mail.Unavailable, "closed")
	}
	held := 0
	m.running.Add(1)
	release := func() {
		for _, n := range names[:held] {
			close(m.locks[n])
			delete(m.locks, n)
		}
	}
	for held < len(names) || ctx.Err() != nil {
		if ctx.Err() != nil {
			release()
			m.running.Done()
			return nil, nil, &mail.Error{Op: "kvtest.memory", Kind: mail.Canceled, Err: ctx.Err()}
		}
		left, taken := m.locks[names[held]]
		if !taken {
			m.locks[names[held]] = make(chan struct{})
			held++
			continue
		}
		m.mu.Unlock()
		select {
		case <-left:
		case <-ctx.Done():
		}
		m.mu.Lock()
	}
	return func() { m.mu.Lock(); defer m.mu.Unlock(); release() }, m.rows, nil
}

// View implements kv.Store.
func (m *memory) View(ctx context.Context, lock []kv.Key, fn func(kv.Reader) error) error {
	leave, rows, err := m.begin(ctx, lock)
	if err != nil {
		return err
	}
	defer m.running.Done()
	leave()
	return fn(&memoryTx{rows: rows})
}

// Update implements kv.Store.
func (m *memory) Update(ctx context.Context, t kv.Txn, fn func(kv.Tx) error) error {
	leave, rows, err := m.begin(ctx, t.Lock)
	if err != nil {
		return err
	}
	defer m.running.Done()
	defer leave()
	tx := &memoryTx{rows: rows}
	if err := fn(tx); err != nil {
		return err
	}
	if tx.err != nil || len(tx.writes) == 0 {
		return tx.err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.rows = slices.Clone(m.rows)
	for _, w := range tx.writes {
		m.rows = w.apply(m.rows)
	}
	return nil
}

// memoryWrite sets a row, or deletes a range.
type memoryWrite struct {
	from, to kv.Key // to is behind the row when one is set
	value    []byte
	sets     bool
}

func (w memoryWrite) apply(rows []kv.Row) []kv.Row {
	var with []kv.Row
	if w.sets {
		with = []kv.Row{{Key: w.from, Value: w.value}}
	}
	return slices.Replace(rows, position(rows, w.from), position(rows, w.to), with...)
}

// position gives the index of the first row that is not before k; of a nil key that behind the last.
func position(rows []kv.Row, k kv.Key) int {
	if k == nil {
		return len(rows)
	}
	return sort.Search(len(rows), func(i int) bool { return bytes.Compare(rows[i].Key, k) >= 0 })
}

// memoryTx is a Reader and a Tx.
type memoryTx struct {
	rows   []kv.Row
	writes []memoryWrite
	size   int
	err    error
}

// Get implements kv.Reader.
func (t *memoryTx) Get(k kv.Key) ([]byte, error) {
	for _, w := range slices.Backward(t.writes) {
		if bytes.Compare(w.from, k) <= 0 && (w.to == nil || bytes.Compare(k, w.to) < 0) {
			if w.sets {
				return w.value, nil
			}
			return nil, kv.ErrNotFound
		}
	}
	if i := position(t.rows, k); i < len(t.rows) && bytes.Equal(t.rows[i].Key, k) {
		return t.rows[i].Value, nil
	}
	return nil, kv.ErrNotFound
}

// GetMulti implements kv.Reader.
func (t *memoryTx) GetMulti(keys []kv.Key) ([][]byte, error) {
	values := make([][]byte, len(keys))
	for i, k := range keys {
		values[i], _ = t.Get(k)
	}
	return values, nil
}

// Scan implements kv.Reader.
func (t *memoryTx) Scan(from, to kv.Key, o kv.ScanOptions) iter.Seq2[kv.Row, error] {
	return func(yield func(kv.Row, error) bool) {
		for _, w := range t.writes {
			if (to == nil || bytes.Compare(w.from, to) < 0) && (w.to == nil || bytes.Compare(from, w.to) < 0) {
				yield(kv.Row{}, kv.ErrOwnWrites)
				return
			}
		}
		i, j := position(t.rows, append(kv.Key{}, from...)), position(t.rows, to)
		for n := 0; i < j && (o.Limit == 0 || n < o.Limit); n++ {
			row := t.rows[i]
			if i++; o.Reverse {
				i--
				j--
				row = t.rows[j]
			}
			row.Key = bytes.Clone(row.Key)
			if o.KeysOnly {
				row.Value = nil
			}
			if !yield(row, nil) {
				return
			}
		}
	}
}

// Set implements kv.Tx.
func (t *memoryTx) Set(k kv.Key, v []byte) {
	t.write(memoryWrite{from: bytes.Clone(k), to: append(bytes.Clone(k), 0), value: append([]byte{}, v...), sets: true}, len(k)+len(v))
}

// Delete implements kv.Tx.
func (t *memoryTx) Delete(k kv.Key) {
	t.write(memoryWrite{from: bytes.Clone(k), to: append(bytes.Clone(k), 0)}, len(k))
}

// DeleteRange implements kv.Tx.
func (t *memoryTx) DeleteRange(from, to kv.Key) {
	if to == nil || bytes.Compare(from, to) < 0 {
		t.write(memoryWrite{from: bytes.Clone(from), to: bytes.Clone(to)}, len(from)+len(to))
	}
}

func (t *memoryTx) write(w memoryWrite, size int) {
	switch t.size += size; {
	case t.err != nil:
	case len(w.from) == 0 || len(w.from) > kv.MaxKey:
		t.err = mail.E("kvtest.memory", mail.Invalid, "key of %d octets", len(w.from))
	case len(t.writes) >= kv.MaxTxnRows || t.size > kv.MaxTxnBytes:
		t.err = mail.E("kvtest.memory", mail.TooLarge, "the transaction is too large")
	default:
		t.writes = append(t.writes, w)
	}
}
