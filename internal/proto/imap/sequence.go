package imap

import (
	"strconv"

	"postel/internal/mail"
)

// Star is "*" in a Range: the largest number in use.
const Star = 0

// Range is one member of a sequence set; From and To may be in any order (RFC 3501 §9 seq-range).
type Range struct{ From, To uint32 }

// SeqSet is a sequence-set of message numbers or UIDs as it was given.
type SeqSet []Range

// sequenceSet is seq-number or seq-range, parted by commas.
func (d *Decoder) sequenceSet() SeqSet {
	var set SeqSet
	for !d.failed() {
		r := Range{From: d.seqNumber()}
		r.To = r.From
		if d.take(':') {
			r.To = d.seqNumber()
		}
		if d.ranges++; d.ranges > maxRanges {
			d.fail(mail.TooMany, "more than %d ranges in a command", maxRanges)
			return nil
		}
		set = append(set, r)
		if !d.take(',') {
			break
		}
	}
	return set
}

func (d *Decoder) seqNumber() uint32 {
	if d.take('*') {
		return Star
	}
	return d.nzNumber()
}

// Resolve gives the ranges in ascending order with "*" replaced by last, overlaps merged.
func (s SeqSet) Resolve(last uint32) []Range {
	out := make([]Range, 0, len(s))
	for _, r := range s {
		if r.From == Star {
			r.From = last
		}
		if r.To == Star {
			r.To = last
		}
		if r.From > r.To {
			r.From, r.To = r.To, r.From
		}
		if r.To == 0 {
			continue // "*" of an empty mailbox
		}
		out = append(out, r)
	}
	return merge(out)
}

// Most gives the largest number that is named, 0 when there is none but "*".
func (s SeqSet) Most() uint32 {
	var m uint32
	for _, r := range s {
		m = max(m, r.From, r.To)
	}
	return m
}

// AppendSet writes ascending numbers as a sequence-set in its shortest form: 1:3,5.
func AppendSet[N ~uint32](b []byte, nums []N) []byte {
	for i := 0; i < len(nums); {
		j := i + 1
		for j < len(nums) && nums[j] == nums[j-1]+1 {
			j++
		}
		if i > 0 {
			b = append(b, ',')
		}
		b = strconv.AppendUint(b, uint64(nums[i]), 10)
		if j > i+1 {
			b = append(b, ':')
			b = strconv.AppendUint(b, uint64(nums[j-1]), 10)
		}
		i = j
	}
	return b
}

// AppendTo writes the set as it was given.
func (s SeqSet) AppendTo(b []byte) []byte {
	for i, r := range s {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendSeqNumber(b, r.From)
		if r.To != r.From {
			b = append(b, ':')
			b = appendSeqNumber(b, r.To)
		}
	}
	return b
}

func appendSeqNumber(b []byte, n uint32) []byte {
	if n == Star {
		return append(b, '*')
	}
	return strconv.AppendUint(b, uint64(n), 10)
}
