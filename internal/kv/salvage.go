package kv

import (
	"bytes"
	"iter"
	"math/big"

	"postel/internal/mail"
)

// Salvage scans as Reader.Scan does and goes on behind what cannot be read, as a damaged block of the engine: damaged
// is told of each such range and its error, and the rows behind it follow. It ends early only when the engine as a
// whole is unavailable or ctx has ended, with that error as the last step. The range told may be a little larger than
// what is damaged, by keys that no row has.
func Salvage(r Reader, from, to Key, o ScanOptions, damaged func(from, to Key, err error)) iter.Seq2[Row, error] {
	o.Limit, o.Reverse = 0, false
	return func(yield func(Row, error) bool) {
		at := from
		for {
			var last Key
			var failed error
			for row, err := range r.Scan(at, to, o) {
				if err != nil {
					failed = err
					break
				}
				last = append(last[:0], row.Key...)
				if !yield(row, nil) {
					return
				}
			}
			switch {
			case failed == nil:
				return
			case !mail.Is(failed, mail.Internal):
				yield(Row{}, failed)
				return
			case last != nil:
				at = append(bytes.Clone(last), 0)
			}
			next := readable(r, at, to)
			damaged(at, next, failed)
			if next == nil || bytes.Equal(next, to) {
				return
			}
			at = next
		}
	}
}

// readable gives a key above bad from which on a row can be read; to when there is none. Steps that grow find a place
// behind the damage, halving the last of them its end, to within a small part of its length: each look at a damaged
// block may cost the engine much, so there are some twenty.
func readable(r Reader, bad, to Key) Key {
	end := to
	if end == nil {
		end = bytes.Repeat([]byte{0xff}, MaxKey)
	}
	width := max(len(bytes.TrimRight(bad, "\x00")), prefixLen(bad, end)+8, 18)
	start, top := number(bad, width), number(end, width)
	good := func(n *big.Int) bool {
		for _, err := range r.Scan(keyOf(n, width), to, ScanOptions{Limit: 1, KeysOnly: true}) {
			return err == nil
		}
		return true // nothing there
	}
	const growth, precision = 3, 8 // bits
	lo, hi := new(big.Int).Set(start), new(big.Int)
	for step := uint(0); ; step += growth {
		hi.Lsh(big.NewInt(1), step)
		if hi.Add(hi, start); hi.Cmp(top) >= 0 {
			hi.Set(top)
			break
		}
		if good(hi) {
			break
		}
		lo.Set(hi)
	}
	enough := new(big.Int).Sub(hi, start)
	enough.Rsh(enough, precision)
	for mid := new(big.Int); ; {
		if mid.Sub(hi, lo); mid.Cmp(enough) <= 0 || mid.Cmp(big.NewInt(1)) <= 0 {
			break
		}
		if mid.Add(lo, mid.Rsh(mid, 1)); good(mid) {
			hi.Set(mid)
		} else {
			lo.Set(mid)
		}
	}
	if hi.Cmp(top) >= 0 {
		return to
	}
	return keyOf(hi, width)
}

func prefixLen(a, b Key) int {
	n := 0
	for n < len(a) && n < len(b) && a[n] == b[n] {
		n++
	}
	return n
}

// number takes a key, filled up with zeros, as a number of width octets.
func number(k Key, width int) *big.Int {
	b := make([]byte, width)
	copy(b, k)
	return new(big.Int).SetBytes(b)
}

func keyOf(n *big.Int, width int) Key { return n.FillBytes(make([]byte, width)) }
