package upgrade

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"slices"

	"postel/internal/kv"
	"postel/internal/mail"
)

// Migration makes the rows of one format from those of the format before.
type Migration struct {
	To   uint32 // the format that it makes; the one before it is what it reads
	Name string // what changes, for people
	// Step does a part, from a key on (nil: the beginning), within the limits of a transaction: a thousand rows, say. It
	// gives the key with which the next step begins, nil when all is done, and how many rows it changed. It may be run
	// again when its transaction is. A row that says of itself that it is of format To already is left alone: Mend has
	// all migrations carried out again.
	Step func(tx kv.Tx, from kv.Key) (next kv.Key, changed int, err error)
}

// Options are what an upgrade works with.
type Options struct {
	KV         kv.Store
	Migrations []Migration // ascending, without a gap, the first one makes format 2
	// Prepare is called before the first change of data of format from: it takes a snapshot, and lets older programs
	// refuse the data. It may be called again when the process was killed before the first step. nil does nothing.
	Prepare func(ctx context.Context, from, to uint32) error
	// Tell is told of each migration that is done; nil is nobody.
	Tell func(Done)
}

// Done is a migration that was carried out.
type Done struct {
	From uint32 `json:"from"`
	To   uint32 `json:"to"`
	Name string `json:"name"`
	Rows int    `json:"rows"` // changed by this process
}

// errMoved says that the upgrade is not where it was left.
var errMoved = errors.New("the upgrade was carried on elsewhere")

// First is the format before all migrations.
const First uint32 = 1

// Newest gives the format that a list of migrations leads to.
func Newest(list []Migration) uint32 { return First + uint32(len(list)) }

// state is how far the rows are.
type state struct {
	format uint32
	empty  bool   // there are no rows at all
	to     uint32 // the format that is being made; 0: none
	next   kv.Key // where its next step begins
}

func formatKey() kv.Key   { return kv.K(kv.Server).Text("format") }
func progressKey() kv.Key { return kv.K(kv.Server).Text("upgrade") }
func lock() []kv.Key      { return []kv.Key{kv.LockServer()} }

// Format tells of which format the rows are: the older one while an upgrade is not complete. Kind Internal when that
// cannot be read.
func Format(ctx context.Context, s kv.Store) (uint32, error) {
	st, err := read(ctx, s)
	return st.format, err
}

func read(ctx context.Context, s kv.Store) (st state, err error) {
	err = s.View(ctx, lock(), func(r kv.Reader) error {
		st = state{format: First}
		rows, err := r.GetMulti([]kv.Key{formatKey(), progressKey()})
		if err != nil {
			return err
		}
		switch v := rows[0]; {
		case v == nil:
			st.empty = true
			for range r.Scan(nil, nil, kv.ScanOptions{Limit: 1, KeysOnly: true}) {
				st.empty = false
			}
		case badFormat(v):
			return mail.E("upgrade.read", mail.Internal, "the row that tells the format of the data is damaged: `postel check --repair` mends it")
		default:
			st.format = binary.BigEndian.Uint32(v)
		}
		if v := rows[1]; badProgress(v) {
			return mail.E("upgrade.read", mail.Internal, "the row of an upgrade is damaged: `postel check --repair` mends it")
		} else if v != nil {
			st.to, st.next = binary.BigEndian.Uint32(v[1:]), slices.Clone(v[5:])
		}
		return nil
	})
	return st, mail.Wrap("upgrade.read", err)
}

// badFormat and badProgress tell a damaged row; one that is missing is none.
func badFormat(v []byte) bool {
	return v != nil && (len(v) != 4 || binary.BigEndian.Uint32(v) < First)
}

func badProgress(v []byte) bool { return v != nil && (len(v) < 5 || v[0] != 1) }

// Verify tells which of the two rows is damaged. The caller has seen to it that the data is of no newer format.
func Verify(ctx context.Context, s kv.Store) (found []mail.Finding, err error) {
	err = s.View(ctx, lock(), func(r kv.Reader) error {
		found = nil
		for _, row := range []struct {
			key  kv.Key
			bad  func([]byte) bool
			text string
		}{
			{formatKey(), badFormat, "the row that tells the format of the data is damaged"},
			{progressKey(), badProgress, "the row of an upgrade is damaged"},
		} {
			rows, err := r.GetMulti([]kv.Key{row.key})
			switch {
			case mail.Is(err, mail.Internal):
				found = append(found, mail.Finding{Part: "format", Text: row.text + ": " + err.Error(), State: mail.Beyond})
			case err != nil:
				return err
			case row.bad(rows[0]):
				found = append(found, mail.Finding{Part: "format", Text: row.text, State: mail.Mendable})
			}
		}
		return nil
	})
	return found, mail.Wrap("upgrade.verify", err)
}

