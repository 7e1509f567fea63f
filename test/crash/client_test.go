package crash

import (
	"bufio"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"time"
)

// conn is a bare line client for both protocols: nothing of the server's code takes part in the proof.
type conn struct {
	net.Conn
	r   *bufio.Reader
	tag int
}

func dial(addr string) (*conn, error) {
	c, err := net.DialTimeout("tcp", addr, 5*time.Second)
	if err != nil {
		return nil, err
	}
	_ = c.SetDeadline(time.Now().Add(2 * time.Minute))
	return &conn{Conn: c, r: bufio.NewReaderSize(c, 64<<10)}, nil
}

func (c *conn) line() (string, error) {
	s, err := c.r.ReadString('\n')
	return strings.TrimRight(s, "\r\n"), err
}

// reply reads an SMTP reply to its last line.
func (c *conn) reply(want byte) error {
	for {
		s, err := c.line()
		if err != nil {
			return err
		}
		if len(s) < 4 || s[3] != '-' {
			if len(s) == 0 || s[0] != want {
				return fmt.Errorf("reply %q", s)
			}
			return nil
		}
	}
}

func (c *conn) say(want byte, format string, args ...any) error {
	if _, err := fmt.Fprintf(c, format+"\r\n", args...); err != nil {
		return err
	}
	return c.reply(want)
}

// dialSMTP greets, and logs in when user is given.
func dialSMTP(addr, user string) (*conn, error) {
	c, err := dial(addr)
	if err != nil {
		return nil, err
	}
	if err = c.reply('2'); err == nil {
		err = c.say('2', "EHLO crash.test")
	}
	if err == nil && user != "" {
		err = c.say('2', "AUTH PLAIN %s", base64.StdEncoding.EncodeToString([]byte("\x00"+user+"\x00"+password)))
	}
	if err != nil {
		_ = c.Close()
		return nil, err
	}
	return c, nil
}

// dialLMTP greets.
func dialLMTP(addr string) (*conn, error) {
	c, err := dial(addr)
	if err != nil {
		return nil, err
	}
	if err = c.reply('2'); err == nil {
		err = c.say('2', "LHLO crash.test")
	}
	if err != nil {
		_ = c.Close()
		return nil, err
	}
	return c, nil
}

// send hands in one message and reads one reply behind it; LMTP has one more for each further recipient.
func (c *conn) send(from string, m message, to ...string) error {
	if err := c.say('2', "MAIL FROM:<%s>", from); err != nil {
		return err
	}
	for _, rcpt := range to {
		if err := c.say('2', "RCPT TO:<%s>", rcpt); err != nil {
			return err
		}
	}
	if err := c.say('3', "DATA"); err != nil {
		return err
	}
	return c.say('2', "%s.", m.text(from))
}

// dialIMAP logs in.
func dialIMAP(addr, user string) (*conn, error) {
	c, err := dial(addr)
	if err != nil {
		return nil, err
	}
	if _, err = c.line(); err == nil {
		_, err = c.imap("LOGIN %s %s", user, password)
	}
	if err != nil {
		_ = c.Close()
		return nil, err
	}
	return c, nil
}

// untagged is one response with its literals put in place.
type untagged struct {
	text     string // "12 FETCH (UID 3 …", literals as {n}
	literals [][]byte
}

// imap sends a command and reads up to its tagged OK, which it gives last.
func (c *conn) imap(format string, args ...any) ([]untagged, error) {
	c.tag++
	tag := "a" + strconv.Itoa(c.tag)
	if _, err := fmt.Fprintf(c, tag+" "+format+"\r\n", args...); err != nil {
		return nil, err
	}
	return c.until(tag)
}

func (c *conn) until(tag string) ([]untagged, error) {
	var out []untagged
	for {
		u, err := c.response()
		if err != nil {
			return out, err
		}
		if rest, ok := strings.CutPrefix(u.text, tag+" "); ok {
			if !strings.HasPrefix(rest, "OK") {
				return out, errors.New(rest)
			}
			return append(out, u), nil
		}
		out = append(out, u)
	}
}

func (c *conn) response() (untagged, error) {
	var u untagged
	for {
		s, err := c.line()
		if err != nil {
			return u, err
		}
		u.text += s
		i := strings.LastIndexByte(s, '{')
		if i < 0 || !strings.HasSuffix(s, "}") {
			return u, nil
		}
		n, err := strconv.Atoi(s[i+1 : len(s)-1])
		if err != nil {
			return u, nil
		}
		b := make([]byte, n)
		if _, err := io.ReadFull(c.r, b); err != nil {
			return u, err
		}
		u.literals = append(u.literals, b)
	}
}

// append_ hands in one message by APPEND.
func (c *conn) append_(mailbox string, m message) error {
	c.tag++
	tag := "a" + strconv.Itoa(c.tag)
	text := m.text("a@crash.test")
	if _, err := fmt.Fprintf(c, "%s APPEND %s {%d}\r\n", tag, mailbox, len(text)); err != nil {
		return err
	}
	for {
		s, err := c.line()
		if err != nil {
			return err
		}
		if strings.HasPrefix(s, "+") {
			break
		}
		if strings.HasPrefix(s, tag) {
			return errors.New(s)
		}
	}
	if _, err := io.WriteString(c, text+"\r\n"); err != nil {
		return err
	}
	_, err := c.until(tag)
	return err
}
