package postgres

import (
	"bytes"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
)

// TestBuffer writes at random, few rows and many, and compares each look at the buffer with a map.
func TestBuffer(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(1, 2))
	key := func() []byte { return fmt.Appendf(nil, "%02d", r.IntN(60)) }
	for range 300 {
		b, rows := buffer{}, map[string][]byte{} // nil is deleted
		var gone []span
		for range r.IntN(80) {
			switch k := key(); r.IntN(20) {
			case 0:
				s := span{k, key()}
				b.deleteRange(s)
				gone = append(gone, s)
				maps.DeleteFunc(rows, func(k string, _ []byte) bool { return s.has([]byte(k)) })
			case 1:
				b.put(write{k, nil})
				rows[string(k)] = nil
			default:
				b.put(write{k, key()})
				rows[string(k)] = b.writes[len(b.writes)-1].value
			}
			checkBuffer(t, &b, rows, gone, key(), key())
		}
		var want, got []string
		for _, k := range slices.Sorted(maps.Keys(rows)) {
			want = append(want, fmt.Sprintf("%s=%q", k, rows[k]))
		}
		for _, w := range b.inOrder() {
			got = append(got, fmt.Sprintf("%s=%q", w.key, w.value))
		}
		if !slices.Equal(got, want) {
			t.Fatalf("to be written: %v, want %v", got, want)
		}
	}
}

func checkBuffer(t *testing.T, b *buffer, rows map[string][]byte, gone []span, k, end []byte) {
	t.Helper()
	inGone := slices.ContainsFunc(gone, func(s span) bool { return s.has(k) })
	want, written := rows[string(k)]
	if v, known := b.own(k); known != (written || inGone) || !bytes.Equal(v, want) || (v == nil) != (want == nil) {
		t.Fatalf("%s: %q, %v; want %q, %v", k, v, known, want, written || inGone)
	}
	if bytes.Compare(k, end) >= 0 {
		return
	}
	in := span{k, end}
	wrote := slices.ContainsFunc(gone, func(s span) bool { return bytes.Compare(k, s.to) < 0 && bytes.Compare(s.from, end) < 0 })
	for k := range rows {
		wrote = wrote || in.has([]byte(k))
	}
	if got := b.wrote(k, end); got != wrote {
		t.Fatalf("wrote %s to %s: %v, want %v", k, end, got, wrote)
	}
}

// TestArena gives room that is never nil and never shared.
func TestArena(t *testing.T) {
	t.Parallel()
	var a arena
	var kept [][]byte
	for i := range 300 {
		v := bytes.Repeat([]byte{byte(i)}, i*7%900)
		kept = append(kept, a.keep(v))
		_ = append(kept[i], 'x') // must not reach the next
	}
	for i, v := range kept {
		if v == nil || !bytes.Equal(v, bytes.Repeat([]byte{byte(i)}, i*7%900)) {
			t.Fatalf("%d: %q", i, v)
		}
	}
}
