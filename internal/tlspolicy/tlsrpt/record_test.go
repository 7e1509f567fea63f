package tlsrpt

import (
	"fmt"
	"net/url"
	"strings"
	"testing"
)

// TestParseRecord: the grammar of RFC 8460 §3.
func TestParseRecord(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		texts string // parted by |
		want  string // the addresses, or what is wrong
	}{
		{"v=TLSRPTv1;rua=mailto:reports@example.com", "[] [mailto:reports@example.com]"},
		{"v=TLSRPTv1; rua=https://reporting.example.com/v1/tlsrpt", "[https://reporting.example.com/v1/tlsrpt] []"},
		{"v=TLSRPTv1 ; rua=https://a.test:8443/x?y=%2C , mailto:a@b.test ;", "[https://a.test:8443/x?y=%2C] [mailto:a@b.test]"},
		{"v=TLSRPTv1;rua=https://a.test/;rua=https://b.test/", "[https://a.test/ https://b.test/] []"},
		{"v=TLSRPTv1;x-new=1;rua=https://a.test", "[https://a.test] []"},
		{"v=TLSRPTv1;rua=ftp://a.test/,tel:123", "[] []"},
		{"other|v=TLSRPTv1;rua=https://a.test|v=spf1 -all|v=TLSRPTv10;rua=https://b.test", "[https://a.test] []"},
		{"v=TLSRPTv1;rua=" + strings.Repeat("https://a.test,", 20) + "https://b.test", fmt.Sprint(strings.Fields(strings.Repeat("https://a.test ", maxAddresses))) + " []"},
		{"", "no record begins"},
		{"v=tlsrptv1;rua=https://a.test", "no record begins"},
		{"v=TLSRPTv1", "no record begins"},
		{"v=TLSRPTv1;rua=https://a.test|v=TLSRPTv1;rua=https://b.test", "more than one record"},
		{"v=TLSRPTv1;", "has no rua"},
		{"v=TLSRPTv1;;rua=https://a.test", "not a list of name=value"},
		{"v=TLSRPTv1;rua https://a.test", "not a list of name=value"},
		{"v=TLSRPTv1;rua =https://a.test", "not a list of name=value"},
		{"v=TLSRPTv1;x=a b;rua=https://a.test", "not a list of name=value"},
		{"v=TLSRPTv1;rua=", "is no URI"},
		{"v=TLSRPTv1;rua=a@b.test", "is no URI"},
		{"v=TLSRPTv1;rua=mailto:a", "is no URI"},
		{"v=TLSRPTv1;rua=https://a.test/!10m", "is no URI"},
		{"v=TLSRPTv1;rua=https://a.test/\x00", "is no URI"},
		{"v=TLSRPTv1;rua=https:///path", "has no host"},
		{"v=TLSRPTv1;rua=https:a.test", "has no host"},
		{"v=TLSRPTv1;rua=https://user:pw@a.test", "has no host"},
		{"v=TLSRPTv1;rua=https://127.0.0.1/", "has no host"},
		{"v=TLSRPTv1;rua=https://[::1]/", "has no host"},
	} {
		r, why, ok := ParseRecord(strings.Split(c.texts, "|"))
		if got := fmt.Sprint(r.HTTPS, " ", r.Mailto); ok && got != c.want || !ok && !strings.Contains(why, c.want) {
			t.Errorf("%q: %s %s, want %s", c.texts, got, why, c.want)
		}
	}
}

// FuzzParseRecord: what is posted to is an address of HTTPS with a host, and there are not many.
func FuzzParseRecord(f *testing.F) {
	f.Add("v=TLSRPTv1;rua=mailto:reports@example.com")
	f.Add("v=TLSRPTv1 ; rua=https://a.test:8443/x?y=%2C , mailto:a@b.test ;")
	f.Add("v=TLSRPTv1;x-new=1;rua=https://a.test|v=spf1 -all")
	f.Fuzz(func(t *testing.T, text string) {
		r, why, ok := ParseRecord(strings.Split(text, "|"))
		if ok == (why != "") || len(r.HTTPS)+len(r.Mailto) > maxAddresses {
			t.Errorf("%v %q %t", r, why, ok)
		}
		for _, a := range r.HTTPS {
			if u, err := url.Parse(a); err != nil || u.Scheme != "https" || u.Hostname() == "" || u.User != nil {
				t.Error(a)
			}
		}
	})
}
