package main

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"net"
	"strings"
)

type smtpConn struct {
	c  net.Conn
	br *bufio.Reader
}

func (s *smtpConn) reply(want byte) error {
	for {
		l, err := s.br.ReadSlice('\n')
		if err != nil {
			return err
		}
		if len(l) >= 4 && l[3] == '-' {
			continue
		}
		if len(l) < 3 || l[0] != want {
			return fmt.Errorf("reply %q", strings.TrimSpace(string(l)))
		}
		return nil
	}
}

func (s *smtpConn) cmd(want byte, f string, a ...any) error {
	if _, err := fmt.Fprintf(s.c, f+"\r\n", a...); err != nil {
		return err
	}
	if err := s.reply(want); err != nil {
		verb, _, _ := strings.Cut(f, " ")
		return fmt.Errorf("%s: %w", verb, err)
	}
	return nil
}

func (j *smtpJob) open() (*smtpConn, error) {
	c, err := j.dial(j.addr)
	if err != nil {
		return nil, err
	}
	s := &smtpConn{c, bufio.NewReaderSize(c, 8192)}
	hello := "EHLO bench.example"
	if j.lmtp {
		hello = "LHLO bench.example"
	}
	if err = s.reply('2'); err == nil {
		err = s.cmd('2', "%s", hello)
	}
	if err == nil && j.starttls {
		if err = s.cmd('2', "STARTTLS"); err == nil {
			s.c = tls.Client(s.c, &tls.Config{InsecureSkipVerify: true})
			s.br.Reset(s.c)
			err = s.cmd('2', "%s", hello)
		}
	}
	if err == nil && j.auth {
		err = s.cmd('2', "AUTH PLAIN %s", base64.StdEncoding.EncodeToString([]byte("\x00"+j.user+"\x00"+j.pass)))
	}
	if err != nil {
		c.Close()
		return nil, err
	}
	return s, nil
}

// send sends message i of this run.
func (j *smtpJob) send(s *smtpConn, i int) error {
	from, to := j.sender(j.base+i), j.rcpt(j.base+i)
	if j.bdat {
		return j.sendChunk(s, i, from, to)
	}
	if j.pipeline {
		if _, err := fmt.Fprintf(s.c, "MAIL FROM:<%s>\r\nRCPT TO:<%s>\r\nDATA\r\n", from, to); err != nil {
			return err
		}
		for _, w := range []byte("223") {
			if err := s.reply(w); err != nil {
				return err
			}
		}
	} else {
		if err := s.cmd('2', "MAIL FROM:<%s>", from); err != nil {
			return err
		}
		if err := s.cmd('2', "RCPT TO:<%s>", to); err != nil {
			return err
		}
		if err := s.cmd('3', "DATA"); err != nil {
			return err
		}
	}
	if _, err := s.c.Write(j.message(i)); err != nil {
		return err
	}
	if err := s.reply('2'); err != nil {
		return fmt.Errorf("end of data: %w", err)
	}
	return nil
}

// sendChunk sends message i by BDAT, all of the transaction in one go.
func (j *smtpJob) sendChunk(s *smtpConn, i int, from, to string) error {
	msg := bytes.TrimSuffix(j.message(i), []byte(".\r\n"))
	head := fmt.Appendf(nil, "MAIL FROM:<%s>\r\nRCPT TO:<%s>\r\nBDAT %d LAST\r\n", from, to, len(msg))
	if _, err := s.c.Write(append(head, msg...)); err != nil {
		return err
	}
	for range 3 {
		if err := s.reply('2'); err != nil {
			return err
		}
	}
	return nil
}
