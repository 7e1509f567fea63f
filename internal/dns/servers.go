package dns

import (
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	wire "github.com/miekg/dns"

	"postel/internal/mail"
)

// server is where questions go.
type server struct {
	addr    string // host and port
	trusted bool   // its AD bit may be believed
}

// serverList gives the servers: those configured, or those of resolv.conf, read again when the file changes.
type serverList struct {
	fixed   []server
	path    string
	trusted []netip.Prefix

	mu      sync.Mutex
	checked time.Time
	changed time.Time
	current []server
}

// recheck is how often resolv.conf is looked at.
const recheck = 5 * time.Second

func newServerList(o Options) (*serverList, error) {
	l := &serverList{path: o.ResolvConf, trusted: o.Trusted}
	if l.path == "" {
		l.path = "/etc/resolv.conf"
	}
	for _, s := range o.Servers {
		srv, err := parseServer(s, o.Trusted)
		if err != nil {
			return nil, err
		}
		if len(l.fixed) < maxServers {
			l.fixed = append(l.fixed, srv)
		}
	}
	return l, nil
}

// parseServer reads "address", "address:port" or "[address]:port".
func parseServer(s string, trusted []netip.Prefix) (server, error) {
	ap, err := netip.ParseAddrPort(s)
	if err != nil {
		ip, e := netip.ParseAddr(strings.Trim(s, "[]"))
		if host, port, split := net.SplitHostPort(s); e != nil && split == nil && host == "localhost" {
			return parseServer("127.0.0.1:"+port, nil)
		}
		if e != nil {
			return server{}, &mail.Error{
				Op: "dns.server", Kind: mail.Invalid, Err: err,
				Text: "DNS server " + s + " is not an address with a port, as 127.0.0.1:53",
			}
		}
		ap = netip.AddrPortFrom(ip, 53)
	}
	ip := ap.Addr().Unmap()
	return server{ap.String(), ip.IsLoopback() || slices.ContainsFunc(trusted, func(p netip.Prefix) bool { return p.Contains(ip) })}, nil
}

func (l *serverList) get(now time.Time) []server {
	if len(l.fixed) > 0 {
		return l.fixed
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.current != nil && now.Sub(l.checked) < recheck {
		return l.current
	}
	l.checked = now
	info, err := os.Stat(l.path)
	if err == nil && (l.current == nil || !info.ModTime().Equal(l.changed)) {
		l.changed = info.ModTime()
		l.current = readResolvConf(l.path, l.trusted)
	}
	if len(l.current) == 0 { // as resolv.conf(5): without a file, the machine itself
		l.current = []server{{"127.0.0.1:53", true}}
	}
	return l.current
}

// readResolvConf gives the servers of a resolv.conf(5), whose option trust-ad vouches for their AD bit.
func readResolvConf(path string, trusted []netip.Prefix) []server {
	conf, err := wire.ClientConfigFromFile(path)
	if err != nil {
		return nil
	}
	vouched := false
	if text, err := os.ReadFile(path); err == nil {
		for line := range strings.Lines(string(text)) {
			f := strings.Fields(line)
			for i := 1; i < len(f); i++ {
				vouched = vouched || f[0] == "options" && f[i] == "trust-ad"
			}
		}
	}
	var list []server
	for _, ip := range conf.Servers {
		if s, err := parseServer(ip, trusted); err == nil && len(list) < maxServers {
			s.trusted = s.trusted || vouched
			list = append(list, s)
		}
	}
	return list
}
