package imapd

import (
	"math/rand/v2"
	"testing"

	"postel/internal/proto/imap"
	"postel/internal/store"
)

// TestSieve makes searches at random: what a sieve holds back, the search itself refuses.
func TestSieve(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(3, 4))
	var make func(depth int) *term
	make = func(depth int) *term {
		ops := []imap.SearchOp{
			imap.SearchFlag, imap.SearchNoFlag, imap.SearchNew, imap.SearchUID, imap.SearchAll, imap.SearchAnd, imap.SearchOr, imap.SearchNot,
		}
		if depth == 0 {
			ops = ops[:5]
		}
		x := &term{op: ops[r.IntN(len(ops))], flags: 1 << r.IntN(3), recent: r.IntN(4) == 0, ranges: []imap.Range{{From: 3, To: 7}}}
		if x.recent {
			x.flags = 0
		}
		switch x.op {
		case imap.SearchAnd, imap.SearchOr:
			for range 1 + r.IntN(3) {
				x.terms = append(x.terms, make(depth-1))
			}
		case imap.SearchNot:
			x.terms = []*term{make(depth - 1)}
		}
		return x
	}
	held := 0
	for range 2000 {
		root := make(3)
		q := &query{s: &session{box: &mailbox{recent: 6}}, root: root}
		pass := root.sieve()
		for n := range 20 {
			c := candidate{seq: n, entry: store.Entry{UID: store.UID(n), Email: store.EmailID(n), Flags: store.Flags(r.IntN(8))}}
			if pass == nil || pass(c.entry.Email, c.entry.Flags) {
				continue
			}
			held++
			if v, err := root.eval(q, &c); v != no || err != nil {
				t.Fatalf("%+v holds back what gives %v, %v: %+v", root, v, err, c.entry)
			}
		}
	}
	if held == 0 {
		t.Error("nothing is held back")
	}
}
