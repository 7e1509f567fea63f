package imapd

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"time"

	"postel/internal/mail"
	"postel/internal/message"
	"postel/internal/proto/imap"
	"postel/internal/search"
	"postel/internal/store"
)

// maxTexts bounds the keys of a search that look for text: each holds some buffers.
const maxTexts = 32

// term is a search key made ready: sets resolved, flags looked up, texts folded.
type term struct {
	op     imap.SearchOp
	terms  []*term
	ranges []imap.Range
	flags  store.Flags
	recent bool // \Recent in the place of flags
	date   time.Time
	number int64
	field  string
	any    bool // the text is empty
	finder *message.Finder
	hits   *search.Hits // nil: the index knows nothing
	cost   int
}

// costs of looking: at the entry, at the email, at the body.
const (
	costEntry = iota
	costEmail
	costBody
)

func (s *session) newQuery(ctx context.Context, key imap.SearchKey) (*query, error) {
	q := &query{s: s, ctx: ctx, told: time.Now()}
	root, err := q.compile(key)
	if q.root = root; err == nil {
		err = q.findTexts(root)
	}
	return q, err
}

// compile makes a term of a key. Kind TooMany for too many texts.
func (q *query) compile(k imap.SearchKey) (*term, error) {
	t := &term{op: k.Op, date: k.Date, number: k.Number, field: k.Field}
	for _, sub := range k.Keys {
		c, err := q.compile(sub)
		if err != nil {
			return nil, err
		}
		t.terms = append(t.terms, c)
		t.cost = max(t.cost, c.cost)
	}
	// What costs least decides first.
	slices.SortStableFunc(t.terms, func(a, b *term) int { return cmp.Compare(a.cost, b.cost) })
	snap := q.s.box.snap
	switch k.Op {
	case imap.SearchSeq:
		// Numbers that are not there find nothing: many clients search 1:* in an empty mailbox.
		t.ranges = k.Set.Resolve(uint32(snap.Len()))
	case imap.SearchUID:
		t.ranges = k.Set.Resolve(uint32(lastUID(snap)))
	case imap.SearchFlag, imap.SearchNoFlag:
		t.recent = k.Text == imap.Recent
		if i := slices.Index(systemNames[:], k.Text); i >= 0 {
			t.flags = 1 << i
		} else {
			t.flags = slots(snap.Keywords(), []string{k.Text})
		}
	case imap.SearchBefore, imap.SearchOn, imap.SearchSince,
		imap.SearchSentBefore, imap.SearchSentOn, imap.SearchSentSince:
		t.cost = costEmail
	case imap.SearchHeader, imap.SearchBody, imap.SearchText:
		return t, q.compileText(t, k.Text)
	}
	return t, nil
}

func (q *query) compileText(t *term, text string) error {
	if q.text++; q.text > maxTexts {
		return mail.E("imapd.search", mail.TooMany, "more than %d texts in one search", maxTexts)
	}
	q.deep = q.deep || t.op != imap.SearchHeader
	t.any = text == ""
	t.finder = message.NewFinder(text)
	t.cost = costBody
	if t.op == imap.SearchHeader && message.IsKeptField(t.field) {
		t.cost = costEmail
	}
	return nil
}

// eval decides a candidate, or says that its email is needed.
func (t *term) eval(q *query, c *candidate) (verdict, error) {
	if t.cost > costEntry && len(t.terms) == 0 {
		if v := t.byIndex(c.entry.Email); v != unknown {
			return v, nil
		}
		if c.email == nil {
			return unknown, nil
		}
		return t.evalEmail(q, c)
	}
	switch t.op {
	case imap.SearchAnd:
		return t.all(q, c, no)
	case imap.SearchOr:
		return t.all(q, c, yes)
	case imap.SearchNot:
		v, err := t.terms[0].eval(q, c)
		if v != unknown && err == nil {
			v = yes - v
		}
		return v, err
	}
	return is(t.entry(q, c)), nil
}

// all evaluates the terms until one gives the verdict that decides: no for AND, yes for OR.
func (t *term) all(q *query, c *candidate, decides verdict) (verdict, error) {
	result := yes - decides
	for _, sub := range t.terms {
		v, err := sub.eval(q, c)
		if err != nil || v == decides {
			return v, err
		}
		if v == unknown {
			result = unknown
		}
	}
	return result, nil
}

// entry decides by the entry alone.
func (t *term) entry(q *query, c *candidate) bool {
	recent := q.s.box.isRecent(c.entry.UID)
	switch t.op {
	case imap.SearchSeq:
		return imap.InRanges(t.ranges, uint32(c.seq))
	case imap.SearchUID:
		return imap.InRanges(t.ranges, uint32(c.entry.UID))
	case imap.SearchFlag:
		return t.recent && recent || !t.recent && c.entry.Flags&t.flags != 0
	case imap.SearchNoFlag:
		return t.recent && !recent || !t.recent && c.entry.Flags&t.flags == 0
	case imap.SearchNew:
		return recent && !c.entry.Flags.Has(store.Seen)
	case imap.SearchLarger:
		return c.entry.Size > t.number
	case imap.SearchSmaller:
		return c.entry.Size < t.number
	}
	return true // ALL
}

// evalEmail decides by the email, and by the body if need be.
func (t *term) evalEmail(q *query, c *candidate) (verdict, error) {
	switch t.op {
	case imap.SearchBefore, imap.SearchOn, imap.SearchSince:
		return is(onDay(t.op-imap.SearchBefore, c.email.InternalDate.UTC(), t.date)), nil
	case imap.SearchSentBefore, imap.SearchSentOn, imap.SearchSentSince:
		sent, err := message.ParseDate(envelopeOf(c.email).Date)
		return is(err == nil && onDay(t.op-imap.SearchSentBefore, sent, t.date)), nil
	case imap.SearchHeader:
		return t.evalHeader(q, c)
	}
	ok, err := q.textHolds(c.email, t)
	return is(ok), err
}

func envelopeOf(m *store.Email) *message.Envelope {
	if m.Root.Envelope == nil {
		return new(message.Envelope)
	}
	return m.Root.Envelope
}

// onDay compares the day of a time, as its own zone has it, with a date: before, on, since.
func onDay(op imap.SearchOp, at, date time.Time) bool {
	y, m, d := at.Date()
	day := time.Date(y, m, d, 0, 0, 0, 0, time.UTC)
	switch op {
	case 0:
		return day.Before(date)
	case 1:
		return day.Equal(date)
	}
	return !day.Before(date)
}

// evalHeader decides HEADER and its kin: the decoded value holds the text, and an empty text asks whether the field
// is there (RFC 3501 §6.4.4).
func (t *term) evalHeader(q *query, c *candidate) (verdict, error) {
	sum := c.email.Root.Summary
	var header string
	if sum != nil && !sum.Partial && message.IsKeptField(t.field) {
		header = string(sum.Fields)
	} else {
		var err error
		if header, err = q.header(c.email.Root); err != nil {
			return no, err
		}
	}
	for f := range message.Fields(header) {
		if strings.EqualFold(strings.TrimRight(f.Name(), " \t"), t.field) && (t.any || t.finder.FindString(f.Text())) {
			return yes, nil
		}
	}
	return no, nil
}
