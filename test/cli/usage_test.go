package cli

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"postel/test/harness"
)

// commands are all that is built.
func commands() map[string][]string {
	return map[string][]string{
		"account": {"add", "allow", "bulk", "disable", "list", "passwd", "quota", "rm", "secret", "undelete"}, "alias": {"add", "list", "resolve", "rm"}, "config": {"check", "show"},
		"domain": {"add", "list", "quota", "rm"}, "glass": {"list", "show", "tail"}, "inbox": {"list", "show"},
		"queue":  {"bounce", "drop", "etrn", "hold", "list", "release", "reroute", "retry", "route", "show"},
		"tlsrpt": {"list", "read", "received", "send", "show"},
		"import": {"eml", "imap", "maildir", "mbox"}, "export": {"eml", "maildir", "mbox"},
		"completion": {"bash", "fish", "powershell", "zsh"}, "backup": nil, "check": nil, "suppression": {"add", "list", "rm"}, "route": {"add", "list", "rm"}, "restore": nil, "dev": nil, "serve": nil, "help": nil, "journey": nil, "migrate": nil, "mx": nil, "sts": nil, "tlsa": nil, "send": nil, "sendmail": nil, "version": nil, "why": nil,
	}
}

// listed gives the commands that a help text lists.
func listed(help string) (names []string) {
	_, rest, _ := strings.Cut(help, "Available Commands:\n")
	rest, _, _ = strings.Cut(rest, "\n\n")
	for line := range strings.Lines(rest) {
		names = append(names, strings.Fields(line)[0])
	}
	return names
}

// TestHelp: help lists what is built, all of it and nothing else.
func TestHelp(t *testing.T) {
	t.Parallel()
	all := commands()
	for _, args := range [][]string{{"help"}, {"--help"}, {"-h"}, nil} {
		got := listed(run(t, 0, args...).out)
		if len(got) != len(all) {
			t.Errorf("%v lists %v", args, got)
		}
		for _, name := range got {
			if _, ok := all[name]; !ok {
				t.Errorf("%v lists %s", args, name)
			}
		}
	}
	for name, verbs := range all {
		help := run(t, 0, "help", name).out
		if got := run(t, 0, name, "--help").out; got != help {
			t.Errorf("help %s and %s --help differ:\n%s\n%s", name, name, help, got)
		}
		if got := listed(help); !slices.Equal(got, verbs) {
			t.Errorf("%s has %v, want %v", name, got, verbs)
		}
		for _, v := range verbs {
			run(t, 0, name, v, "--help")
			run(t, 0, "help", name, v)
		}
		if verbs != nil && name != "completion" {
			run(t, 2, name)
		}
	}
	dev := run(t, 0, "dev", "--help").out
	for _, unbuilt := range []string{"managesieve", "pop2"} {
		if strings.Contains(dev, unbuilt) {
			t.Errorf("the help of dev speaks of %s", unbuilt)
		}
	}
}

