package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
)

func init() {
	register("table", "read result lines from standard input and print a Markdown table of -mine beside its peers, with ratios", table)
}

// A figure is one line of the table: which measurements count, and what is shown of them.
type figure struct {
	title   string
	cmd     string
	variant string // the label behind the server's name
	c       int    // sessions; 0 is any
	item    string // FETCH items or the SEARCH; "" is any
	field   string
	less    bool // less is better
}

// figures are the table's lines in order.
func figures() (out []figure) {
	for _, to := range []struct{ variant, text string }{{"", "1 account"}, {"-1000", "1,000 accounts"}} {
		for _, c := range []int{1, 10, 50, 200} {
			out = append(out, figure{fmt.Sprintf("SMTP into mailboxes, %s, %d sessions: delivered/s", to.text, c), "smtp-send", to.variant, c, "", "delivered_per_s", false})
		}
		out = append(out,
			figure{fmt.Sprintf("the same, %s, 50 connections kept: delivered/s", to.text), "smtp-send", to.variant + "-kept", 50, "", "delivered_per_s", false},
			figure{fmt.Sprintf("the same, %s, 50 sessions: server CPU s per 1,000", to.text), "smtp-send", to.variant, 50, "", "server_cpu_s_per_1000", true},
			figure{fmt.Sprintf("the same, %s, 200 sessions: peak anonymous MB", to.text), "smtp-send", to.variant, 200, "", "server_peak_anon_mb", true})
	}
	out = append(out, sessionFigures()...)
	for _, c := range []int{1, 10, 50} {
		out = append(out, figure{fmt.Sprintf("relay, %d sessions: relayed/s", c), "relay", "", c, "", "relayed_per_s", false})
	}
	out = append(out, figure{"relay, 50 sessions: server CPU s per 1,000", "relay", "", 50, "", "server_cpu_s_per_1000", true})
	for _, d := range []struct{ variant, text string }{{"-drain-1", "1 destination"}, {"-drain-1000", "1,000 destinations"}} {
		what := "drain of a queue to " + d.text + ": "
		out = append(out, figure{what + "relayed/s from the opening of the sink", "relay", d.variant, 0, "", "drain_per_s", false},
			figure{what + "server CPU s per 1,000", "relay", d.variant, 0, "", "drain_cpu_s_per_1000", true},
			figure{what + "peak anonymous MB", "relay", d.variant, 0, "", "drain_peak_anon_mb", true},
			figure{what + "peak anonymous MB, filling it included", "relay", d.variant, 0, "", "server_peak_anon_mb", true},
			figure{what + "connections", "relay", d.variant, 0, "", "sink_conns", true},
			figure{what + "connections at once", "relay", d.variant, 0, "", "sink_conns_at_once", true})
	}
	for _, f := range []struct{ variant, text string }{
		{"-first", "flags, envelope, structure of all, after a restart"},
		{"-warm", "the same, warm, a new connection each"},
		{"-flags", "FLAGS of all"},
		{"-envelope", "ENVELOPE of all"},
		{"-body", "BODY.PEEK[] of 2,000 of 5 KB, one command"},
		{"-each", "the same, a command a message"},
		{"-huge", "BODY.PEEK[] of 20 of 10 MB"},
	} {
		out = append(out, figure{"FETCH " + f.text + ": ms", "imap-fetch", f.variant, 0, "", "ms", true})
	}
	out = append(out, figure{"SELECT of 20,000, a new connection: ms", "imap-fetch", "-warm", 0, "", "select_ms", true})
	for _, q := range []string{"SEARCH UNSEEN", "SEARCH SUBJECT invoice", `SEARCH FROM "Sender 7"`, "SEARCH TEXT " + needle, "SEARCH BODY " + needle} {
		out = append(out, figure{q + " in 20,000: ms", "imap-search", "", 0, q, "ms", true})
	}
	for _, c := range []int{1, 20} {
		out = append(out, figure{fmt.Sprintf("APPEND, %d sessions: per s", c), "imap-append", "", c, "", "per_s", false})
	}
	for _, c := range []int{1, 10} {
		out = append(out, figure{fmt.Sprintf("STORE of one flag, %d sessions: per s", c), "imap-store", "", c, "", "per_s", false})
	}
	return append(out,
		figure{"1,000 in IDLE: growth of PSS per connection, KB", "imap-idle", "", 0, "", "pss_growth_kb_per_conn", true},
		figure{"1,000 in IDLE: PSS of all processes, MB", "imap-idle", "", 0, "", "pss_mb", true},
		figure{"POP3 RETR of 2,000 of 5 KB: messages/s", "pop3-retr", "", 0, "", "messages_per_s", false},
		figure{"POP3 RETR, 50 pipelined: messages/s", "pop3-retr", "-pipelined", 0, "", "messages_per_s", false},
		figure{"POP3 login to STAT of 2,000: ms", "pop3-retr", "", 0, "", "login_ms", true},
		figure{"from launch to the greeting: ms", "wait-ready", "", 0, "", "ready_ms", true},
		figure{"resident at rest after launch, MB", "cg-stat", "-idle", 0, "", "rss_sum_mb", true})
}

