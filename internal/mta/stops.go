package mta

import (
	"net/netip"
	"slices"
	"sync"

	"postel/internal/route"
)

// stop is one address on the way of a visit.
type stop struct {
	host *route.Host
	addr netip.AddrPort
}

// visitAll goes through the addresses of a plan in their order until each recipient has a verdict: at most maxVisits of
// them, and where there are addresses of both families, not all of one: a family that does not work here, or that the
// other side blocks, must not keep the mail.
func (v *visit) visitAll(plan route.Plan) {
	d := v.s.m.destination(v.s.work, plan)
	stops := v.s.m.stops(plan.Hosts)
	var at *route.Host
	var t target
	var ok bool
	for i, s := range stops {
		if v.over() {
			return
		}
		if v.skips(s, stops[i+1:]) {
			continue
		}
		if at != s.host {
			at = s.host
			t, ok = v.target(*at, plan.Named(), d)
		}
		for v.full = ok; v.full && !v.over(); {
			left := len(v.pending)
			v.full = false
			v.visit(t, s.addr)
			if v.full && len(v.pending) < left {
				continue // the host wants the others over another session: it is no address more
			}
			v.visited++
			if !is4(s.addr) {
				v.six++
			}
		}
	}
}

// over tells whether the visit has come to its end.
func (v *visit) over() bool {
	return len(v.pending) == 0 || v.visited == maxVisits || v.s.work.Err() != nil
}

// skips tells whether the last visit is kept for an address of the family that was not tried yet.
func (v *visit) skips(s stop, later []stop) bool {
	if v.visited < maxVisits-1 {
		return false
	}
	tried6, tried4 := v.six > 0, v.six < v.visited
	one := is4(s.addr) && tried4 && !tried6 || !is4(s.addr) && tried6 && !tried4
	return one && slices.ContainsFunc(later, func(l stop) bool { return is4(l.addr) != is4(s.addr) })
}

// stops gives all addresses of the hosts, beginning at each host with the family that is to be tried first.
func (m *MTA) stops(hosts []route.Host) (all []stop) {
	for i := range hosts {
		h := &hosts[i]
		if h.Socket != "" {
			all = append(all, stop{host: h})
		}
		for _, a := range m.families.order(h.Name, h.Addrs) {
			all = append(all, stop{h, a})
		}
	}
	return all
}

func is4(a netip.AddrPort) bool { return a.Addr().Unmap().Is4() }

// families remembers with which family of addresses a host is to be tried first: the other one after it refused us or
// could not be reached. When it is full it begins anew.
type families struct {
	mu    sync.Mutex
	first map[string]bool // by host: IPv4
}

const maxFamilies = 10_000

// blocked says that nothing came of a session at an address.
func (f *families) blocked(host string, a netip.AddrPort) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.first == nil || len(f.first) >= maxFamilies {
		f.first = map[string]bool{}
	}
	f.first[host] = !is4(a)
}

// worked says that a host took mail at an address.
func (f *families) worked(host string, a netip.AddrPort) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if _, known := f.first[host]; known {
		f.first[host] = is4(a)
	}
}

// order gives the addresses of a host with one of the family first that is to be tried first, if it has one.
func (f *families) order(host string, addrs []netip.AddrPort) []netip.AddrPort {
	f.mu.Lock()
	four, known := f.first[host]
	f.mu.Unlock()
	i := slices.IndexFunc(addrs, func(a netip.AddrPort) bool { return is4(a) == four })
	if !known || i <= 0 {
		return addrs
	}
	return slices.Concat(addrs[i:i+1], addrs[:i], addrs[i+1:])
}
