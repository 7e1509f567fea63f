package dns

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
)

// TestTrusted: the AD bit is believed of resolvers on loopback, of those in the networks that are given, and of all in
// a resolv.conf that vouches for them.
func TestTrusted(t *testing.T) {
	t.Parallel()
	networks := []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}
	for addr, want := range map[string]bool{
		"127.0.0.1": true, "[::1]:53": true, "::ffff:127.0.0.1": true, "localhost:53": true,
		"192.0.2.7:53": true, "192.0.3.7": false, "2001:db8::1": false,
	} {
		if s, err := parseServer(addr, networks); err != nil || s.trusted != want {
			t.Errorf("%s: %+v, %v", addr, s, err)
		}
	}
	conf := filepath.Join(t.TempDir(), "resolv.conf")
	for text, want := range map[string]string{
		"nameserver 192.0.2.1\nnameserver 192.0.3.1\n":                     "true false",
		"nameserver 192.0.3.1\nnameserver 192.0.3.2\noptions trust-ad\n":   "true true",
		"nameserver 192.0.3.1\nnameserver 192.0.3.2\n# options trust-ad\n": "false false",
	} {
		if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		var got []bool
		for _, s := range readResolvConf(conf, networks) {
			got = append(got, s.trusted)
		}
		if fmt.Sprint(got) != "["+want+"]" {
			t.Errorf("%q: %v, want %s", text, got, want)
		}
	}
}
