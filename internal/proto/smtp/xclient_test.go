package smtp

import (
	"strings"
	"testing"
)

// FuzzXClient reads anything: what is taken holds nothing that could end a line, and is said within bounds.
func FuzzXClient(f *testing.F) {
	for _, s := range []string{
		"NAME=spike.porcupine.org ADDR=168.100.189.2 PORT=25", "ADDR=IPV6:2001:db8::1 HELO=a+20b LOGIN=x+0Ay", "NAME=[UNAVAILABLE]",
		"PROTO=SMTP DESTADDR=::ffff:192.0.2.1 DESTPORT=0", "IDENT=4711 SOURCE=LOCAL", "NAME=", "=x", "ADDR=1.2.3.4 ADDR=1.2.3.5",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		for _, parse := range []func(string) (XClient, error){ParseXClient, ParseXForward} {
			x, err := parse(s)
			if err != nil {
				if c := ReplyOf(err, false).Code; c != 501 {
					t.Fatalf("%q: %v", s, err)
				}
				continue
			}
			said := x.With(XClient{}).String()
			if strings.ContainsAny(said, "\r\n\x00") || len(said) > 10*maxAttribute {
				t.Fatalf("%q: %q", s, said)
			}
		}
	})
}
