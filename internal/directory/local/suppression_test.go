package local

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"postel/internal/directory"
	"postel/internal/kv"
	"postel/internal/kv/kvtest"
	"postel/internal/kv/pebble"
	"postel/internal/mail"
)

// TestSuppressions: an address is on the list until it is taken off or its time is over; what an operator said stays when it
// bounces.
func TestSuppressions(t *testing.T) {
	t.Parallel()
	s, err := pebble.OpenMemory()
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	now := time.Unix(1_800_000_000, 0)
	d := open(t, Options{KV: kvtest.Strict(s, kvtest.Options{Report: t.Error}), Clock: func() time.Time { return now }})
	ctx := t.Context()
	gone := mail.Address{Local: "Gone", Domain: "b.test"}
	list := func() (all []string) {
		for e, err := range d.Suppressions(ctx) {
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, fmt.Sprintf("%s %s %s", e.Address, e.Source, e.Reason))
		}
		return all
	}
	put := func(e directory.Suppression) {
		t.Helper()
		if err := d.Suppress(ctx, e); err != nil {
			t.Fatal(err)
		}
	}
	if err := directory.CheckSuppressed(ctx, d, gone); err != nil {
		t.Error(err)
	}
	put(directory.Suppression{Address: gone, Source: directory.ByOperator, Reason: "asked\r\nus", Expires: now.AddDate(0, 0, 90)})
	put(directory.Suppression{Address: gone, Source: directory.ByBounce, Reason: "550 5.1.1 no"})
	put(directory.Suppression{Address: mail.Address{Local: "a", Domain: "a.test"}, Source: directory.ByReport, Reason: strings.Repeat("ü", 400)})
	if got := list(); len(got) != 2 || got[1] != "gone@b.test operator asked us" || len(got[0]) > maxReason+30 {
		t.Errorf("%q", got)
	}
	err = directory.CheckSuppressed(ctx, d, gone)
	if !mail.Is(err, mail.Denied) || !strings.Contains(err.Error(), "since 2027-01-15: asked us") {
		t.Error(err)
	}
	now = now.AddDate(0, 0, 91)
	if err := directory.CheckSuppressed(ctx, d, gone); err != nil {
		t.Errorf("after its time: %v", err)
	}
	if got := list(); len(got) != 1 {
		t.Errorf("%q", got)
	}
	if err := s.View(ctx, Locks(), func(r kv.Reader) error {
		_, err := r.Get(suppressionKey(gone.Fold()))
		return err
	}); !mail.Is(err, mail.NotFound) {
		t.Errorf("what has expired stays: %v", err)
	}
	if err := d.Unsuppress(ctx, gone); !mail.Is(err, mail.NotFound) {
		t.Error(err)
	}
	if err := d.Unsuppress(ctx, mail.Address{Local: "A", Domain: "a.test"}); err != nil || len(list()) != 0 {
		t.Error(err, list())
	}
	if err := d.Suppress(ctx, directory.Suppression{Address: mail.Address{Local: "x", Domain: "no domain"}}); !mail.Is(err, mail.Invalid) {
		t.Error(err)
	}
	for i := range 2*page + 1 { // more than a page
		put(directory.Suppression{Address: mail.Address{Local: fmt.Sprint(i), Domain: "c.test"}, Source: directory.ByBounce})
	}
	if n := len(list()); n != 2*page+1 {
		t.Error(n, "entries")
	}
}

// TestSuppressionsArchived: backups keep the list, and refuse rows that are none.
func TestSuppressionsArchived(t *testing.T) {
	t.Parallel()
	from, to := open(t, Options{}), open(t, Options{})
	a := mail.Address{Local: "gone", Domain: "b.test"}
	if err := from.Suppress(t.Context(), directory.Suppression{Address: a, Source: directory.ByBounce, Reason: "550 5.1.1 no"}); err != nil {
		t.Fatal(err)
	}
	rows, err := from.ArchiveShared(t.Context())
	if err != nil || len(rows) != 1 {
		t.Fatal(rows, err)
	}
	if n, err := to.RestoreShared(t.Context(), rows); n != 1 || err != nil {
		t.Error(n, err)
	}
	if s, err := to.Suppressed(t.Context(), a); err != nil || s.Reason != "550 5.1.1 no" {
		t.Error(s, err)
	}
	rows[0].Value = []byte{9}
	if _, err := to.RestoreShared(t.Context(), rows); !mail.Is(err, mail.Invalid) {
		t.Error(err)
	}
}

// TestBulk: that an account sends to many is kept with it, and does not change what older rows say.
func TestBulk(t *testing.T) {
	t.Parallel()
	d := open(t, Options{})
	if err := d.AddDomain(t.Context(), directory.Domain{Name: "a.test", Kind: directory.Local}); err != nil {
		t.Fatal(err)
	}
	id := add(t, d, NewAccount{Address: mail.Address{Local: "news", Domain: "a.test"}})
	for _, c := range []struct{ bulk, verp, wantVERP bool }{{true, true, true}, {true, false, false}, {false, true, false}} {
		if err := d.SetBulk(t.Context(), id, c.bulk, c.verp); err != nil {
			t.Fatal(err)
		}
		if a, err := d.Account(t.Context(), id); err != nil || a.Bulk != c.bulk || a.VERP != c.wantVERP || a.Disabled || a.Catcher {
			t.Errorf("%+v: %+v %v", c, a, err)
		}
	}
}

func FuzzSuppressionRow(f *testing.F) {
	f.Add([]byte("spb.test\x00gone"), encodeSuppression(directory.Suppression{Source: directory.ByReport, Reason: "x", Since: time.Unix(9, 0), Expires: time.Unix(10, 0)}))
	f.Fuzz(func(t *testing.T, k, v []byte) {
		if len(k) < 2 {
			return
		}
		s, err := decodeSuppression(k, v)
		if err == nil && string(encodeSuppression(s)) != string(v) && s.Since.Unix() >= 0 && (s.Expires.IsZero() || s.Expires.Unix() > 0) {
			t.Errorf("%x reads as %+v, which is %x", v, s, encodeSuppression(s))
		}
	})
}
