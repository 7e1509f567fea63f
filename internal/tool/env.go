// Package tool holds what the commands of the command line share: how they print, how they end, and how they reach
// a server. The commands themselves stand in the folders below, one a noun. A command speaks to the running server
// through its control socket; with none running it opens the data itself, under its lock, behind the same API.
package tool

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"unicode"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"postel/internal/mail"
)

// Exit codes (interface of the command line).
const (
	Done     = 0
	Found    = 1 // a check failed, or something was found
	Usage    = 2
	NoServer = 3
)

// ExitError ends the program with a code; a nil Err says nothing more.
type ExitError struct {
	Code int
	Err  error
}

func (e *ExitError) Error() string {
	if e.Err == nil {
		return ""
	}
	return e.Err.Error()
}

// Unwrap gives the cause.
func (e *ExitError) Unwrap() error { return e.Err }

// Fail is an error with an exit code.
func Fail(code int, format string, args ...any) error {
	return &ExitError{code, fmt.Errorf(format, args...)}
}

// Code gives the exit code for what a command returned.
func Code(err error) int {
	var e *ExitError
	switch {
	case err == nil:
		return Done
	case errors.As(err, &e):
		return e.Code
	case mail.Is(err, mail.Invalid):
		return Usage
	}
	return Found
}

// Env is what a command works with.
type Env struct {
	In       io.Reader
	Out, Err io.Writer
	JSON     bool
	Quiet    bool
	Config   string // --config; "" is the default
	Data     string // --data
	Version  string

	// Existing says that the command does not make a data directory that is missing: a wrong --data would be an empty
	// one, of which all is well and backed up.
	Existing bool
	// Offline opens a data directory that no server holds and serves the admin API from it; close ends it.
	Offline func(ctx context.Context, config, data string) (api http.Handler, close func() error, err error)
	// Unchecked is Offline for a check: it makes sure of nothing first, so that it also opens what is damaged.
	Unchecked func(ctx context.Context, config, data string) (api http.Handler, close func() error, err error)
}

// Count gives a number with its noun: "1 account", "2 accounts"; many is the plural where it is not one with s.
func Count(n int, one string, many ...string) string {
	switch {
	case n == 1:
		return "1 " + one
	case len(many) > 0:
		return fmt.Sprintf("%d %s", n, many[0])
	}
	return fmt.Sprintf("%d %ss", n, one)
}

// Flags adds the flags that all commands have.
func (e *Env) Flags(root *cobra.Command) {
	f := root.PersistentFlags()
	f.BoolVar(&e.JSON, "json", false, "print JSON, one object or one object a line")
	f.BoolVarP(&e.Quiet, "quiet", "q", false, "print only what was asked for")
	f.StringVar(&e.Config, "config", "", "configuration `file` (default /etc/postel/postel.toml)")
	f.StringVar(&e.Data, "data", "", "data `directory`")
}

// Print writes one result: v as a line of JSON with --json, else the text.
func (e *Env) Print(v any, format string, args ...any) error {
	if e.JSON {
		return json.NewEncoder(e.Out).Encode(v)
	}
	_, err := io.WriteString(e.Out, Plain(fmt.Sprintf(format, args...))+"\n")
	return err
}

// Say writes a remark for people: to stderr, not with --json or -q.
func (e *Env) Say(format string, args ...any) {
	if !e.JSON && !e.Quiet {
		_, _ = io.WriteString(e.Err, Plain(fmt.Sprintf(format, args...))+"\n")
	}
}

// Plain gives a text in which nothing commands a terminal: names and subjects that others chose are in it. Control
// characters but tab and line feed, those that turn the direction of writing, and what is not UTF-8 become U+FFFD.
func Plain(s string) string {
	return strings.Map(func(r rune) rune {
		if r != '\t' && r != '\n' && (unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r)) {
			return unicode.ReplacementChar
		}
		return r
	}, s)
}

// Password reads a password to the end of standard input and drops one trailing line end.
func (e *Env) Password() (string, error) {
	b, err := io.ReadAll(io.LimitReader(e.In, 2048))
	if err != nil {
		return "", err
	}
	s := strings.TrimSuffix(string(b), "\n")
	if s == "" {
		return "", Fail(Usage, "the password on standard input is empty")
	}
	return s, nil
}

// AskPassword asks for a new password twice, on a terminal only.
func (e *Env) AskPassword() (string, error) {
	f, ok := e.In.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		return "", Fail(Usage, "no terminal to ask for a password on; give it with --password-stdin")
	}
	var said [2]string
	for i, prompt := range []string{"Password: ", "Again: "} {
		_, _ = fmt.Fprint(e.Err, prompt)
		b, err := term.ReadPassword(int(f.Fd()))
		_, _ = fmt.Fprintln(e.Err)
		if err != nil {
			return "", err
		}
		said[i] = string(b)
	}
	if said[0] != said[1] || said[0] == "" {
		return "", Fail(Usage, "the passwords differ, or are empty")
	}
	return said[0], nil
}

// Confirm asks a question to be answered with y, on a terminal only; Usage where there is none to ask on.
func (e *Env) Confirm(question string) (bool, error) {
	f, ok := e.In.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		return false, Fail(Usage, "%s No terminal to ask on: add --yes", question)
	}
	_, _ = fmt.Fprint(e.Err, question+" [y/N] ")
	answer, err := bufio.NewReader(e.In).ReadString('\n')
	if err != nil && err != io.EOF {
		return false, err
	}
	answer = strings.ToLower(strings.TrimSpace(answer))
	return answer == "y" || answer == "yes", nil
}
