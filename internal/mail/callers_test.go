package mail

import (
	"net/netip"
	"reflect"
	"strings"
	"testing"
)

func TestCallers(t *testing.T) {
	t.Parallel()
	c, err := ParseCallers([]string{"192.0.2.7/24", "2001:db8::1", "Alice@Example.ORG"})
	if err != nil {
		t.Fatal(err)
	}
	if got := c.Strings(); !reflect.DeepEqual(got, []string{"192.0.2.0/24", "2001:db8::1/128", "alice@example.org"}) {
		t.Error(got)
	}
	if again, err := ParseCallers(c.Strings()); err != nil || !reflect.DeepEqual(again, c) {
		t.Error(again, err)
	}
	for _, x := range []struct {
		ip, login string
		want      bool
	}{
		{"192.0.2.200", "", true},
		{"::ffff:192.0.2.200", "", true},
		{"192.0.3.1", "", false},
		{"2001:db8::1", "", true},
		{"2001:db8::2", "", false},
		{"198.51.100.1", "ALICE@example.org", true},
		{"198.51.100.1", "bob@example.org", false},
		{"198.51.100.1", "alice", false},
	} {
		if got := c.Has(netip.MustParseAddr(x.ip), x.login); got != x.want {
			t.Errorf("%v: %v", x, got)
		}
	}
	if c.Has(netip.Addr{}, "") || (Callers{}).Has(netip.MustParseAddr("127.0.0.1"), "") || c.IsZero() || !(Callers{}).IsZero() {
		t.Error("a caller without address and login, or of nobody")
	}
}

func TestCallersRefused(t *testing.T) {
	t.Parallel()
	for _, s := range []string{"", "example.org", "192.0.2.0/33", "@", "fe80::1%eth0", "a b@example.org"} {
		if _, err := ParseCallers([]string{s}); !Is(err, Invalid) {
			t.Errorf("%q: %v", s, err)
		}
	}
	if _, err := ParseCallers(strings.Fields(strings.Repeat("::1 ", MaxCallers+1))); !Is(err, TooMany) {
		t.Error(err)
	}
}
