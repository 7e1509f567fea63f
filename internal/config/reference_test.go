package config

import (
	"flag"
	"os"
	"testing"
)

var update = flag.Bool("update", false, "write docs/config.md anew")

const preface = `# The configuration file

` + "`postel serve --config FILE`" + ` reads TOML, by default from /etc/postel/postel.toml. Unknown keys and bad values are all told
at once, with their lines. ` + "`postel config check`" + ` does nothing else; ` + "`postel config show`" + ` prints what is in effect. This page is
made from the table in internal/config/settings.go.

Fixed limits, which no key changes: a command line of SMTP and POP3 2,048 octets, a line of an authentication 12,288
octets, an IMAP command with its literals (a message's own aside) 64 KiB before login and 1 MiB after, a literal before
login 4 KiB, a password 1 KiB.

`

// docs/config.md tells what the table tells (rewritten with -update).
func TestReferenceIsCurrent(t *testing.T) {
	const file = "../../docs/config.md"
	want := preface + Reference()
	if *update {
		if err := os.WriteFile(file, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := os.ReadFile(file); err != nil || string(got) != want {
		t.Errorf("docs/config.md is not current (%v): go test ./internal/config -update", err)
	}
}
