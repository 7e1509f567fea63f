package proxy

import (
	"bytes"
	"io"
	"net/netip"
	"strings"
	"testing"

	"postel/internal/mail"
)

func TestRead(t *testing.T) {
	t.Parallel()
	ap := netip.MustParseAddrPort
	v4 := Header{ap("192.0.2.1:56324"), ap("198.51.100.2:25")}
	v6 := Header{ap("[2001:db8::1]:1"), ap("[2001:db8::2]:65535")}
	tlv := v4.Append(nil)
	tlv[15] += 3
	tlv = append(tlv, 4, 0, 0) // a NOOP
	unix := append([]byte(signature), 0x21, 0x31, 0, 2, 'a', 'b')
	for name, tt := range map[string]struct {
		in   string
		want Header
		bad  bool
	}{
		"v1 TCP4":            {in: "PROXY TCP4 192.0.2.1 198.51.100.2 56324 25\r\n", want: v4},
		"v1 TCP6":            {in: "PROXY TCP6 2001:db8::1 2001:db8::2 1 65535\r\n", want: v6},
		"v1 UNKNOWN":         {in: "PROXY UNKNOWN\r\n"},
		"v1 UNKNOWN, more":   {in: "PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n"},
		"v1 without CR":      {in: "PROXY TCP4 192.0.2.1 198.51.100.2 56324 25\n", bad: true},
		"v1 families mixed":  {in: "PROXY TCP4 2001:db8::1 198.51.100.2 1 25\r\n", bad: true},
		"v1 port":            {in: "PROXY TCP4 192.0.2.1 198.51.100.2 65536 25\r\n", bad: true},
		"v1 port with zero":  {in: "PROXY TCP4 192.0.2.1 198.51.100.2 025 25\r\n", bad: true},
		"v1 zone":            {in: "PROXY TCP6 fe80::1%eth0 fe80::2 1 25\r\n", bad: true},
		"v1 too few":         {in: "PROXY TCP4 192.0.2.1\r\n", bad: true},
		"v1 two spaces":      {in: "PROXY  TCP4 192.0.2.1 198.51.100.2 1 25\r\n", bad: true},
		"v1 too long":        {in: "PROXY UNKNOWN " + strings.Repeat("x", 200) + "\r\n", bad: true},
		"a command":          {in: "EHLO client.example.org\r\n", bad: true},
		"v2 over IPv4":       {in: string(v4.Append(nil)), want: v4},
		"v2 over IPv6":       {in: string(v6.Append(nil)), want: v6},
		"v2 with TLVs":       {in: string(tlv), want: v4},
		"v2 LOCAL":           {in: string(Header{}.Append(nil))},
		"v2 over Unix":       {in: string(unix)},
		"v2 too short":       {in: signature + "\x21\x11\x00\x0b12345678901", bad: true},
		"v2 too long":        {in: signature + "\x21\x11\xff\xff", bad: true},
		"v2 of version 3":    {in: signature + "\x31\x11\x00\x00", bad: true},
		"v2 unknown command": {in: signature + "\x22\x11\x00\x00", bad: true},
	} {
		r := strings.NewReader(tt.in + "rest")
		h, err := Read(r)
		if tt.bad {
			if !mail.Is(err, mail.Invalid) {
				t.Errorf("%s: %+v, %v", name, h, err)
			}
			continue
		}
		if rest, _ := io.ReadAll(r); err != nil || h != tt.want || string(rest) != "rest" {
			t.Errorf("%s: %+v, rest %q, %v", name, h, rest, err)
		}
	}
}

// FuzzRead reads anything: what is read comes back from what is written of it, and nothing behind the header is taken.
func FuzzRead(f *testing.F) {
	f.Add([]byte("PROXY TCP4 192.0.2.1 198.51.100.2 56324 25\r\nEHLO x\r\n"))
	f.Add([]byte("PROXY UNKNOWN\r\n"))
	f.Add([]byte(signature + "\x21\x11\x00\x0c\x01\x02\x03\x04\x05\x06\x07\x08\x00\x01\x00\x19rest"))
	f.Add([]byte(signature + "\x20\x00\x00\x00"))
	f.Fuzz(func(t *testing.T, in []byte) {
		r := bytes.NewReader(in)
		h, err := Read(r)
		if err != nil {
			return
		}
		if used := len(in) - r.Len(); used > fixedLen+maxV2 || used < len(signature) {
			t.Fatalf("%q: %d octets used", in, used)
		}
		if h.Source.IsValid() && (h.Source.Addr().Is4() != h.Destination.Addr().Is4()) {
			t.Skip("an IPv4-mapped address beside one that is not: version 2 cannot say it back")
		}
		again, err := Read(bytes.NewReader(h.Append(nil)))
		if err != nil || again != h {
			t.Fatalf("%q: %+v, again %+v, %v", in, h, again, err)
		}
	})
}