// sessionFigures are those of what is accepted, whenever it is delivered.
func sessionFigures() (out []figure) {
	for _, k := range []int{1, 100} {
		for _, c := range []int{1, 10, 50, 200, 1000} {
			out = append(out, figure{fmt.Sprintf("accepted, %d messages a session, %d sessions: per s", k, c), "smtp-send", fmt.Sprintf("-x%d", k), c, "", "accepted_per_s", false})
		}
		for _, v := range []struct{ variant, text string }{
			{"", "pipelined"}, {"-plain", "without PIPELINING"}, {"-tls", "under TLS"}, {"-chunk", "by BDAT"},
		} {
			what := fmt.Sprintf("accepted, %d messages a session, 50 sessions, %s: ", k, v.text)
			label := fmt.Sprintf("-x%d%s", k, v.variant)
			out = append(out, figure{what + "per s", "smtp-send", label, 50, "", "accepted_per_s", false},
				figure{what + "server CPU s per 1,000", "smtp-send", label, 50, "", "server_cpu_s_per_1000", true})
		}
	}
	for _, c := range []int{1, 10} {
		for _, v := range []struct{ variant, text string }{{"", "DATA"}, {"-starttls", "DATA under TLS"}, {"-bdat", "BDAT"}} {
			out = append(out, figure{fmt.Sprintf("accepted, 5 MB by %s, %d connections kept: per s", v.text, c), "smtp-send", "-5mb" + v.variant, c, "", "accepted_per_s", false})
		}
		out = append(out, figure{fmt.Sprintf("files of 5 MB written with one fsync each, %d at once: per s", c), "fsync", "-disk", c, "", "ops_per_s", false})
	}
	return out
}

// table prints the lines for which -mine and one of -peers have results: median (lowest-highest), and the ratio of
// the medians, above 1 where -mine is better.
func table(args []string) {
	o := newOpts("table")
	mine := o.fs.String("mine", "postel", "label of the server that is compared")
	peers := o.fs.String("peers", "postfix-lmtp=Postfix+Dovecot,postfix-virtual=Postfix alone,postfix=Postfix,dovecot=Dovecot,dovecot-sdbox=Dovecot with sdbox,dovecot-sync=Dovecot with mail_fsync=always", "label=name of those beside it")
	o.parse(args)
	lines := readLines()
	fmt.Println("| measurement | beside | its figure | Postel | ratio |\n| --- | --- | --- | --- | --- |")
	for _, f := range figures() {
		own := f.values(lines, *mine)
		for _, p := range strings.Split(*peers, ",") {
			label, name, _ := strings.Cut(p, "=")
			theirs := f.values(lines, label)
			if len(theirs) == 0 || len(own) == 0 {
				continue
			}
			ratio := median(own) / median(theirs)
			if f.less {
				ratio = 1 / ratio
			}
			fmt.Printf("| %s | %s | %s | %s | **%.2f** |\n", f.title, name, spread(theirs), spread(own), ratio)
		}
	}
}

func readLines() (out []map[string]any) {
	sc := bufio.NewScanner(os.Stdin)
	sc.Buffer(make([]byte, 1<<20), 1<<24)
	for sc.Scan() {
		var m map[string]any
		if json.Unmarshal(sc.Bytes(), &m) == nil {
			out = append(out, m)
		}
	}
	return out
}

// values gives the sorted figures of one server.
func (f figure) values(lines []map[string]any, server string) (out []float64) {
	for _, m := range lines {
		item, _ := m["query"].(string)
		switch {
		case m["cmd"] != f.cmd, m["label"] != server+f.variant, f.item != "" && item != f.item:
			continue
		case f.c != 0 && m["c"] != float64(f.c), m["error"] != nil, m["failed"] != nil:
			continue
		}
		switch v := m[f.field].(type) {
		case float64:
			out = append(out, v)
		case []any:
			for _, x := range v {
				if y, ok := x.(float64); ok {
					out = append(out, y)
				}
			}
		}
	}
	slices.Sort(out)
	return out
}

func median(v []float64) float64 {
	if n := len(v); n%2 == 0 {
		return (v[n/2-1] + v[n/2]) / 2
	}
	return v[len(v)/2]
}

func spread(v []float64) string {
	if len(v) == 1 {
		return fmt.Sprintf("%.4g", v[0])
	}
	return fmt.Sprintf("%.4g (%.4g–%.4g)", median(v), v[0], v[len(v)-1])
}