// TestMistakes: one line that says what is wrong; three at most with a suggestion.
func TestMistakes(t *testing.T) {
	t.Parallel()
	for line, says := range map[string]string{
		"sned":                  "postel send",
		"acount list":           "postel account",
		"queue lsit":            "queue list",
		"alias resolv x":        "alias resolve",
		"xyzzy":                 "help",
		"quickstart":            "unknown command",
		"talk smtp x":           "unknown command",
		"doctor":                "unknown command",
		"import maildir x":      "--account",
		"account undelete":      "ADDRESS",
		"queue rerout x":        "unknown command",
		"queue reroute":         "host",
		"queue reroute mx.test": "which items",
		"config explain x":      "unknown command",
		"inbox watch":           "unknown command",
		"--bogus":               "bogus",
		"send --bogus":          "bogus",
		"version -z":            "z",
		"queue list extra":      "extra",
		"queue show":            "ID",
		"account add":           "ADDRESS",
		"alias add one@x.test":  "TO",
		"suppression add":       "ADDRESS",
		"suppression add a@b.test --expires 2001-01-01": "has passed",
		"route add":                       "DOMAIN",
		"route add a.test --retry-max x":  "how long",
		"mx":                              "NAME",
		"mx two words":                    "NAME",
		"sts":                             "NAME",
		"sts a.test --https-port x":       "https-port",
		"tlsa a b":                        "NAME",
		"journey":                         "ID",
		"send":                            "--to",
		"send --to nonsense":              "nonsense",
		"send --to a@b.test --tls odd":    "odd",
		"send --to a@b.test --user a@b.c": "password-stdin",
		"send --to a@b.test --from odd":   "odd",
		"send --to a@b.test --timeout x":  "timeout",
		"config check extra":              "extra",
		"completion tcsh":                 "tcsh",
		"help sned":                       "sned",
		"glass list -n x":                 "number",
		"account list --config":           "config",
		"serve --config /no/such/file":    "/no/such/file: does not exist",
		"account list --config /no/file":  "/no/file: does not exist",
		"sendmail-is-not-this --whatever": "unknown",
	} {
		r := run(t, 2, strings.Fields(line)...)
		if n := strings.Count(r.err, "\n"); n < 1 || n > 3 || !strings.HasPrefix(r.err, "postel: ") || !strings.Contains(r.err, says) || r.out != "" {
			t.Errorf("postel %s: want %q in at most three lines:\n%s%s", line, says, r.err, r.out)
		}
	}
}

// TestNoSuchData: a data directory that is not there is not an empty one, of which all is well and backed up.
func TestNoSuchData(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "typo")
	for _, line := range []string{
		"check", "check --repair", "check --upgrade-dry-run", "backup " + dir + ".backup",
	} {
		r := run(t, 3, append(strings.Fields(line), "--data", dir)...)
		if !strings.Contains(r.err, "no data directory "+dir) || r.out != "" {
			t.Errorf("postel %s: %s%s", line, r.err, r.out)
		}
	}
	if left, err := os.ReadDir(filepath.Dir(dir)); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
	run(t, 0, "domain", "add", "b.test", "--data", dir)
	run(t, 0, "check", "--data", dir)
}

func TestVersionAndCompletion(t *testing.T) {
	t.Parallel()
	if r := run(t, 0, "version"); !strings.HasPrefix(r.out, "postel ") || strings.Count(r.out, "\n") != 1 {
		t.Errorf("%q", r.out)
	}
	hasKeys(t, "version", objects(t, run(t, 0, "version", "--json").out), "version")
	for _, shell := range []string{"bash", "zsh", "fish", "powershell"} {
		if r := run(t, 0, "completion", shell); len(r.out) < 1000 || !strings.Contains(r.out, "postel") {
			t.Errorf("completion %s: %d octets", shell, len(r.out))
		}
	}
	harness.Need(t, "bash")
	if out, code := harness.Run(t, run(t, 0, "completion", "bash").out, "bash", "-n"); code != 0 {
		t.Errorf("bash does not read its completion: %s", out)
	}
	for line, want := range map[string]string{"que": "queue", "queue re": "release", "account a": "add", "dev --mx": "--mx-port"} {
		args := append([]string{"__complete"}, strings.Fields(line)...)
		if r := run(t, 0, args...); !strings.Contains(r.out, want) {
			t.Errorf("%s<TAB>: %s", line, r.out)
		}
	}
}

