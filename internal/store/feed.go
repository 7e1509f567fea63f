package store

import (
	"cmp"
	"context"
	"maps"
	"slices"

	"postel/internal/kv"
	"postel/internal/mail"
)

// Bounds of one answer of Feed.
const (
	MaxFeed    = 2000   // transactions
	feedRanges = 10_000 // ranges of UIDs and emails; the transaction that reaches it is the last
)

// Feed is what changed in an account: what was touched, not what became of it, for that is read from the rows and may
// be newer. Who takes over all of it, page after page until More is false, has what the account is.
type Feed struct {
	Until ModSeq // the Since of the next question
	More  bool   // there is more after Until
	// Resync says that the log does not go back so far: everything is to be read anew, after this answer, and Until is
	// where to go on. All fields below are empty then.
	Resync bool

	Mailboxes     []MailboxID // made, renamed, deleted: with one that is not there any more all its entries are gone
	Subscriptions bool
	Keywords      bool      // the names of the keyword slots
	Boxes         []FeedBox // entries, by mailbox; of mailboxes that are gone too
	Gone          []EmailID // in no mailbox any more; an undelete may bring one back
	Left          []EmailID // gone from one mailbox, and elsewhere still
}

// FeedBox is what changed in one mailbox. Ranges ascend and do not overlap; a UID may be in both lists.
type FeedBox struct {
	Mailbox  MailboxID
	Touched  []UIDRange // new, or with other flags; perhaps gone again
	Expunged []UIDRange // gone for good: no UID is used again
}

// UIDRange is the UIDs from First to Last. Not every one of them need be there.
type UIDRange struct{ First, Last UID }

// Feed tells what changed in an account after since, which is 0 or the Until of an answer before: limit transactions at
// most, 0 or more than MaxFeed being MaxFeed. It shows what is durable. The log reaches back Options.LogAge and
// Options.LogRows; for a since before that, or ahead of the account (one that was restored), Resync is set. Kind NotFound
// for no account.
func (s *Store) Feed(ctx context.Context, a mail.AccountID, since ModSeq, limit int) (Feed, error) {
	if limit <= 0 || limit > MaxFeed {
		limit = MaxFeed
	}
	var f Feed
	err := s.o.KV.View(ctx, lockOf(a), func(r kv.Reader) error {
		acct, err := readAccount(r, a)
		if err != nil {
			return err
		}
		if since < acct.floor || since > acct.modSeq {
			f = Feed{Until: acct.modSeq, Resync: true}
			return nil
		}
		g := gather{boxes: map[MailboxID]*FeedBox{}, until: since}
		rows := 0
		for row, err := range r.Scan(keyLog(a, since+1), keyLog(a, acct.modSeq+1), kv.ScanOptions{Limit: limit + 1}) {
			if err != nil {
				return err
			}
			if rows == limit || g.size >= feedRanges {
				f = g.feed()
				f.More = true
				return nil
			}
			l, err := decodeLog(row.Value)
			if err != nil {
				return err
			}
			g.take(logSeq(row.Key), &l)
			rows++
		}
		g.until = acct.modSeq
		f = g.feed()
		return nil
	})
	return f, mail.Wrap("store.feed", err)
}

// gather puts rows of the change log together.
type gather struct {
	until ModSeq
	out   Feed
	boxes map[MailboxID]*FeedBox
	size  int
}

func (g *gather) take(seq ModSeq, l *logRow) {
	g.until = seq
	for i := range l.ops {
		op := &l.ops[i]
		g.size += len(op.uids) + len(op.gone)
		switch op.kind {
		case opMailbox:
			if op.m == 0 {
				g.out.Subscriptions = true
			} else {
				g.out.Mailboxes = append(g.out.Mailboxes, op.m)
			}
		case opKeywords:
			g.out.Keywords = true
		case opLeft:
			g.out.Left = append(g.out.Left, op.gone...)
		case opExpunge:
			g.out.Gone = append(g.out.Gone, op.gone...)
			g.box(op).Expunged = appendFeed(g.box(op).Expunged, op.uids)
		case opAdd, opFlags:
			g.box(op).Touched = appendFeed(g.box(op).Touched, op.uids)
		}
	}
}

func (g *gather) box(op *logOp) *FeedBox {
	b := g.boxes[op.m]
	if b == nil {
		b = &FeedBox{Mailbox: op.m}
		g.boxes[op.m] = b
	}
	return b
}

func appendFeed(to []UIDRange, from []uidRange) []UIDRange {
	for _, r := range from {
		if r.end > r.first {
			to = append(to, UIDRange{r.first, r.end - 1})
		}
	}
	return to
}

func (g *gather) feed() Feed {
	f := g.out
	f.Until = g.until
	f.Mailboxes, f.Gone, f.Left = sorted(f.Mailboxes), sorted(f.Gone), sorted(f.Left)
	for _, m := range slices.Sorted(maps.Keys(g.boxes)) {
		b := g.boxes[m]
		b.Touched, b.Expunged = joinRanges(b.Touched), joinRanges(b.Expunged)
		if len(b.Touched)+len(b.Expunged) > 0 {
			f.Boxes = append(f.Boxes, *b)
		}
	}
	return f
}

func sorted[T cmp.Ordered](s []T) []T {
	slices.Sort(s)
	return slices.Compact(s)
}

// joinRanges sorts ranges and joins those that overlap or touch.
func joinRanges(s []UIDRange) []UIDRange {
	slices.SortFunc(s, func(a, b UIDRange) int { return cmp.Compare(a.First, b.First) })
	out := s[:0]
	for _, r := range s {
		if n := len(out); n > 0 && uint64(r.First) <= uint64(out[n-1].Last)+1 {
			out[n-1].Last = max(out[n-1].Last, r.Last)
			continue
		}
		out = append(out, r)
	}
	return out
}
