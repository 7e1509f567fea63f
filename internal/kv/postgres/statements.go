package postgres

import (
	"bytes"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"postel/internal/kv"
)

// statement is prepared in each session that may need it, under a name that is the same in all. Its parameters and
// results are binary.
type statement = pgconn.StatementDescription

// statements are all that the backend says to the database, once the tables are there.
type statements struct {
	begin, lazy, lock, makeSlots, commit, rollback *statement
	view, snapshot                                 *statement
	tables                                         [2]table

	reading, writing []*statement // those of Views, and those of groups
}

// table has the statements of one table of rows.
type table struct {
	get, set, del, delRange *statement
	pages                   [2][2]*statement // by Reverse, KeysOnly
	firstPage               int              // rows in the first page of a scan
}

const (
	rowsTable = iota
	bodiesTable
)

func newStatements() *statements {
	s := &statements{}
	group := func(name, sql string, columns ...string) *statement {
		st := newStatement(name, sql, columns)
		s.writing = append(s.writing, st)
		return st
	}
	view := func(name, sql string, columns ...string) *statement {
		st := newStatement(name, sql, columns)
		s.reading = append(s.reading, st)
		return st
	}
	both := func(name, sql string, columns ...string) *statement {
		st := view(name, sql, columns...)
		s.writing = append(s.writing, st)
		return st
	}
	s.begin = group("begin", `BEGIN`)
	s.lazy = group("lazy", `SET LOCAL synchronous_commit = off`)
	s.lock = group("lock", `SELECT slot FROM postel_locks WHERE slot = ANY($1::integer[]) ORDER BY slot FOR UPDATE`, "slot")
	s.makeSlots = group("make_slots", `INSERT INTO postel_locks SELECT unnest($1::integer[]) ON CONFLICT DO NOTHING`)
	s.rollback = group("rollback", `ROLLBACK`)
	s.commit = both("commit", `COMMIT`)
	s.view = view("view", `BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY`)
	s.snapshot = view("snapshot", `SELECT v FROM postel_rows WHERE k = ''`, "v") // the snapshot is that of the first look
	for i, firstPage := range [...]int{rowsTable: 200, bodiesTable: 16} {
		short := [...]string{rowsTable: "rows", bodiesTable: "bodies"}[i]
		name, t := "postel_"+short, &s.tables[i]
		page := func(kind, order string, columns ...string) *statement {
			return both(kind+"_"+short, `SELECT `+strings.Join(columns, ", ")+` FROM `+name+
				` WHERE k >= $1 AND k < $2 ORDER BY k`+order+` LIMIT $3`, columns...)
		}
		t.get = both("get_"+short, `SELECT k, v FROM `+name+` WHERE k = ANY($1::bytea[])`, "k", "v")
		t.set = group("set_"+short, `INSERT INTO `+name+` (k, v) SELECT * FROM unnest($1::bytea[], $2::bytea[])`+
			` ON CONFLICT (k) DO UPDATE SET v = EXCLUDED.v`)
		t.del = group("delete_"+short, `DELETE FROM `+name+` WHERE k = ANY($1::bytea[])`)
		t.delRange = group("delete_range_"+short, `DELETE FROM `+name+` WHERE k >= $1 AND k < $2`)
		t.pages[0] = [2]*statement{page("page", "", "k", "v"), page("keys", "", "k")}
		t.pages[1] = [2]*statement{page("back", " DESC", "k", "v"), page("keys_back", " DESC", "k")}
		t.firstPage = firstPage
	}
	return s
}

// newStatement names the columns, so that the database is not asked for them each time.
func newStatement(name, sql string, columns []string) *statement {
	st := &statement{Name: name, SQL: sql}
	for _, c := range columns {
		st.Fields = append(st.Fields, pgconn.FieldDescription{Name: c})
	}
	return st
}

// tableOf tells where a row lies.
func tableOf(k []byte) int {
	if len(k) >= len(kv.Blobs) && string(k[:len(kv.Blobs)]) == string(kv.Blobs) {
		return bodiesTable
	}
	return rowsTable
}

// segment is a part of a range that lies in one table.
type segment struct {
	table    int
	from, to []byte
}

// segments cuts a range into those of the tables, in key order. A nil to is behind the last key.
func segments(from, to []byte) []segment {
	bodies, behind := []byte(kv.Blobs), []byte(kv.Key(kv.Blobs).End())
	if to == nil {
		to = bytes.Repeat([]byte{0xff}, kv.MaxKey+1)
	}
	if from == nil {
		from = []byte{}
	}
	var out []segment
	add := func(table int, from, to []byte) {
		if bytes.Compare(from, to) < 0 {
			out = append(out, segment{table, from, to})
		}
	}
	add(rowsTable, from, least(to, bodies))
	add(bodiesTable, most(from, bodies), least(to, behind))
	add(rowsTable, most(from, behind), to)
	return out
}

func least(a, b []byte) []byte {
	if bytes.Compare(a, b) < 0 {
		return a
	}
	return b
}

func most(a, b []byte) []byte {
	if bytes.Compare(a, b) > 0 {
		return a
	}
	return b
}
