package rate

import (
	"net/netip"
	"testing"
	"time"
)

// clock is a time that is moved by hand.
type clock struct{ t time.Time }

func (c *clock) now() time.Time { return c.t }

func TestCounter(t *testing.T) {
	t.Parallel()
	at := &clock{time.Unix(1_790_000_000, 0)}
	c := New[string](Rate{6, time.Minute}, at.now)
	for i := range 6 {
		if !c.Take("a", 1) {
			t.Errorf("%d is too many", i)
		}
	}
	if c.Take("a", 1) || !c.Over("a") {
		t.Error("7 in no time are taken")
	}
	if !c.Take("b", 6) || c.Take("c", 7) {
		t.Error("several at once")
	}
	at.t = at.t.Add(10 * time.Second)
	if c.Over("a") || !c.Take("a", 1) || c.Take("a", 1) {
		t.Error("one has grown in ten seconds, not two")
	}
	at.t = at.t.Add(time.Hour)
	if !c.Take("a", 6) || c.Take("a", 1) {
		t.Error("the allowance does not grow beyond itself")
	}
	if free := New[string](Rate{}, nil); !free.Take("a", 1<<30) || free.Over("a") {
		t.Error("no limit limits")
	}
}

func TestCounterForgets(t *testing.T) {
	t.Parallel()
	at := &clock{time.Unix(1_790_000_000, 0)}
	c := New[int](Rate{2, time.Minute}, at.now)
	for i := range 3 * maxKeys {
		c.Take(i, 1)
		if len(c.full) > maxKeys {
			t.Fatal(len(c.full))
		}
	}
}

func TestNetworks(t *testing.T) {
	t.Parallel()
	at := &clock{time.Unix(1_790_000_000, 0)}
	for _, of := range []struct{ one, other, far string }{
		{"192.0.2.1", "192.0.2.2", "192.0.3.1"},
		{"2001:db8:0:1::1", "2001:db8:0:2::1", "2001:db8:1::1"},
	} {
		c := NewNetworks(Rate{2, time.Minute}, at.now)
		a := netip.MustParseAddr(of.one)
		if !c.Take(a, 2) || c.Take(a, 1) || !c.Over(a) {
			t.Errorf("%s: two and no more", a)
		}
		other := netip.MustParseAddr(of.other)
		if !c.Take(other, 1) || c.Over(other) {
			t.Errorf("%s has an allowance of its own", other)
		}
		b := other
		taken := 3
		for i := range byte(200) { // neighbours together
			raw := b.AsSlice()
			raw[3+4*(len(raw)/16)] = i + 10 // the last octet of IPv4, the last but one of the /64
			n, _ := netip.AddrFromSlice(raw)
			if c.Take(n, 1) {
				taken++
			}
		}
		if taken != 2*neighbours {
			t.Errorf("%s: the network had %d", a, taken)
		}
		if far := netip.MustParseAddr(of.far); !c.Take(far, 1) {
			t.Errorf("%s is another network", far)
		}
	}
	var none *Networks
	if !none.Take(netip.Addr{}, 9) || none.Over(netip.Addr{}) {
		t.Error("nothing limits")
	}
}
