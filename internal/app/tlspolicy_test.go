package app

import (
	"fmt"
	"testing"
	"time"

	"postel/internal/kv"
	"postel/internal/kv/kvtest"
	"postel/internal/kv/pebble"
	"postel/internal/mail"
	"postel/internal/tlspolicy"
	"postel/internal/vfs"
)

// TestTLSMemory: what is remembered of a domain's TLS is there again, and gone when it is empty.
func TestTLSMemory(t *testing.T) {
	t.Parallel()
	s, err := pebble.Open(pebble.Options{FS: vfs.NewMem(), Dir: "/kv", MemTableSize: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	m := tlsMemory{kvtest.Strict(s, kvtest.Options{Report: t.Error, Unlocked: []kv.Prefix{kv.TLSMemory}})}
	t.Cleanup(func() { _ = m.kv.Close() })
	ctx, now := t.Context(), time.Now().UTC()
	if r, err := m.Load(ctx, "a.test"); err != nil || !r.Empty() {
		t.Errorf("%+v, %v", r, err)
	}
	const n = pageOfDomains + 1
	for i := range n {
		if err := m.Change(ctx, mail.Domain(fmt.Sprintf("a%d.test", i)), false, func(r *tlspolicy.Remembered) { r.DANE = now }); err != nil {
			t.Fatal(err)
		}
	}
	if r, err := m.Load(ctx, "a7.test"); err != nil || !r.DANE.Equal(now) {
		t.Errorf("%+v, %v", r, err)
	}
	all := map[mail.Domain]bool{}
	err = m.All(ctx, func(d mail.Domain, r tlspolicy.Remembered) {
		all[d] = true
		if cerr := m.Change(ctx, d, true, func(r *tlspolicy.Remembered) { *r = tlspolicy.Remembered{} }); cerr != nil || !r.DANE.Equal(now) {
			t.Errorf("%s: %+v, %v", d, r, cerr)
		}
	})
	if err != nil || len(all) != n {
		t.Errorf("%d domains, %v", len(all), err)
	}
	_ = m.All(ctx, func(d mail.Domain, _ tlspolicy.Remembered) { t.Errorf("%s is still there", d) })
}
