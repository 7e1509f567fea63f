package main

import (
	"bufio"
	"bytes"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"
)

func init() {
	register("imap-fill", "append messages until -mailbox has -n (or exactly -n more with -add), over -c connections", imapFill)
	register("imap-append", "APPEND rate: -n messages of -size over -c connections", imapAppend)
	register("imap-fetch", "FETCH -set -items, -repeat times", imapFetch)
	register("imap-search", "time each of the ;-separated -cmds, -repeat times", imapSearch)
	register("imap-idle", "memory per connection of -n connections in IDLE", imapIdle)
	register("imap-store", "STORE/NOOP round trip rate: -n flag changes over -c connections", imapStore)
}

type imapConn struct {
	c    net.Conn
	br   *bufio.Reader
	tag  int
	caps string
	line []byte
	in   int64 // bytes read
}

func quote(s string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s) + `"`
}

func imapDial(o *opts, addr string) (*imapConn, error) {
	c, err := o.dial(addr)
	if err != nil {
		return nil, err
	}
	ic := &imapConn{c: c, br: bufio.NewReaderSize(c, 65536)}
	c.SetDeadline(time.Now().Add(10 * time.Minute))
	l, err := ic.readLine()
	if err == nil && !bytes.HasPrefix(l, []byte("* OK")) {
		err = fmt.Errorf("greeting %q", l)
	}
	if err != nil {
		c.Close()
		return nil, err
	}
	return ic, nil
}

func imapOpen(o *opts, addr, user, pass string) (*imapConn, error) {
	ic, err := imapDial(o, addr)
	if err != nil {
		return nil, err
	}
	if _, err = ic.cmd(nil, "LOGIN %s %s", quote(user), quote(pass)); err == nil {
		_, err = ic.cmd(func(l []byte) {
			if bytes.HasPrefix(l, []byte("* CAPABILITY")) {
				ic.caps = string(l)
			}
		}, "CAPABILITY")
	}
	if err != nil {
		ic.c.Close()
		return nil, err
	}
	return ic, nil
}

// readLine returns one logical response line, without its line end. Literals
// are skipped: only their length stays in the line. The result is valid
// until the next call.
func (ic *imapConn) readLine() ([]byte, error) {
	ic.line = ic.line[:0]
	for {
		start := len(ic.line)
		for {
			p, err := ic.br.ReadSlice('\n')
			ic.line = append(ic.line, p...)
			ic.in += int64(len(p))
			if err == bufio.ErrBufferFull {
				continue
			}
			if err != nil {
				return nil, err
			}
			break
		}
		l := ic.line
		if n := len(l); n >= 1 && l[n-1] == '\n' {
			l = l[:n-1]
		}
		if n := len(l); n >= 1 && l[n-1] == '\r' {
			l = l[:n-1]
		}
		ic.line = l
		if n := len(l); n-start >= 3 && l[n-1] == '}' {
			i := bytes.LastIndexByte(l, '{')
			if i >= start {
				if size, err := strconv.ParseInt(string(l[i+1:n-1]), 10, 64); err == nil {
					for left := size; left > 0; {
						k, err := ic.br.Discard(int(min(left, 1<<30)))
						if err != nil {
							return nil, err
						}
						left -= int64(k)
					}
					ic.in += size
					continue
				}
			}
		}
		return ic.line, nil
	}
}

// cmd sends a command and handles untagged responses until its completion.
func (ic *imapConn) cmd(untagged func([]byte), f string, a ...any) (string, error) {
	ic.tag++
	tag := fmt.Sprintf("a%d", ic.tag)
	if _, err := fmt.Fprintf(ic.c, tag+" "+f+"\r\n", a...); err != nil {
		return "", err
	}
	return ic.wait(tag, untagged)
}

func (ic *imapConn) wait(tag string, untagged func([]byte)) (string, error) {
	for {
		l, err := ic.readLine()
		if err != nil {
			return "", err
		}
		if len(l) > len(tag) && l[len(tag)] == ' ' && string(l[:len(tag)]) == tag {
			s := string(l[len(tag)+1:])
			if !strings.HasPrefix(s, "OK") {
				return s, fmt.Errorf("%s", s)
			}
			return s, nil
		}
		if bytes.HasPrefix(l, []byte("* BYE")) && untagged == nil {
			return "", fmt.Errorf("%s", l)
		}
		if untagged != nil {
			untagged(l)
		}
	}
}

// sel selects the mailbox and returns its message count.
func (ic *imapConn) sel(mailbox string) (int, error) {
	n := -1
	_, err := ic.cmd(func(l []byte) {
		if bytes.HasSuffix(l, []byte(" EXISTS")) {
			n, _ = strconv.Atoi(string(bytes.Fields(l)[1]))
		}
	}, "SELECT %s", quote(mailbox))
	return n, err
}

func (ic *imapConn) append(mailbox string, msg []byte) error {
	ic.tag++
	tag := fmt.Sprintf("a%d", ic.tag)
	plus := strings.Contains(ic.caps, "LITERAL+")
	sfx := ""
	if plus {
		sfx = "+"
	}
	head := fmt.Sprintf("%s APPEND %s (\\Seen) {%d%s}\r\n", tag, quote(mailbox), len(msg), sfx)
	if plus {
		buf := make([]byte, 0, len(head)+len(msg)+2)
		buf = append(append(append(buf, head...), msg...), '\r', '\n')
		if _, err := ic.c.Write(buf); err != nil {
			return err
		}
	} else {
		if _, err := ic.c.Write([]byte(head)); err != nil {
			return err
		}
		for {
			l, err := ic.readLine()
			if err != nil {
				return err
			}
			if l[0] == '+' {
				break
			}
			if l[0] != '*' {
				return fmt.Errorf("%s", l)
			}
		}
		buf := make([]byte, 0, len(msg)+2)
		if _, err := ic.c.Write(append(append(buf, msg...), '\r', '\n')); err != nil {
			return err
		}
	}
	_, err := ic.wait(tag, nil)
	return err
}

// create makes the mailbox; an error (it exists) is of no interest.
func (ic *imapConn) create(mailbox string) {
	if !strings.EqualFold(mailbox, "INBOX") {
		ic.cmd(nil, "CREATE %s", quote(mailbox))
	}
}

func (ic *imapConn) count(mailbox string) (int, error) {
	n := -1
	_, err := ic.cmd(func(l []byte) {
		if i := bytes.Index(l, []byte("MESSAGES ")); i >= 0 {
			n, _ = strconv.Atoi(strings.Trim(string(bytes.Fields(l[i+9:])[0]), ")"))
		}
	}, "STATUS %s (MESSAGES)", quote(mailbox))
	return n, err
}

func (o *opts) imap(addr string) *imapConn {
	ic, err := imapOpen(o, addr, o.user, o.pass)
	if err != nil {
		fatal("imap: %v", err)
	}
	return ic
}
