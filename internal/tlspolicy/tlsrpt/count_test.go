package tlsrpt

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"postel/internal/mail"
)

func plain(d mail.Domain) Policy { return Policy{Type: NoPolicy, Domain: d} }

func tlsa(base mail.Domain) Policy {
	return Policy{Type: TLSA, Domain: base, Strings: Strings{"3 1 1 AB"}}
}

// TestCounts: like sessions are one line, and what is counted at two places adds up.
func TestCounts(t *testing.T) {
	t.Parallel()
	expired := Failure{Result: Expired, MX: "mx.a.test"}
	var one, two Counts
	for range 3 {
		one.Note(Session{"a.test", plain("a.test"), Failure{}})
		two.Note(Session{"a.test", tlsa("mx.a.test"), expired})
	}
	one.Note(Session{"a.test", plain("a.test"), expired})
	one.Note(Session{"a.test", tlsa("mx.a.test"), Failure{}})
	before := fmt.Sprint(two)
	one.Add(two)
	want := Counts{
		{plain("a.test"), Summary{3, 1}, []Failure{{Result: Expired, MX: "mx.a.test", Sessions: 1}}},
		{tlsa("mx.a.test"), Summary{1, 3}, []Failure{{Result: Expired, MX: "mx.a.test", Sessions: 3}}},
	}
	if !reflect.DeepEqual(one, want) {
		t.Errorf("%+v", one)
	}
	one.Note(Session{"a.test", tlsa("mx.a.test"), expired})
	if one[1].Policy.Strings[0] = "x"; fmt.Sprint(two) != before {
		t.Error("what was added is shared")
	}
	one[1].Policy.Strings[0] = "3 1 1 AB"
	if one.Sub(want); one.Total() != (Summary{0, 1}) || len(one) != 1 || len(one[0].Failures) != 1 {
		t.Errorf("what is left: %+v", one)
	}
}

// TestCountsAreBounded: neither policies nor failures nor texts that others choose grow without end; sessions that find
// no line of their own are in the summary.
func TestCountsAreBounded(t *testing.T) {
	t.Parallel()
	var c Counts
	for i := range 2 * keptFailures {
		c.Note(Session{"a.test", plain("a.test"), Failure{Result: Invalid, ReceivingIP: fmt.Sprint(i), Reason: strings.Repeat("é", keptText)}})
	}
	if len(c) != 1 || len(c[0].Failures) != keptFailures || c[0].Summary.Failures != 2*keptFailures || len(c[0].Failures[0].Reason) > keptText {
		t.Errorf("%d failures of %+v", len(c[0].Failures), c[0].Summary)
	}
	for i := range 2 * keptPolicies {
		p := Policy{Type: STS, Domain: "a.test", Strings: Strings{fmt.Sprint(i)}}
		for range 2 * keptLines {
			p.Strings = append(p.Strings, strings.Repeat("x", 2*keptText))
		}
		if kept := c.Note(Session{"a.test", p, Failure{}}); kept != (i < keptPolicies-1) {
			t.Errorf("policy %d: %t", i, kept)
		}
	}
	if last := c[keptPolicies-1].Policy.Strings; len(c) != keptPolicies || len(last) != keptLines || len(last[1]) != keptText {
		t.Errorf("%d policies of %d lines", len(c), len(last))
	}
	if b, err := (Row{Counts: c}).Encode(); err != nil || len(b) > 2<<20 {
		t.Errorf("%d octets, %v", len(b), err)
	}
}

// TestReporter: what is counted is in the ledger within a minute, under its day in UTC; the owner of TLSA records hears
// of them, too; what the ledger does not take now it takes later, once.
func TestReporter(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := &memory{}
		r := New(Options{Ledger: l})
		ctx, cancel := context.WithCancel(t.Context())
		go r.Run(ctx)
		day := DayOf(time.Now())
		r.Note(Session{"a.test", plain("a.test"), Failure{}})
		r.Note(Session{"a.test", tlsa("mx.b.test"), Failure{}})
		l.fail(errors.New("away"))
		time.Sleep(flushEvery + time.Second)
		r.Note(Session{"a.test", plain("a.test"), Failure{}})
		synctest.Wait()
		l.fail(nil)
		time.Sleep(flushEvery)
		synctest.Wait()
		total := func(d Day, m mail.Domain) string {
			row, err := l.Row(ctx, d, m)
			return fmt.Sprint(row.Counts.Total(), err)
		}
		if got := total(day, "a.test") + total(day, "mx.b.test"); got != "{3 0} <nil>{1 0} <nil>" {
			t.Error(got)
		}
		time.Sleep(24 * time.Hour)
		r.Note(Session{"a.test", plain("a.test"), Failure{}})
		cancel()
		synctest.Wait()
		if err := r.Flush(t.Context()); err != nil {
			t.Error(err)
		}
		if got := total(day+1, "a.test"); got != "{1 0} <nil>" {
			t.Error(got)
		}
	})
}

// TestReporterIsBounded: while the ledger is away, memory holds so many domains, and no more.
func TestReporterIsBounded(t *testing.T) {
	t.Parallel()
	l := &memory{failed: errors.New("away")}
	r := New(Options{Ledger: l})
	for round := range 3 {
		for i := range pendingDomains {
			d := mail.Domain(fmt.Sprintf("%d-%d.test", round, i))
			r.Note(Session{d, plain(d), Failure{}})
		}
		lost := r.lost > 0
		if err := r.Flush(t.Context()); err == nil || lost != (round > 0) {
			t.Errorf("round %d: %v, lost %t", round, err, lost)
		}
	}
	if r.domains != pendingDomains || len(r.pending[DayOf(time.Now())]) != pendingDomains {
		t.Errorf("%d domains", r.domains)
	}
	l.failed = nil
	if err := r.Flush(t.Context()); err != nil || r.domains != 0 {
		t.Errorf("%d, %v", r.domains, err)
	}
}

// TestDay is about days in UTC.
func TestDay(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 11, 27, 23, 59, 59, 0, time.UTC)
	d := DayOf(at.In(time.FixedZone("", 7200)))
	if d.String() != "2026-11-27" || d.End().Sub(at) != time.Second || d.End().Sub(d.Start()) != 24*time.Hour {
		t.Errorf("%s, %s", d, d.End())
	}
	if got, err := ParseDay("2026-11-27"); got != d || err != nil {
		t.Errorf("%s, %v", got, err)
	}
	for _, bad := range []string{"", "2026-13-01", "1969-12-31", "today"} {
		if _, err := ParseDay(bad); !mail.Is(err, mail.Invalid) {
			t.Errorf("%s: %v", bad, err)
		}
	}
}
