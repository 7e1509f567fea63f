package main

import (
	"bytes"
	"context"
	"net"
	"time"
)

func init() {
	register("dns", "tiny DNS server on -addr (UDP and TCP): every name has MX localhost. and A 127.0.0.1", dnsCmd)
}

// dnsCmd answers every question so that a server which insists on DNS finds
// MX localhost. and A 127.0.0.1; other types get an empty answer.
func dnsCmd(args []string) {
	o := newOpts("dns")
	o.timeout = 2 * time.Hour
	o.parse(args)
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Hour)
	defer cancel()
	pc, err := net.ListenPacket("udp", o.addr)
	if err != nil {
		fatal("%v", err)
	}
	ln, err := net.Listen("tcp", o.addr)
	if err != nil {
		fatal("%v", err)
	}
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				for {
					var h [2]byte
					if _, err := readFull(c, h[:]); err != nil {
						return
					}
					q := make([]byte, int(h[0])<<8|int(h[1]))
					if _, err := readFull(c, q); err != nil {
						return
					}
					a := dnsAnswer(q)
					c.Write(append([]byte{byte(len(a) >> 8), byte(len(a))}, a...))
				}
			}()
		}
	}()
	go func() {
		buf := make([]byte, 4096)
		for {
			n, from, err := pc.ReadFrom(buf)
			if err != nil {
				return
			}
			if a := dnsAnswer(buf[:n]); a != nil {
				pc.WriteTo(a, from)
			}
		}
	}()
	<-ctx.Done()
}

func readFull(c net.Conn, b []byte) (int, error) {
	n := 0
	for n < len(b) {
		k, err := c.Read(b[n:])
		if err != nil {
			return n, err
		}
		n += k
	}
	return n, nil
}

func dnsAnswer(q []byte) []byte {
	if len(q) < 12 {
		return nil
	}
	p := 12
	for p < len(q) && q[p] != 0 {
		p += int(q[p]) + 1
	}
	p++
	if p+4 > len(q) {
		return nil
	}
	typ := int(q[p])<<8 | int(q[p+1])
	p += 4
	isLocal := bytes.Equal(bytes.ToLower(q[12:p-4]), []byte("\x09localhost\x00"))
	var rd []byte
	switch {
	case typ == 1:
		rd = []byte{127, 0, 0, 1}
	case typ == 15 && !isLocal:
		rd = append([]byte{0, 10}, "\x09localhost\x00"...)
	default:
		typ = 0
	}
	a := append([]byte(nil), q[:p]...)
	a[2], a[3] = 0x85|q[2]&1, 0x80
	a[4], a[5], a[6], a[7], a[8], a[9], a[10], a[11] = 0, 1, 0, 0, 0, 0, 0, 0
	if typ != 0 {
		a[7] = 1
		a = append(a, 0xc0, 12, 0, byte(typ), 0, 1, 0, 0, 1, 44, 0, byte(len(rd)))
		a = append(a, rd...)
	}
	return a
}