// Mend writes anew what Verify found mendable: the format, and nothing for the row of an upgrade. Where a server runs on
// the data its format is known; else it is the first, and Run then carries out all migrations once more.
func Mend(ctx context.Context, s kv.Store, format uint32) error {
	err := s.Update(ctx, kv.Txn{Lock: lock()}, func(tx kv.Tx) error {
		rows, err := tx.GetMulti([]kv.Key{formatKey(), progressKey()})
		if err != nil {
			return err
		}
		if badFormat(rows[0]) {
			setFormat(tx, format)
		}
		if badProgress(rows[1]) {
			tx.Delete(progressKey())
		}
		return nil
	})
	return mail.Wrap("upgrade.mend", err)
}

// Run brings the rows to the newest format; it goes on with what was begun. Data that is of it already is left alone.
// Kind Unsupported when the rows are newer than that: nothing was changed.
func Run(ctx context.Context, o Options) error {
	newest := Newest(o.Migrations)
	for {
		st, err := read(ctx, o.KV)
		if err != nil {
			return err
		}
		switch {
		case st.empty:
			return o.commit(ctx, func(tx kv.Tx) error { setFormat(tx, newest); return nil })
		case st.format > newest || st.to > newest:
			return mail.E("upgrade", mail.Unsupported, "the data has format %d, this binary reads up to %d", max(st.format, st.to), newest)
		case st.format == newest:
			return nil
		}
		if err := o.migrate(ctx, st); errors.Is(err, errMoved) {
			continue
		} else if err != nil {
			return mail.Wrap("upgrade", err)
		}
	}
}

// migrate carries out one migration.
func (o Options) migrate(ctx context.Context, st state) error {
	m := o.Migrations[st.format-First]
	if m.To != st.format+1 {
		return mail.E("upgrade", mail.Internal, "the list of migrations has a gap before format %d", m.To)
	}
	if st.to == 0 {
		if o.Prepare != nil {
			if err := o.Prepare(ctx, st.format, m.To); err != nil {
				return err
			}
		}
		if err := o.commit(ctx, func(tx kv.Tx) error { setProgress(tx, m.To, nil); return nil }); err != nil {
			return err
		}
	}
	done := Done{From: st.format, To: m.To, Name: m.Name}
	for at, more := st.next, true; more; {
		if err := ctx.Err(); err != nil {
			return &mail.Error{Op: "upgrade", Kind: mail.Canceled, Err: err}
		}
		var next kv.Key
		var changed int
		err := o.commit(ctx, func(tx kv.Tx) (err error) {
			if len(at) == 0 {
				at = nil
			}
			if v, err := tx.Get(progressKey()); err != nil || !bytes.Equal(v, progress(m.To, at)) {
				return errMoved // another node does the same
			}
			if next, changed, err = m.Step(tx, at); err != nil {
				return err
			}
			if next == nil {
				setFormat(tx, m.To)
				tx.Delete(progressKey())
				return nil
			}
			next = slices.Clone(next)
			setProgress(tx, m.To, next)
			return nil
		})
		if err != nil {
			return err
		}
		if more = next != nil; more && slices.Compare(next, at) <= 0 {
			return mail.E("upgrade", mail.Internal, "the migration to format %d does not move on", m.To)
		}
		done.Rows += changed
		at = next
	}
	if o.Tell != nil {
		o.Tell(done)
	}
	return nil
}

func (o Options) commit(ctx context.Context, fn func(kv.Tx) error) error {
	return o.KV.Update(ctx, kv.Txn{Lock: lock()}, fn)
}

func setFormat(tx kv.Tx, n uint32) { tx.Set(formatKey(), binary.BigEndian.AppendUint32(nil, n)) }

func progress(to uint32, next kv.Key) []byte {
	return append(binary.BigEndian.AppendUint32([]byte{1}, to), next...)
}

func setProgress(tx kv.Tx, to uint32, next kv.Key) {
	tx.Set(progressKey(), progress(to, next))
}
