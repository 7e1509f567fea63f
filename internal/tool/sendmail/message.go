package sendmail

import (
	"bufio"
	"bytes"
	"io"
	"strings"

	"postel/internal/mail"
	"postel/internal/message"
)

// recipients are those of the command line and, with -t, those of To, Cc and Bcc.
func recipients(a arguments, h *message.Header) ([]mail.Recipient, error) {
	var out []mail.Recipient
	notify, err := notifyOf(a.notify)
	if err != nil {
		return nil, err
	}
	add := func(s string) error {
		local := s
		if !strings.Contains(s, "@") {
			local += "@localhost.invalid" // only to check it; complete gives it the server's domain
		}
		addr, err := mail.ParseAddress(local)
		if err != nil {
			return fail(exDataErr, "%s: not an address", s)
		}
		if local != s {
			addr.Domain = ""
		}
		out = append(out, mail.Recipient{Address: addr, Notify: notify})
		return nil
	}
	for _, r := range a.recipients {
		if err := add(r); err != nil {
			return nil, err
		}
	}
	if a.extract {
		for _, field := range []string{"To", "Cc", "Bcc"} {
			for f := range h.Fields(field) {
				for _, addr := range message.ParseAddressList(f.Value()) {
					if addr.Kind != message.Mailbox {
						continue
					}
					if err := add(addr.Spec()); err != nil {
						return nil, err
					}
				}
			}
		}
		h.Del("Bcc")
	}
	if len(out) == 0 {
		return nil, fail(exUsage, "no recipients: name them, or use -t to take those of the header")
	}
	return out, nil
}

// complete gives recipients without a domain the server's.
func complete(rcpts []mail.Recipient, host mail.Domain) {
	for i := range rcpts {
		if rcpts[i].Address.Domain == "" {
			rcpts[i].Address.Domain = host
		}
	}
}

// notifyOf reads -N (RFC 3461 §4.1).
func notifyOf(s string) (n mail.Notify, err error) {
	if s == "" {
		return 0, nil
	}
	for word := range strings.SplitSeq(s, ",") {
		bit, ok := map[string]mail.Notify{
			"never": mail.NotifyNever, "success": mail.NotifySuccess, "failure": mail.NotifyFailure,
			"delay": mail.NotifyDelay,
		}[strings.ToLower(strings.TrimSpace(word))]
		if !ok {
			return 0, fail(exUsage, "-N %s: want never, or some of success, failure, delay", s)
		}
		n |= bit
	}
	return n, nil
}

// cutFromLine takes the UUCP lines "From host!user date remote from relay" off the front and gives the sender they
// name, "" without one (rmail).
func cutFromLine(in *bufio.Reader) (string, error) {
	path := ""
	for {
		head, _ := in.Peek(6)
		if !bytes.HasPrefix(head, []byte("From ")) && !bytes.HasPrefix(head, []byte(">From ")) {
			break
		}
		line, err := in.ReadString('\n')
		if err != nil || len(line) > 2048 {
			return "", fail(exDataErr, "bad From line")
		}
		words := strings.Fields(strings.TrimPrefix(line, ">"))
		if len(words) < 2 {
			return "", fail(exDataErr, "bad From line")
		}
		path = words[1]
		if n := len(words); n > 4 && words[n-3] == "remote" && words[n-2] == "from" {
			path = words[n-1] + "!" + path
		}
	}
	if path == "" || strings.Contains(path, "@") {
		return path, nil
	}
	hops := strings.Split(path, "!")
	if len(hops) == 1 {
		return path, nil
	}
	return hops[len(hops)-1] + "@" + hops[len(hops)-2], nil
}

// untilDot gives what stands before a line with a single dot.
func untilDot(in *bufio.Reader) io.Reader { return &dotted{in: in, start: true} }

type dotted struct {
	in    *bufio.Reader
	rest  []byte
	start bool // the next piece begins a line
	err   error
}

func (d *dotted) Read(p []byte) (int, error) {
	if len(d.rest) == 0 && d.err == nil {
		line, err := d.in.ReadSlice('\n')
		if err != nil && err != bufio.ErrBufferFull {
			d.err = err
		}
		if d.start && string(bytes.TrimRight(line, "\r\n")) == "." {
			line, d.err = nil, io.EOF
		}
		d.start = len(line) > 0 && line[len(line)-1] == '\n'
		d.rest = line
	}
	if len(d.rest) == 0 {
		return 0, d.err
	}
	n := copy(p, d.rest)
	d.rest = d.rest[n:]
	return n, nil
}
