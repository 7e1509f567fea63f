// Package proxy reads the header that a load balancer sends in front of a connection to say whose connection it is: the
// PROXY protocol, versions 1 (a line of text) and 2 (binary). It reads exactly the header and not an octet more, since a
// TLS handshake may follow, and judges nothing: whether the sender may say such things is the server's to decide.
//
// Source: "The PROXY protocol, Versions 1 & 2" of HAProxy, cited as PROXY §n.
//
//	v2: signature (12) | version and command (1) | family and protocol (1) | length u16 | addresses | TLVs
package proxy

import (
	"bytes"
	"encoding/binary"
	"io"
	"net/netip"
	"strconv"
	"strings"

	"postel/internal/mail"
)

// Header is what was said. Without addresses (Local, or a family that is not TCP over IP) the connection is what it looks
// like: the balancer's own.
type Header struct {
	Source      netip.AddrPort // the client; not valid when nothing was said of it
	Destination netip.AddrPort // where it connected to
}

// Limits of a header.
const (
	maxLine  = 107     // PROXY §2.1, with CR and LF
	maxV2    = 4 << 10 // addresses and TLVs
	fixedLen = 16
)

// signature begins a header of version 2 (PROXY §2.2); its first octet and that of version 1 cannot begin TLS, nor a
// command of a mail protocol that makes sense.
const signature = "\r\n\r\n\x00\r\nQUIT\n"

// Begins tells whether a connection whose first octet is b may begin with a header.
func Begins(b byte) bool { return b == 'P' || b == signature[0] }

// Read reads a header off the front of r, octet by octet as far as its length is unknown. Kind Invalid for what is none,
// else the error of r.
func Read(r io.Reader) (Header, error) {
	var b [maxLine]byte
	if _, err := io.ReadFull(r, b[:len(signature)]); err != nil {
		return Header{}, err
	}
	if string(b[:len(signature)]) == signature {
		return readV2(r)
	}
	for n := len(signature); n < maxLine; n++ {
		if b[n-1] == '\n' {
			return parseV1(string(b[:n]))
		}
		if _, err := io.ReadFull(r, b[n:n+1]); err != nil {
			return Header{}, err
		}
	}
	if b[maxLine-1] != '\n' {
		return Header{}, bad("it does not begin with a PROXY header")
	}
	return parseV1(string(b[:]))
}

func bad(text string) error { return mail.E("proxy.read", mail.Invalid, "%s", text) }

// parseV1 reads "PROXY TCP4 source destination port port" CRLF (PROXY §2.1).
func parseV1(line string) (Header, error) {
	line, crlf := strings.CutSuffix(line, "\r\n")
	f := strings.Split(line, " ")
	switch {
	case !crlf || f[0] != "PROXY" || len(f) < 2:
		return Header{}, bad("it does not begin with a PROXY header")
	case f[1] == "UNKNOWN": // whatever follows is to be ignored
		return Header{}, nil
	case len(f) != 6 || f[1] != "TCP4" && f[1] != "TCP6":
		return Header{}, bad("a PROXY header that makes no sense")
	}
	var h Header
	var err1, err2 error
	h.Source, err1 = addrPort(f[2], f[4], f[1] == "TCP4")
	h.Destination, err2 = addrPort(f[3], f[5], f[1] == "TCP4")
	if err1 != nil || err2 != nil {
		return Header{}, bad("a PROXY header with a bad address")
	}
	return h, nil
}

func addrPort(addr, port string, v4 bool) (netip.AddrPort, error) {
	a, err := netip.ParseAddr(addr)
	if err != nil || a.Is4() != v4 || a.Zone() != "" {
		return netip.AddrPort{}, bad("address")
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil || port[0] == '0' && port != "0" {
		return netip.AddrPort{}, bad("port")
	}
	return netip.AddrPortFrom(a.Unmap(), uint16(n)), nil
}

// readV2 reads what follows the signature (PROXY §2.2). TLVs are read over.
func readV2(r io.Reader) (Header, error) {
	var fixed [fixedLen - len(signature)]byte
	if _, err := io.ReadFull(r, fixed[:]); err != nil {
		return Header{}, err
	}
	length := binary.BigEndian.Uint16(fixed[2:])
	if fixed[0]>>4 != 2 || fixed[0]&15 > 1 || length > maxV2 {
		return Header{}, bad("a PROXY header that makes no sense")
	}
	body := make([]byte, length)
	if _, err := io.ReadFull(r, body); err != nil {
		return Header{}, err
	}
	if fixed[0]&15 == 0 { // LOCAL: a health check of the balancer
		return Header{}, nil
	}
	size := 0
	switch fixed[1] {
	case 0x11: // TCP over IPv4
		size = 4
	case 0x21: // TCP over IPv6
		size = 16
	default: // must be taken, and treated as LOCAL
		return Header{}, nil
	}
	if len(body) < 2*size+4 {
		return Header{}, bad("a PROXY header that is too short")
	}
	src, _ := netip.AddrFromSlice(body[:size])
	dst, _ := netip.AddrFromSlice(body[size : 2*size])
	return Header{
		Source:      netip.AddrPortFrom(src.Unmap(), binary.BigEndian.Uint16(body[2*size:])),
		Destination: netip.AddrPortFrom(dst.Unmap(), binary.BigEndian.Uint16(body[2*size+2:])),
	}, nil
}

// Append writes h as version 2 behind b: LOCAL without addresses. Both addresses are of one family.
func (h Header) Append(b []byte) []byte {
	var body bytes.Buffer
	family := byte(0x11)
	command := byte(0x20)
	if h.Source.IsValid() {
		command = 0x21
		if h.Source.Addr().Is6() {
			family = 0x21
		}
		body.Write(h.Source.Addr().AsSlice())
		body.Write(h.Destination.Addr().AsSlice())
		body.Write(binary.BigEndian.AppendUint16(nil, h.Source.Port()))
		body.Write(binary.BigEndian.AppendUint16(nil, h.Destination.Port()))
	} else {
		family = 0
	}
	b = append(append(b, signature...), command, family)
	b = binary.BigEndian.AppendUint16(b, uint16(body.Len()))
	return append(b, body.Bytes()...)
}
