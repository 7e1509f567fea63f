package main

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

func init() {
	register("maildir-gen", "write -n messages of -size to the maildir -dir (no server involved)", maildirGen)
	register("mbox-gen", "write -n messages of -size to the mbox file -file, for imaptest", mboxGen)
}

func maildirGen(args []string) {
	o := newOpts("maildir-gen")
	dir := o.fs.String("dir", "", "maildir, created if absent")
	first := o.fs.Int("first", 0, "number of the first message")
	o.parse(args)
	for _, s := range []string{"cur", "new", "tmp"} {
		if err := os.MkdirAll(filepath.Join(*dir, s), 0o755); err != nil {
			fatal("%v", err)
		}
	}
	for i := *first; i < *first+o.n; i++ {
		m := bytes.ReplaceAll(makeMessage(i, o.size, "sender@bench.example", "user@bench.example"), []byte("\r\n"), []byte("\n"))
		name := filepath.Join(*dir, "cur", fmt.Sprintf("%d.M%dP1.bench:2,S", msgEpoch.Add(time.Duration(i)*137*time.Second).Unix(), i))
		if err := os.WriteFile(name, m, 0o644); err != nil {
			fatal("%v", err)
		}
	}
	emit(map[string]any{"label": o.label, "cmd": "maildir-gen", "n": o.n, "size": o.size})
}

func mboxGen(args []string) {
	o := newOpts("mbox-gen")
	file := o.fs.String("file", "bench.mbox", "file to write")
	o.parse(args)
	f, err := os.Create(*file)
	if err != nil {
		fatal("%v", err)
	}
	w := bufio.NewWriter(f)
	for i := 0; i < o.n; i++ {
		m := string(makeMessage(i, o.size, "sender@bench.example", "user@bench.example"))
		m = strings.ReplaceAll(strings.ReplaceAll(m, "\r\n", "\n"), "\nFrom ", "\n>From ")
		fmt.Fprintf(w, "From sender@bench.example %s\n%s\n", msgEpoch.Add(time.Duration(i)*137*time.Second).Format(time.ANSIC), m)
	}
	if err := w.Flush(); err != nil {
		fatal("%v", err)
	}
	f.Close()
	emit(map[string]any{"label": o.label, "cmd": "mbox-gen", "n": o.n, "size": o.size})
}
