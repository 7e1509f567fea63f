package postgres

import (
	"context"
	"slices"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"postel/internal/kv"
)

// Bounds of one statement and of one page of a scan.
const (
	maxPageRows      = 5000
	maxPageOctets    = 4 << 20
	maxWriteRows     = 5000
	maxWriteOctets   = 8 << 20
	valuesInOneQuery = 5000
)

// script is a list of statements that go to the database in one round trip. It encodes parameters and reads results
// itself: per transaction this is much of what a group costs.
type script struct {
	*statements
	batch   pgconn.Batch
	answers []func(*pgconn.ResultReader) // one a statement, nil where none is awaited
	reuse   *[]byte                      // room for parameters
}

func (s *Store) script() *script { return &script{statements: s.statements, reuse: new([]byte)} }

// prepare makes statements known to a session, in one round trip.
func prepare(ctx context.Context, c *pgconn.PgConn, statements []*statement) error {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	p := c.StartPipeline(ctx)
	for _, st := range statements {
		p.SendPrepare(st.Name, st.SQL, nil)
	}
	if err := p.Sync(); err != nil {
		return err
	}
	return p.Close()
}

var binaryFormat = []int16{1}

// ask adds a statement. It does not keep args.
func (x *script) ask(st *statement, answer func(*pgconn.ResultReader), args ...[]byte) {
	x.batch.ExecStatement(st, args, binaryFormat, binaryFormat)
	x.answers = append(x.answers, answer)
}

// exec adds a statement without an answer.
func (x *script) exec(st *statement, args ...[]byte) { x.ask(st, nil, args...) }

// run sends the script and handles its answers; the first error ends it.
func (x *script) run(ctx context.Context, c *pgconn.PgConn, within time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	results := c.ExecBatch(ctx, &x.batch)
	for i := 0; results.NextResult(); i++ {
		r := results.ResultReader()
		if answer := x.answers[i]; answer != nil {
			answer(r)
		}
		_, _ = r.Close() // results has its error too
	}
	return results.Close()
}

// take adds the taking of slots, in order; n gets how many there were.
func (x *script) take(slots []int32, n *int) {
	x.ask(x.lock, func(r *pgconn.ResultReader) {
		for r.NextRow() {
			*n++
		}
	}, int4Array(nil, slots))
}

// found are rows that were looked up, by their keys; nil is no row.
type found struct {
	at     map[string]int
	keys   [][]byte
	values [][]byte
	arena  arena
}

// want adds a key to look up.
func (f *found) want(k []byte) {
	if f.at == nil {
		f.at = make(map[string]int)
	}
	if _, twice := f.at[string(k)]; !twice {
		f.at[string(k)] = len(f.keys)
		f.keys, f.values = append(f.keys, k), append(f.values, nil)
	}
}

func (f *found) own(k []byte) (v []byte, known bool) {
	i, known := f.at[string(k)]
	if known {
		v = f.values[i]
	}
	return v, known
}

// get adds the reading of all rows that are wanted.
func (x *script) get(f *found) {
	var parts [2][]int
	for i, k := range f.keys {
		parts[tableOf(k)] = append(parts[tableOf(k)], i)
	}
	for t, part := range parts {
		for chunk := range slices.Chunk(part, valuesInOneQuery) {
			keys := byteaArray((*x.reuse)[:0], len(chunk), func(i int) []byte { return f.keys[chunk[i]] })
			x.ask(x.tables[t].get, func(r *pgconn.ResultReader) {
				for r.NextRow() {
					row := r.Values()
					if i, ok := f.at[string(row[0])]; ok {
						f.values[i] = f.arena.keep(row[1])
					}
				}
			}, keys)
			x.done(keys)
		}
	}
}

// page is one step of a scan.
type page struct {
	segment
	reverse, keysOnly bool
	limit             int
	rows              []kv.Row
	octets            int
	ended             bool // nothing is behind it
}

// scan adds the reading of a page. It keeps no more than maxPageOctets and a row, whatever the database sends.
func (x *script) scan(p *page) {
	p.ended = true
	x.ask(x.tables[p.table].pages[index(p.reverse)][index(p.keysOnly)], func(r *pgconn.ResultReader) {
		n := 0
		var rows arena
		for r.NextRow() {
			n++
			if p.octets > maxPageOctets {
				p.ended = false
				continue
			}
			row := kv.Row{Key: rows.keep(r.Values()[0])}
			if !p.keysOnly {
				row.Value = rows.keep(r.Values()[1])
			}
			p.rows = append(p.rows, row)
			p.octets += len(row.Key) + len(row.Value)
		}
		p.ended = p.ended && n < p.limit
	}, p.from, p.to, bigint(p.limit))
}

func index(b bool) int {
	if b {
		return 1
	}
	return 0
}

// write adds all writes of a buffer: ranges, then rows in key order. It tells whether ranges are among them.
func (x *script) write(b *buffer) (ranges bool) {
	for _, r := range b.ranges {
		for _, s := range segments(r.from, r.to) {
			x.exec(x.tables[s.table].delRange, s.from, s.to)
		}
	}
	var parts [2]statementRows
	for _, w := range b.inOrder() {
		t := tableOf(w.key)
		if parts[t].add(w) {
			x.flush(t, &parts[t])
		}
	}
	for t := range parts {
		x.flush(t, &parts[t])
	}
	return len(b.ranges) > 0
}

// statementRows are writes to one table that go into statements of bounded size.
type statementRows struct {
	del, set []write
	octets   int
}

// add tells that it is full.
func (s *statementRows) add(w write) bool {
	if w.value == nil {
		s.del = append(s.del, w)
	} else {
		s.set = append(s.set, w)
	}
	s.octets += len(w.key) + len(w.value)
	return s.octets > maxWriteOctets || len(s.del)+len(s.set) >= maxWriteRows
}

func (x *script) flush(t int, s *statementRows) {
	if len(s.del) > 0 {
		b := byteaArray((*x.reuse)[:0], len(s.del), func(i int) []byte { return s.del[i].key })
		x.exec(x.tables[t].del, b)
		x.done(b)
	}
	if len(s.set) > 0 {
		b := byteaArray((*x.reuse)[:0], len(s.set), func(i int) []byte { return s.set[i].key })
		n := len(b)
		b = byteaArray(b, len(s.set), func(i int) []byte { return s.set[i].value })
		x.exec(x.tables[t].set, b[:n], b[n:])
		x.done(b)
	}
	*s = statementRows{del: s.del[:0], set: s.set[:0]}
}

// done keeps the room of parameters for the next statements, unless it is large.
func (x *script) done(b []byte) {
	if cap(b) <= maxScratch {
		*x.reuse = b
	}
}
