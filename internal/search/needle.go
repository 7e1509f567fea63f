package search

import "unicode/utf8"

// fit says how a probe fits a term.
type fit uint8

const (
	whole fit = iota
	front
	back
	inside
)

// probe is what some term of a message must be like.
type probe struct {
	fit  fit
	text []byte
}

// plan is how a needle is looked up: a message that holds it has, in one scope, a term for each probe. With exact
// the reverse is true as well. Without probes the index says nothing.
type plan struct {
	probes []probe
	exact  bool
}

// planOf makes the plan for a folded needle.
func planOf(needle []byte) plan {
	var p plan
	runs := runsOf(needle)
	for _, r := range runs {
		p.probes = append(p.probes, r.probes()...)
	}
	p.exact = len(p.probes) == 1 && len(runs) == 1 && len(runs[0].text) == len(needle) && runs[0].simple()
	return p
}

// run is a run in a needle; in the text it may go on at an open end.
type run struct {
	kind                class
	text                []byte
	openFront, openBack bool
	chars               int
}

func runsOf(needle []byte) []run {
	var runs []run
	kind := between
	for i := 0; i < len(needle); {
		r, size := utf8.DecodeRune(needle[i:])
		k := classOf(r)
		if k != between {
			if k != kind {
				runs = append(runs, run{kind: k, text: needle[i:i], openFront: i == 0})
			}
			last := &runs[len(runs)-1]
			last.text = last.text[:len(last.text)+size]
			last.chars++
		}
		kind = k
		i += size
	}
	if kind != between {
		runs[len(runs)-1].openBack = true
	}
	return runs
}

// simple tells whether the run, as the whole needle, is in a text exactly where its only probe fits a term.
func (r run) simple() bool {
	if r.kind == unspaced {
		return r.chars <= 2
	}
	return len(r.text) <= maxInside
}

func (r run) probes() []probe {
	if r.kind == unspaced {
		return r.pairs()
	}
	head, tail := r.text[:min(len(r.text), maxTerm)], r.text[max(0, len(r.text)-maxTerm):]
	switch {
	case !r.openFront && !r.openBack && len(r.text) <= maxTerm:
		return []probe{{whole, head}}
	case !r.openFront && !r.openBack:
		return []probe{{whole, head}, {whole, tail}}
	case !r.openFront:
		return []probe{{front, head}}
	case !r.openBack:
		return []probe{{back, tail}}
	case len(r.text) <= maxInside:
		return []probe{{inside, r.text}}
	}
	return []probe{{inside, r.text[:maxInside]}, {inside, r.text[len(r.text)-maxInside:]}}
}

// maxPairs bounds the probes of one run.
const maxPairs = 8

func (r run) pairs() []probe {
	if r.chars == 1 {
		return []probe{{inside, r.text}}
	}
	var p []probe
	_, size := utf8.DecodeRune(r.text)
	for from, i := 0, size; i < len(r.text) && len(p) < maxPairs; {
		_, next := utf8.DecodeRune(r.text[i:])
		p = append(p, probe{whole, r.text[from : i+next]})
		from, i = i, i+next
	}
	return p
}
