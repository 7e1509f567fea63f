package mtasts

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"postel/internal/mail"
)

// TestParsePolicy: the grammar of RFC 8461 §3.2.
func TestParsePolicy(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, body string
		want       string // mode, max_age, mx; or what is wrong
	}{
		{"CRLF", "version: STSv1\r\nmode: enforce\r\nmx: mail.example.com\r\nmx: *.example.net\r\nmax_age: 604800\r\n", "enforce 168h0m0s [mail.example.com *.example.net]"},
		{"LF, no last end, blanks", "version:STSv1 \nmode : testing\nmax_age:\t60\nmx:A.Example.COM.", "testing 1m0s [a.example.com]"},
		{"none needs no mx", "version: STSv1\nmode: none\nmax_age: 60\n", "none 1m0s []"},
		{"unknown fields", "version: STSv1\nmode: none\nmax_age: 60\nx-1.y_z: anything: at all\n", "none 1m0s []"},
		{"the first of two counts", "version: STSv1\nmode: enforce\nmode: none\nmax_age: 1\nmax_age: x\nmx: a.test\n", "enforce 1s [a.test]"},
		{"at most a year", "version: STSv1\nmode: none\nmax_age: 9999999999\n", "none 8766h0m0s []"},
		{"IDN", "version: STSv1\nmode: enforce\nmax_age: 1\nmx: *.bücher.test\n", "enforce 1s [*.xn--bcher-kva.test]"},
		{"version", "version: STSv2\nmode: none\nmax_age: 60\n", "version is not"},
		{"no version", "mode: none\nmax_age: 60\n", "no version"},
		{"mode", "version: STSv1\nmode: Enforce\nmax_age: 60\n", "mode is none of"},
		{"no mode", "version: STSv1\nmax_age: 60\n", "no mode"},
		{"no max_age", "version: STSv1\nmode: none\n", "no max_age"},
		{"max_age", "version: STSv1\nmode: none\nmax_age: -1\n", "not a number"},
		{"max_age is long", "version: STSv1\nmode: none\nmax_age: 00000000001\n", "not a number"},
		{"no mx", "version: STSv1\nmode: enforce\nmax_age: 60\n", "names no mx"},
		{"a bad mx", "version: STSv1\nmode: enforce\nmax_age: 60\nmx: a..b\n", "not a host name"},
		{"an address", "version: STSv1\nmode: enforce\nmax_age: 60\nmx: [192.0.2.1]\n", "not a host name"},
		{"a star within", "version: STSv1\nmode: enforce\nmax_age: 60\nmx: mx.*.test\n", "not a host name"},
		{"HTML", "<html>\nversion: STSv1\n", "not a name, a colon"},
		{"nothing", "", "no version"},
		{"many hosts", "version: STSv1\nmode: enforce\nmax_age: 60\n" + strings.Repeat("mx: a.test\n", 501), "more than 500"},
		{"large", strings.Repeat("x: y\n", 14_000), "larger than 64 KiB"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			p, err := ParsePolicy([]byte(c.body))
			got := fmt.Sprint(p.Mode, " ", p.MaxAge, " ", p.MX)
			if err != nil {
				if got = err.Error(); !mail.Is(err, mail.Invalid) {
					t.Error(mail.KindOf(err))
				}
			}
			if got != c.want && (err == nil || !strings.Contains(got, c.want)) {
				t.Errorf("%s, want %s", got, c.want)
			}
		})
	}
}

// TestCovers: a leading star stands for one label, no more and no less (RFC 8461 §4.1).
func TestCovers(t *testing.T) {
	t.Parallel()
	p := Policy{MX: []string{"mail.example.com", "*.example.net"}}
	for host, want := range map[string]bool{
		"mail.example.com": true, "MAIL.example.COM.": true, "x.mail.example.com": false, "example.com": false,
		"a.example.net": true, "a.b.example.net": false, "example.net": false, ".example.net": true, "": false, "net": false,
	} {
		if p.Covers(host) != want {
			t.Errorf("%q: %t", host, !want)
		}
	}
}

// TestParseRecord: one record that begins with v=STSv1; counts, two are none (RFC 8461 §3.1).
func TestParseRecord(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ texts, id, why string }{
		{"v=STSv1; id=20160831085700Z;", "20160831085700Z", ""},
		{"v=spf1 -all|v=STSv1;id=1", "1", ""},
		{"v=STSv1 ; x=y ; id=abc ; z=1;", "abc", ""},
		{"v=STSv1; id=1; id=2", "1", ""},
		{"", "", "no record"},
		{"v=STSv2; id=1", "", "no record"},
		{"V=STSv1; id=1", "", "no record"},
		{"v=STSv1", "", "no record"},
		{"v=STSv1; id=1|v=STSv1; id=1", "", "more than one"},
		{"v=STSv1;", "", "no id"},
		{"v=STSv1; id=", "", "1 to 32"},
		{"v=STSv1; id=a-b", "", "1 to 32"},
		{"v=STSv1; id=" + strings.Repeat("a", 33), "", "1 to 32"},
		{"v=STSv1; id=1;;", "", "name=value"},
		{"v=STSv1; what", "", "name=value"},
	} {
		id, why := ParseRecord(strings.Split(c.texts, "|"))
		if id != c.id || c.why == "" && why != "" || !strings.Contains(why, c.why) {
			t.Errorf("%q: %q %q", c.texts, id, why)
		}
	}
}

// FuzzParsePolicy: whatever is read keeps the bounds, and is read the same when it is written.
func FuzzParsePolicy(f *testing.F) {
	f.Add([]byte("version: STSv1\r\nmode: enforce\r\nmx: *.example.net\r\nmax_age: 604800\r\n"))
	f.Fuzz(func(t *testing.T, body []byte) {
		p, err := ParsePolicy(body)
		if err != nil {
			if !mail.Is(err, mail.Invalid) {
				t.Fatal(err)
			}
			return
		}
		if len(p.MX) > maxHosts || p.MaxAge < 0 || p.MaxAge > longest*time.Second || p.Mode != None && len(p.MX) == 0 {
			t.Fatalf("%+v", p)
		}
		text := fmt.Sprintf("version: STSv1\nmode: %s\nmax_age: %d\n", p.Mode, p.MaxAge/time.Second)
		for _, mx := range p.MX {
			text += "mx: " + mx + "\n"
			if host, wild := strings.CutPrefix(mx, "*."); !wild && !p.Covers(host) || wild && !p.Covers("x."+host) {
				t.Fatalf("%q does not cover itself", mx)
			}
		}
		again, err := ParsePolicy([]byte(text))
		if err != nil || !reflect.DeepEqual(again, p) && !slices.Equal(again.MX, p.MX) {
			t.Fatalf("%+v, %v: %s", again, err, text)
		}
	})
}

// FuzzParseRecord: an id is what the grammar wants, or there is a reason.
func FuzzParseRecord(f *testing.F) {
	f.Add("v=STSv1; id=20160831085700Z;")
	f.Fuzz(func(t *testing.T, text string) {
		id, why := ParseRecord([]string{text})
		if (id == "") != (why != "") || len(id) > 32 {
			t.Fatalf("%q: %q %q", text, id, why)
		}
	})
}
