package main

import (
	"bytes"
	"fmt"
	"strings"
	"time"
)

func imapFetch(args []string) {
	o := newOpts("imap-fetch")
	set := o.fs.String("set", "1:*", "sequence set")
	items := o.fs.String("items", "(FLAGS ENVELOPE BODYSTRUCTURE INTERNALDATE UID)", "items")
	repeat := o.fs.Int("repeat", 3, "how many times, over one connection")
	fresh := o.fs.Bool("fresh", false, "a new connection for each repetition")
	each := o.fs.Bool("each", false, "one FETCH command per message instead of one for the set")
	o.parse(args)
	res := map[string]any{"label": o.label, "cmd": "imap-fetch", "items": *items, "set": *set}
	m := startMeter(o.cg)
	var ms, mbs, selms []float64
	total := 0
	var ic *imapConn
	exists := 0
	for r := 0; r < *repeat; r++ {
		if ic == nil || *fresh {
			if ic != nil {
				ic.cmd(nil, "LOGOUT")
				ic.c.Close()
			}
			ic = o.imap(o.addr)
			t := time.Now()
			n, err := ic.sel(o.mailbox)
			if err != nil {
				fatal("select: %v", err)
			}
			selms = append(selms, round(float64(time.Since(t))/1e6, 1))
			exists = n
		}
		got := 0
		in0 := ic.in
		t := time.Now()
		count := func(l []byte) {
			if bytes.Contains(l[:min(len(l), 40)], []byte(" FETCH ")) {
				got++
			}
		}
		var err error
		if *each {
			for i := 1; i <= exists && err == nil; i++ {
				_, err = ic.cmd(count, "FETCH %d %s", i, *items)
			}
		} else {
			_, err = ic.cmd(count, "FETCH %s %s", *set, *items)
		}
		d := time.Since(t)
		if err != nil {
			res["error"] = err.Error()
			break
		}
		ms = append(ms, round(float64(d)/1e6, 1))
		mbs = append(mbs, round(float64(ic.in-in0)/1e6/d.Seconds(), 1))
		res["bytes"] = ic.in - in0
		res["got"] = got
		total += got
		if (*set == "1:*" || *each) && got < exists {
			res["error"] = fmt.Sprintf("%d of %d messages", got, exists)
		}
	}
	res["exists"], res["ms"], res["mb_per_s"], res["select_ms"] = exists, ms, mbs, selms
	emit(m.done(res, total))
}

func imapSearch(args []string) {
	o := newOpts("imap-search")
	cmds := o.fs.String("cmds", "SEARCH TEXT "+needle+";SEARCH BODY "+needle+";SEARCH SUBJECT invoice;SEARCH FROM \"Sender 7\";UID SORT (DATE) UTF-8 ALL;UID SORT (SUBJECT) UTF-8 ALL;UID THREAD REFERENCES UTF-8 ALL", "commands separated by ;")
	repeat := o.fs.Int("repeat", 3, "how many times")
	o.parse(args)
	ic := o.imap(o.addr)
	n, err := ic.sel(o.mailbox)
	if err != nil {
		fatal("select: %v", err)
	}
	for _, c := range strings.Split(*cmds, ";") {
		c = strings.TrimSpace(c)
		res := map[string]any{"label": o.label, "cmd": "imap-search", "query": c, "exists": n}
		m := startMeter(o.cg)
		var ms []float64
		for r := 0; r < *repeat; r++ {
			hits := 0
			t := time.Now()
			_, err := ic.cmd(func(l []byte) {
				switch {
				case bytes.HasPrefix(l, []byte("* SEARCH")), bytes.HasPrefix(l, []byte("* SORT")):
					hits += len(bytes.Fields(l)) - 2
				case bytes.HasPrefix(l, []byte("* THREAD")):
					hits = len(l)
				}
			}, "%s", c)
			if err != nil {
				res["error"] = err.Error()
				break
			}
			ms = append(ms, round(float64(time.Since(t))/1e6, 1))
			res["hits"] = hits
		}
		res["ms"] = ms
		emit(m.done(res, 0))
	}
	ic.cmd(nil, "LOGOUT")
}
