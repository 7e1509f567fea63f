package app

import (
	"errors"
	"fmt"
	"testing"

	"postel/internal/kv"
	"postel/internal/kv/kvtest"
	"postel/internal/kv/pebble"
	"postel/internal/mail"
	"postel/internal/tlspolicy/tlsrpt"
	"postel/internal/vfs"
)

// TestTLSLedger: nodes add to one another's counts; a day holds so many domains; what became of a report stays; old days
// go.
func TestTLSLedger(t *testing.T) {
	t.Parallel()
	s, err := pebble.Open(pebble.Options{FS: vfs.NewMem(), Dir: "/kv", MemTableSize: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	l := tlsLedger{kvtest.Strict(s, kvtest.Options{Report: t.Error, Unlocked: []kv.Prefix{kv.TLSReports}})}
	t.Cleanup(func() { _ = l.kv.Close() })
	ctx := t.Context()
	count := func(from, n int) map[mail.Domain]tlsrpt.Counts {
		more := map[mail.Domain]tlsrpt.Counts{}
		for i := range n {
			m := mail.Domain(fmt.Sprintf("d%05d.test", from+i))
			more[m] = tlsrpt.Counts{{Policy: tlsrpt.Policy{Type: tlsrpt.NoPolicy, Domain: m}, Summary: tlsrpt.Summary{Successes: 1}}}
		}
		return more
	}
	const day, many = 20_000, tlsBatch + 1
	for _, from := range []int{0, 0, 1} { // two of one batch, then one more domain
		more := count(from, many)
		if refused, err := l.Add(ctx, day, more); refused != 0 || err != nil || len(more) != 0 {
			t.Fatalf("%d refused, %v", refused, err)
		}
	}
	n := 0
	err = l.Rows(ctx, day, func(m mail.Domain, row tlsrpt.Row) error {
		if want := map[int]int64{0: 2, many: 1}[n]; want == 0 && row.Counts.Total().Successes != 3 || want != 0 && row.Counts.Total().Successes != want {
			t.Errorf("%d: %+v", n, row)
		}
		n++
		return l.Change(ctx, day, m, func(r *tlsrpt.Row) { r.Sending.State = tlsrpt.Sent })
	})
	if err != nil || n != many+1 {
		t.Errorf("%d rows, %v", n, err)
	}
	if row, err := l.Row(ctx, day, "d00007.test"); err != nil || row.Sending.State != tlsrpt.Sent {
		t.Errorf("%+v, %v", row, err)
	}
	if _, err := l.Row(ctx, day, "other.test"); !mail.Is(err, mail.NotFound) {
		t.Error(err)
	}
	if err := l.Change(ctx, day, "other.test", func(*tlsrpt.Row) {}); !mail.Is(err, mail.NotFound) {
		t.Error(err)
	}
	if refused, err := l.Add(ctx, day, count(0, tlsrpt.MaxDomains+5)); refused != 5 || err != nil {
		t.Errorf("%d refused, %v", refused, err)
	}
	if _, err := l.Add(ctx, day+1, count(0, 1)); err != nil {
		t.Fatal(err)
	}
	if err := l.Forget(ctx, day+1); err != nil {
		t.Fatal(err)
	}
	stop := errors.New("stop")
	if err := l.Rows(ctx, day, func(mail.Domain, tlsrpt.Row) error { return stop }); err != nil {
		t.Errorf("an old day is there: %v", err)
	}
	if err := l.Rows(ctx, day+1, func(mail.Domain, tlsrpt.Row) error { return stop }); !errors.Is(err, stop) {
		t.Errorf("the new day is gone: %v", err)
	}
}
