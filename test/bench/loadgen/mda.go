package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"
)

func init() {
	register("maildir-deliver", "store standard input in the maildir -dir, durably (a delivery agent for servers without a store)", maildirDeliver)
}

func maildirDeliver(args []string) {
	o := newOpts("maildir-deliver")
	dir := o.fs.String("dir", "", "maildir")
	o.parse(args)
	name := fmt.Sprintf("%d.%d.bench", time.Now().UnixNano(), os.Getpid())
	tmp := filepath.Join(*dir, "tmp", name)
	f, err := os.OpenFile(tmp, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err == nil {
		if _, err = io.Copy(f, os.Stdin); err == nil {
			err = f.Sync()
		}
		if e := f.Close(); err == nil {
			err = e
		}
	}
	if err == nil {
		err = os.Rename(tmp, filepath.Join(*dir, "new", name))
	}
	if err != nil {
		fatal("deliver: %v", err)
	}
	d, err := os.Open(filepath.Join(*dir, "new"))
	if err == nil {
		d.Sync()
		d.Close()
	}
}
