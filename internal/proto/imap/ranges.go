package imap

import (
	"cmp"
	"slices"
	"sort"
)

// merge sorts ranges whose ends are in order and joins those that touch.
func merge(rs []Range) []Range {
	slices.SortFunc(rs, func(a, b Range) int { return cmp.Compare(a.From, b.From) })
	out := rs[:0]
	for _, r := range rs {
		if n := len(out); n > 0 && uint64(r.From) <= uint64(out[n-1].To)+1 {
			out[n-1].To = max(out[n-1].To, r.To)
			continue
		}
		out = append(out, r)
	}
	return out
}

// InRanges tells whether n is in ranges that Resolve gave.
func InRanges(rs []Range, n uint32) bool {
	i := sort.Search(len(rs), func(i int) bool { return rs[i].To >= n })
	return i < len(rs) && rs[i].From <= n
}
