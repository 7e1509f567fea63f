package store

import "slices"

// uidRange is the UIDs from first to before end.
type uidRange struct{ first, end UID }

func (r uidRange) has(uid UID) bool { return uid >= r.first && uid < r.end }

// addUID adds a UID; ascending ones become long ranges.
func addUID(set []uidRange, uid UID) []uidRange {
	if n := len(set); n > 0 && set[n-1].end == uid {
		set[n-1].end++
		return set
	}
	return append(set, uidRange{uid, uid + 1})
}

// appendRanges encodes ranges: how many, then for each the distance from the previous end (which may be negative)
// and the length.
func appendRanges(b []byte, set []uidRange) []byte {
	b = appendUint(b, len(set))
	var last UID
	for _, r := range set {
		b = appendInt(b, int64(r.first)-int64(last))
		b = appendUint(b, r.end-r.first)
		last = r.end
	}
	return b
}

func (d *decoder) ranges() []uidRange {
	n := d.count(2)
	if n == 0 {
		return nil
	}
	set := make([]uidRange, 0, n)
	var last int64
	for range n {
		first := last + d.int()
		last = first + int64(d.u32())
		if first < 0 || last > 1<<32-1 || last < first {
			d.bad = true
		}
		if d.bad {
			return nil
		}
		set = append(set, uidRange{UID(first), UID(last)})
	}
	return set
}

// sortedUIDs gives a sorted copy without duplicates and without 0.
func sortedUIDs(uids []UID) []UID {
	s := slices.Clone(uids)
	slices.Sort(s)
	s = slices.Compact(s)
	if len(s) > 0 && s[0] == 0 {
		s = s[1:]
	}
	return s
}
