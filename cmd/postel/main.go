// Postel is a mail system in one program. This is its table of subcommands.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"postel/internal/app"
	"postel/internal/tool"
	"postel/internal/tool/carry"
	"postel/internal/tool/keep"
	"postel/internal/tool/look"
	"postel/internal/tool/manage"
	"postel/internal/tool/send"
	"postel/internal/tool/sendmail"
	"postel/internal/tool/watch"
)

// version is set by the linker.
var version = "devel"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	env := &tool.Env{In: os.Stdin, Out: os.Stdout, Err: os.Stderr, Version: version, Offline: app.Offline, Unchecked: app.Unchecked}
	if name := filepath.Base(os.Args[0]); sendmail.Answers(name) {
		os.Exit(sendmail.Main(ctx, env, name, os.Args[1:]))
	}
	os.Exit(run(ctx, env, os.Args[1:]))
}

// run carries out one command line and gives the exit code.
func run(ctx context.Context, env *tool.Env, args []string) int {
	root := &cobra.Command{
		Use:               "postel",
		Short:             "Postel is a mail system: MX, submission, queue, IMAP, POP3 and a catcher for tests, in one program",
		SilenceErrors:     true,
		SilenceUsage:      true,
		RunE:              func(c *cobra.Command, _ []string) error { return c.Help() },
		PersistentPreRunE: func(c *cobra.Command, _ []string) error { return fromEnvironment(c) },
	}
	root.SetOut(env.Out)
	root.SetErr(env.Err)
	root.SetIn(env.In)
	root.SetArgs(args)
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return tool.Fail(tool.Usage, "%v", err) })
	env.Flags(root)
	root.AddCommand(app.Commands(env)...)
	root.AddCommand(manage.Commands(env)...)
	root.AddCommand(carry.Commands(env)...)
	root.AddCommand(keep.Commands(env)...)
	root.AddCommand(watch.Commands(env)...)
	root.AddCommand(look.Commands(env)...)
	root.AddCommand(send.Commands(env)...)
	root.AddCommand(sendmail.Command(env))
	root.InitDefaultHelpCmd()
	root.InitDefaultCompletionCmd(args...)
	strict(root)
	err := root.ExecuteContext(ctx)
	if err != nil && err.Error() != "" {
		_, _ = fmt.Fprintln(env.Err, "postel: "+tool.Plain(message(err)))
	}
	return code(err)
}

// code is tool.Code, with cobra's own complaints being about usage.
func code(err error) int {
	c := tool.Code(err)
	var e *tool.ExitError
	if err != nil && !errors.As(err, &e) && isUsage(err) {
		return tool.Usage
	}
	return c
}

func isUsage(err error) bool {
	for _, s := range []string{"unknown command", "unknown flag", "unknown shorthand", "accepts ", "requires at least", "required flag", "arg(s)"} {
		if strings.Contains(err.Error(), s) {
			return true
		}
	}
	return false
}

// message gives an error in one line, or as it is when it lists problems.
func message(err error) string { return strings.TrimPrefix(err.Error(), ": ") }

// strict makes every command say in one line what it wants when it is called with the wrong words.
func strict(c *cobra.Command) {
	for _, sub := range c.Commands() {
		strict(sub)
	}
	c.SuggestionsMinimumDistance = 2
	wants := c.Args
	c.Args = func(c *cobra.Command, args []string) error {
		switch {
		case c.HasAvailableSubCommands() && len(args) > 0:
			return unknown(c, args[0])
		case wants == nil:
			return nil
		}
		if err := wants(c, args); err != nil {
			return tool.Fail(tool.Usage, "%v; usage: %s", err, c.UseLine())
		}
		return nil
	}
	switch {
	case c.Name() == "help" && c.HasParent():
		c.Run, c.RunE = nil, help
	case c.HasAvailableSubCommands() && !c.Runnable():
		c.RunE = func(c *cobra.Command, _ []string) error {
			_ = c.Help()
			return &tool.ExitError{Code: tool.Usage}
		}
	}
}

// help shows the help of the command that the words name.
func help(c *cobra.Command, args []string) error {
	at, rest, err := c.Root().Find(args)
	switch {
	case err != nil:
		return tool.Fail(tool.Usage, "%v", err)
	case at.HasAvailableSubCommands() && len(rest) > 0:
		return unknown(at, rest[0])
	}
	at.InitDefaultHelpFlag()
	return at.Help()
}

// unknown suggests the nearest command, in three lines at most.
func unknown(c *cobra.Command, name string) error {
	path := c.CommandPath()
	text := fmt.Sprintf("unknown command %q", strings.TrimPrefix(path+" "+name, "postel "))
	if near := c.SuggestionsFor(name); len(near) > 0 {
		text += fmt.Sprintf("\n  did you mean: %s %s", path, near[0])
	}
	return tool.Fail(tool.Usage, "%s\n  `%s --help` lists the commands", text, path)
}

// fromEnvironment sets each flag that was not given from POSTEL_ and its name, "--mx-port" from POSTEL_MX_PORT.
func fromEnvironment(c *cobra.Command) error {
	var problem error
	c.Flags().VisitAll(func(f *pflag.Flag) {
		v, ok := os.LookupEnv("POSTEL_" + strings.ToUpper(strings.ReplaceAll(f.Name, "-", "_")))
		if !ok || f.Changed || problem != nil {
			return
		}
		if err := c.Flags().Set(f.Name, v); err != nil {
			problem = tool.Fail(tool.Usage, "the environment's value for --%s: %v", f.Name, err)
		}
	})
	return problem
}
