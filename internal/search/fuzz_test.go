package search

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"postel/internal/message"
)

// FuzzPlan compares what a plan says of a text, whole and in pieces, with the text itself.
func FuzzPlan(f *testing.F) {
	f.Add("The invoice of Köln, 発注書", "voice of", uint8(3))
	f.Add(strings.Repeat("0123456789abcdef", 12), strings.Repeat("89abcdef01234567", 4), uint8(50))
	f.Add("x発注y", "x発", uint8(1))
	f.Fuzz(func(t *testing.T, text, needle string, cut uint8) {
		folded, sought := message.Fold(text), message.Fold(needle)
		whole, pieces := termsOf(folded), termsOf(folded, int(cut))
		if len(whole) != len(pieces) {
			t.Fatalf("%d terms, in pieces %d", len(whole), len(pieces))
		}
		p := planOf([]byte(sought))
		fits := true
		for _, probe := range p.probes {
			fits = fits && probe.fitsAny(whole)
		}
		holds := strings.Contains(folded, sought)
		if holds && !fits {
			t.Fatalf("%q is in %q and not found", sought, folded)
		}
		if p.exact && fits && !holds {
			t.Fatalf("%q is not in %q and found", sought, folded)
		}
	})
}

// termsOf gives the terms of a text that comes in pieces of about so many octets; 0 is one piece.
func termsOf(folded string, cut ...int) map[string]bool {
	terms := map[string]bool{}
	tok := tokenizer{emit: func(t []byte) {
		if len(t) == 0 || len(t) > maxTerm {
			panic("a term of an impossible length")
		}
		terms[string(t)] = true
	}}
	rest := []byte(folded)
	for len(cut) > 0 && cut[0] > 0 && len(rest) > cut[0] {
		n := cut[0]
		for n < len(rest) && rest[n]&0xc0 == 0x80 {
			n++
		}
		tok.write(rest[:n], false)
		rest = rest[n:]
	}
	tok.write(rest, true)
	return terms
}

func (p probe) fitsAny(terms map[string]bool) bool {
	s := string(p.text)
	for t := range terms {
		if p.fit == whole && t == s || p.fit == front && strings.HasPrefix(t, s) ||
			p.fit == back && strings.HasSuffix(t, s) || p.fit == inside && strings.Contains(t, s) {
			return true
		}
	}
	return false
}

// FuzzPostings writes the octets as slots and reads them, and reads them as postings.
func FuzzPostings(f *testing.F) {
	f.Add([]byte{1, 2, 3, 200, 0, 0, 7})
	f.Fuzz(func(t *testing.T, in []byte) {
		var slots []slot
		next := slot(0)
		for _, d := range in {
			next += slot(d) * slot(d)
			slots = append(slots, next)
			next++
		}
		if len(slots) > 0 {
			r := reader{b: append(appendPostings(nil, slots), 0)}
			skipping := r
			var got []slot
			r.postings(next, func(s slot) { got = append(got, s) })
			skipping.postings(next, nil)
			if r.bad || skipping.bad || len(r.b) != 1 || len(skipping.b) != 1 || !bytes.Equal(bytesOf(got), bytesOf(slots)) {
				t.Fatalf("%v: %v %v", slots, got, r)
			}
		}
		found := newBits(100)
		for r := (reader{b: in}); !r.bad && len(r.b) > 0; {
			r.postings(100, found.set)
		}
		if s, err := decodeSegment(1, in); err == nil {
			if again, err := decodeSegment(1, s.encode()); err != nil || !slices.Equal(again.docs, s.docs) {
				t.Fatal(again, err)
			}
		}
	})
}

func bytesOf(slots []slot) (b []byte) {
	for _, s := range slots {
		b = append(b, byte(s), byte(s>>8), byte(s>>16), byte(s>>24))
	}
	return b
}
