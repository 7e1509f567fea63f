package store

import (
	"runtime"
	"testing"

	"postel/internal/mail"
)

// fill puts n entries without emails into INBOX.
func (w *world) fill(n int) {
	w.t.Helper()
	for n > 0 {
		err := w.change(ctx(w.t), 1, []MailboxID{Inbox}, func(c *change) error {
			for range min(n, 20000) {
				uid, err := c.takeUID(c.boxes[0])
				if err != nil {
					return err
				}
				c.put(c.boxes[0], uid, &entryRow{email: EmailID(uid), saved: c.now.Unix(), size: 5000})
			}
			return nil
		})
		if err != nil {
			w.t.Fatal(err)
		}
		n -= min(n, 20000)
	}
}

func (w *world) view() *View {
	w.t.Helper()
	v, err := w.Open(ctx(w.t), 1, Inbox, true)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(v.Close)
	return v
}

func (w *world) latest(v *View) *Snapshot {
	w.t.Helper()
	p, err := v.Latest(ctx(w.t))
	if err != nil {
		w.t.Fatal(err)
	}
	return p
}

func heap() uint64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// BenchmarkLarge looks at a mailbox of 200,000 messages.
func BenchmarkLarge(b *testing.B) {
	const n = 200_000
	w := newWorld(b)
	w.account(1)
	w.fill(n)
	b.Run("open", func(b *testing.B) {
		for range b.N {
			v := w.view()
			v.Close()
		}
	})
	before := heap()
	v := w.view()
	b.Logf("%.1f octets an entry", float64(heap()-before)/n)
	b.Run("latest", func(b *testing.B) {
		for range b.N {
			w.latest(v)
		}
	})
	b.Run("delivery", func(b *testing.B) {
		m := w.message(hello("x"))
		b.ReportAllocs()
		for range b.N {
			old := w.latest(v)
			if _, err := w.AppendOne(b.Context(), m, Delivery{Account: 1}); err != nil {
				b.Fatal(err)
			}
			if d := Diff(old, w.latest(v)); d.Added != 1 {
				b.Fatal(d)
			}
		}
	})
	some := make([]UID, 1000)
	for i := range some {
		some[i] = UID(1 + i*199)
	}
	for name, uids := range map[string][]UID{"store-1-of-200k": some[500:501], "store-1000-of-200k": some} {
		b.Run(name, func(b *testing.B) {
			for i := range b.N {
				old := w.latest(v)
				if err := w.SetFlags(b.Context(), 1, Inbox, uids, Replace, Flags(1+i%2), nil); err != nil {
					b.Fatal(err)
				}
				if d := Diff(old, w.latest(v)); len(d.Flags) != len(uids) && i > 1 {
					b.Fatal(len(d.Flags))
				}
			}
		})
	}
	b.Run("list", func(b *testing.B) {
		p := w.latest(v)
		for range b.N {
			seen := 0
			for _, e := range p.All() {
				if e.Flags.Has(Seen) {
					seen++
				}
			}
		}
	})
}

// BenchmarkIdle tells what a session costs that looks at a small mailbox of its own.
func BenchmarkIdle(b *testing.B) {
	w := newWorld(b)
	const n = 1000
	for a := range mail.AccountID(n) {
		w.account(a + 1)
		w.append(a+1, Inbox, "x", 0)
	}
	before := heap()
	views := make([]*View, n)
	for i := range views {
		v, err := w.Open(b.Context(), mail.AccountID(i+1), Inbox, false)
		if err != nil {
			b.Fatal(err)
		}
		views[i] = v
	}
	b.ReportMetric(float64(heap()-before)/n, "octets/session")
	for _, v := range views {
		v.Close()
	}
}

// TestLarge: changes of very many messages, in steps as they are; a snapshot takes less than 40 octets an entry.
func TestLarge(t *testing.T) {
	if testing.Short() {
		t.Skip("seconds")
	}
	const n = 30_000
	w := newWorld(t)
	w.account(1)
	w.fill(n)
	before := heap()
	v := w.view()
	p := w.latest(v)
	if per := float64(heap()-before) / n; per > 40 {
		t.Errorf("%.1f octets an entry", per)
	}
	all := make([]UID, n)
	for i := range all {
		all[i] = UID(i + 1)
	}
	if err := w.SetFlags(ctx(t), 1, Inbox, all, Add, Seen|Deleted, nil); err != nil {
		t.Fatal(err)
	}
	q := w.latest(v)
	if d := Diff(p, q); len(d.Flags) != n || len(d.Expunged)+d.Added > 0 {
		t.Error(len(d.Flags), len(d.Expunged), d.Added)
	}
	if err := follows(p, q); err != nil {
		t.Error(err)
	}
	if st, err := w.Status(ctx(t), 1, Inbox); err != nil || st.Unseen != 0 || st.Deleted != n {
		t.Error(st, err)
	}
}