// TestNoServer: commands that need a server say so with 3; those that manage data open it.
func TestNoServer(t *testing.T) {
	t.Parallel()
	data := harness.Dir(t) + "/data"
	for _, line := range []string{"glass list", "glass show s-0000000000000000", "glass tail", "journey m-0000000000000000"} {
		r := run(t, 3, append(strings.Fields(line), "--data", data)...)
		if strings.Count(r.err, "\n") != 1 || !strings.Contains(r.err, data) {
			t.Errorf("%s: %q", line, r.err)
		}
	}
	for _, line := range []string{"account list", "queue list", "domain list", "alias list", "glass list", "inbox list"} {
		r := run(t, 3, strings.Fields(line)...)
		if strings.Count(r.err, "\n") != 1 || !strings.Contains(r.err, "postel dev") {
			t.Errorf("%s: %q", line, r.err)
		}
	}
	run(t, 0, "account", "list", "--data", data)
	if r := run(t, 0, "queue", "list", "--data", data); r.out != "" || !strings.Contains(r.err, "empty") {
		t.Errorf("%+v", r)
	}
	if r := run(t, 0, "queue", "list", "-q", "--data", data); r.out+r.err != "" {
		t.Errorf("-q says %+v", r)
	}
	if r := run(t, 0, "queue", "list", "--json", "--data", data); r.out+r.err != "" {
		t.Errorf("--json says %+v", r)
	}
	if r := run(t, 2, "inbox", "list", "--data", data); !strings.Contains(r.err, "--deliver catch") {
		t.Errorf("%+v", r)
	}
}

// TestEnvironment: every flag from POSTEL_ and its name; what is given wins.
func TestEnvironment(t *testing.T) {
	t.Parallel()
	dir := harness.Dir(t)
	r := command{env: []string{"POSTEL_DATA=" + dir + "/a", "POSTEL_JSON=true"}, args: []string{"account", "list"}}.want(t, 0)
	if r.out+r.err != "" {
		t.Errorf("%+v", r)
	}
	r = command{env: []string{"POSTEL_JSON=1"}, args: []string{"version"}}.want(t, 0)
	hasKeys(t, "version", objects(t, r.out), "version")
	r = command{env: []string{"POSTEL_JSON=1"}, args: []string{"version", "--json=false"}}.want(t, 0)
	if !strings.HasPrefix(r.out, "postel ") {
		t.Errorf("%q", r.out)
	}
	r = command{env: []string{"POSTEL_CONFIG=" + harness.WriteConfig(t, "")}, args: []string{"config", "check"}}.want(t, 0)
	if !strings.Contains(r.out, "valid") {
		t.Errorf("%q", r.out)
	}
	for _, bad := range []string{"POSTEL_MX_PORT=x", "POSTEL_DELIVER=x", "POSTEL_HOST=192.0.2.1", "POSTEL_EXPOSE=perhaps", "POSTEL_PORT=smtp=99999"} {
		r := command{env: []string{bad}, args: []string{"dev"}}.want(t, 2)
		name, _, _ := strings.Cut(bad, "=")
		flag := "--" + strings.ToLower(strings.ReplaceAll(strings.TrimPrefix(name, "POSTEL_"), "_", "-"))
		if !strings.Contains(r.err, flag) || strings.Count(r.err, "\n") != 1 {
			t.Errorf("%s: %q", bad, r.err)
		}
	}
	command{env: []string{"POSTEL_TO=a@b.test", "POSTEL_SERVER=127.0.0.1:1"}, args: []string{"send"}}.want(t, 21)
}

// TestServerGoes: who follows a server hears of its end: 0 when it stopped, 3 when it died.
func TestServerGoes(t *testing.T) {
	t.Parallel()
	for code, end := range map[int]func(*harness.Server){0: func(s *harness.Server) { _ = s.Stop() }, 3: (*harness.Server).Kill} {
		s := harness.Dev(t)
		ended := make(chan result, 1)
		go func() { ended <- command{args: []string{"glass", "tail", "--data", s.Data}}.run(t) }()
		// It follows once it has asked; a session of the control socket is not in glass, so wait a little.
		time.Sleep(500 * time.Millisecond)
		end(s)
		if r := <-ended; r.code != code || code == 3 && !strings.Contains(r.err, "went away") {
			t.Errorf("want %d: %+v", code, r)
		}
		_ = os.RemoveAll(s.Data)
	}
}
