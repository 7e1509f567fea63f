package tool

import (
	"bytes"
	"testing"
)

// TestNothingCommandsTheTerminal: names that others chose are printed without what a terminal obeys; JSON has them as
// they are, escaped.
func TestNothingCommandsTheTerminal(t *testing.T) {
	t.Parallel()
	var out, said bytes.Buffer
	e := &Env{Out: &out, Err: &said}
	if err := e.Print(nil, "%s\tä", "a\x1b]0;owned\x07\r\u009b2J\u202egpj\xff"); err != nil {
		t.Fatal(err)
	}
	e.Say("left aside: %s", "\x1b[2J\x7f")
	if got, want := out.String(), "a\ufffd]0;owned\ufffd\ufffd\ufffd2J\ufffdgpj\ufffd\tä\n"; got != want {
		t.Errorf("%q, not %q", got, want)
	}
	if got, want := said.String(), "left aside: \ufffd[2J\ufffd\n"; got != want {
		t.Errorf("%q, not %q", got, want)
	}
	out.Reset()
	e.JSON = true
	if err := e.Print("a\x1b", ""); err != nil || out.String() != "\"a\\u001b\"\n" {
		t.Errorf("%q, %v", out.String(), err)
	}
}
