package store

import (
	"slices"
	"testing"
)

// TestWhere compares with All, over several chunks.
func TestWhere(t *testing.T) {
	t.Parallel()
	d := (&Snapshot{}).edit()
	for i := range 3*chunkLen + 5 {
		d.add(UID(2*i+1), &entryRow{email: EmailID(1<<33 + i), flags: Flags(i%3) << 40})
	}
	p := d.next
	keep := func(e EmailID, f Flags) bool { return e%2 == 0 && f&(1<<40) != 0 }
	type found struct {
		seq int
		e   Entry
	}
	var want, got, all []found
	for seq, e := range p.All() {
		all = append(all, found{seq, e})
		if keep(e.Email, e.Flags) {
			want = append(want, found{seq, e})
		}
	}
	for seq, e := range p.Where(keep) {
		got = append(got, found{seq, e})
	}
	if len(want) < chunkLen/2 || !slices.Equal(got, want) {
		t.Errorf("%d found, want %d", len(got), len(want))
	}
	got = nil
	for seq, e := range p.Where(nil) {
		got = append(got, found{seq, e})
	}
	if len(all) != 3*chunkLen+5 || !slices.Equal(got, all) {
		t.Errorf("%d without a condition, want %d", len(got), len(all))
	}
	for range p.Where(keep) {
		break
	}
}
