package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// counter tells how many messages have been delivered: "maildir:PATH",
// "postel:SOCKET" (all accounts, through the control socket), or
// "imap:ADDR" (STATUS of -mailbox with -user and -pass).
func (j *smtpJob) counter(spec string) (func() (int, error), error) {
	kind, arg, _ := strings.Cut(spec, ":")
	switch kind {
	case "maildir":
		return func() (int, error) {
			n := 0
			dirs, _ := filepath.Glob(arg)
			for _, d := range dirs {
				for _, sub := range []string{"new", "cur"} {
					f, err := os.Open(filepath.Join(d, sub))
					if err != nil {
						continue
					}
					names, _ := f.Readdirnames(-1)
					f.Close()
					n += len(names)
				}
			}
			return n, nil
		}, nil
	case "postel":
		return func() (int, error) { return postelMessages(arg) }, nil
	case "imap":
		checkLoopback(arg)
		var ic *imapConn
		return func() (int, error) {
			if ic == nil {
				c, err := imapOpen(j.opts, arg, j.user, j.pass)
				if err != nil {
					return 0, err
				}
				ic = c
			}
			n := -1
			_, err := ic.cmd(func(l []byte) {
				if i := bytes.Index(l, []byte("MESSAGES ")); i >= 0 {
					s := l[i+9:]
					k := 0
					for k < len(s) && s[k] >= '0' && s[k] <= '9' {
						k++
					}
					n, _ = strconv.Atoi(string(s[:k]))
				}
			}, "STATUS %s (MESSAGES)", quote(j.mailbox))
			return n, err
		}, nil
	}
	return nil, fmt.Errorf("bad -count %q", spec)
}
