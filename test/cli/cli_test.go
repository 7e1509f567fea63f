// Package cli is the story of the command line: what each command prints, how it ends, and what it says when it is
// used wrongly.
package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"postel/test/harness"
)

func TestMain(m *testing.M) { harness.Main(m) }

const (
	alice    = "alice@postel.test"
	bob      = "bob@postel.test"
	password = "postel"
)

// command is one run of the program.
type command struct {
	env   []string // beside the test's own
	input string
	args  []string
	name  string // argv[0] and path; empty is the binary
}

// result is how it ended.
type result struct {
	out, err string
	code     int
}

func (c command) run(t *testing.T) result {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	name := c.name
	if name == "" {
		name = harness.Binary(t)
	}
	cmd := exec.CommandContext(ctx, name, c.args...)
	cmd.Env = append(append(os.Environ(), "XDG_RUNTIME_DIR=/nonexistent"), c.env...)
	cmd.Stdin = strings.NewReader(c.input)
	var out, errOut bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errOut
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatalf("%s: %v", name, err)
	}
	if ctx.Err() != nil {
		t.Errorf("postel %s: hangs", strings.Join(c.args, " "))
	}
	r := result{out.String(), errOut.String(), cmd.ProcessState.ExitCode()}
	if strings.Contains(r.out+r.err, "\x1b") {
		t.Errorf("postel %s: colour without a terminal", strings.Join(c.args, " "))
	}
	return r
}

// run runs the program and fails the test unless it ends with the code.
func run(t *testing.T, code int, args ...string) result {
	t.Helper()
	return command{args: args}.want(t, code)
}

func (c command) want(t *testing.T, code int) result {
	t.Helper()
	r := c.run(t)
	if r.code != code {
		t.Errorf("postel %s: exit %d, want %d\n%s%s", strings.Join(c.args, " "), r.code, code, r.out, r.err)
	}
	return r
}

// objects reads one JSON object a line.
func objects(t *testing.T, out string) []map[string]any {
	t.Helper()
	var all []map[string]any
	for line := range strings.Lines(out) {
		var v map[string]any
		if err := json.Unmarshal([]byte(line), &v); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		all = append(all, v)
	}
	return all
}

// hasKeys fails the test unless every object has the keys.
func hasKeys(t *testing.T, what string, list []map[string]any, keys ...string) {
	t.Helper()
	if len(list) == 0 {
		t.Errorf("%s: nothing printed", what)
	}
	for _, v := range list {
		for _, k := range keys {
			if _, ok := v[k]; !ok {
				t.Errorf("%s: no %q in %v", what, k, v)
			}
		}
	}
}

// send hands a message in by SMTP.
func send(t *testing.T, s *harness.Server, from, to, text string) {
	t.Helper()
	if r := harness.SMTP(t, s.Addr("smtp")).Send(from, to, text); r[0] != '2' {
		t.Fatal(r)
	}
}
