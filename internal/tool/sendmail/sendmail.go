// Package sendmail is the sendmail(8) that programs on this machine know, under that name and as mailq, newaliases
// and rmail. It hands mail to a running server through submit.sock, on which everyone may submit as themselves, and
// ends with the codes of sysexits(3): 75 when the server is down, so that the caller tries again.
package sendmail

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"postel/internal/config"
	"postel/internal/mail"
	"postel/internal/message"
	"postel/internal/proto/smtp"
	"postel/internal/tool"
	"postel/internal/tool/manage"
)

// Exit codes of sysexits(3).
const (
	exUsage       = 64
	exDataErr     = 65
	exNoUser      = 67
	exUnavailable = 69
	exTempFail    = 75
	exNoPerm      = 77
	exConfig      = 78
)

const usage = `Takes a message on standard input and hands it to the server of this machine; any user may.

  -t             take the recipients from To, Cc and Bcc
  -i, -oi        a line with a single dot does not end the message
  -f, -r ADDR    the sender of the envelope
  -F NAME        the name in a From field that is missing
  -bs            speak SMTP on standard input and output
  -bp            list the queue, as mailq does
  -C FILE        the server's configuration file
  --data DIR     its data directory

Other options of sendmail are taken and change nothing. It ends with 75 when the server is down, so that the caller
tries again; see sysexits(3) for the other codes.`

// Answers tells whether the program was called by one of these names.
func Answers(name string) bool {
	return name == "sendmail" || name == "mailq" || name == "newaliases" || name == "rmail"
}

// Command gives `postel sendmail`.
func Command(env *tool.Env) *cobra.Command {
	return &cobra.Command{
		Use: "sendmail [OPTIONS] [RECIPIENT...]", Short: "sendmail-compatible submission; also under the names sendmail, mailq, newaliases, rmail",
		Long: usage, DisableFlagParsing: true,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 1 && (args[0] == "--help" || args[0] == "-h") {
				return cmd.Help()
			}
			if code := Main(cmd.Context(), env, "sendmail", args); code != 0 {
				return &tool.ExitError{Code: code}
			}
			return nil
		},
	}
}

// Main carries out a command line and gives the exit code.
func Main(ctx context.Context, env *tool.Env, name string, args []string) int {
	a, err := parse(name, args)
	if err != nil {
		return complain(env, name, exUsage, err)
	}
	env.Config = cmp.Or(a.config, env.Config, os.Getenv("POSTEL_CONFIG"))
	env.Data = cmp.Or(a.data, env.Data, os.Getenv("POSTEL_DATA"))
	switch a.mode {
	case aliasesNow:
		return 0 // aliases are rows: in force at once
	case printQueue:
		err = listQueue(ctx, env)
	case speak:
		err = pipe(ctx, env)
	default:
		err = submit(ctx, env, name, a)
	}
	if err != nil {
		return complain(env, name, codeOf(err), err)
	}
	return 0
}

func complain(env *tool.Env, name string, code int, err error) int {
	_, _ = fmt.Fprintf(env.Err, "%s: %s\n", name, strings.TrimSpace(err.Error()))
	return code
}

// sysexit is an error that knows its code.
type sysexit struct {
	code int
	err  error
}

func (s *sysexit) Error() string { return s.err.Error() }

func fail(code int, format string, args ...any) error {
	return &sysexit{code, fmt.Errorf(format, args...)}
}

func codeOf(err error) int {
	var s *sysexit
	if errors.As(err, &s) {
		return s.code
	}
	var x *tool.ExitError
	if errors.As(err, &x) {
		return map[int]int{tool.Usage: exUsage, tool.NoServer: exTempFail}[x.Code]
	}
	return exTempFail
}

func listQueue(ctx context.Context, env *tool.Env) error {
	c, err := env.Client(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = c.Close() }()
	return manage.ListQueue(ctx, env, c, url.Values{})
}

// dial reaches submit.sock of the server that the flags, the configuration or a running `postel dev` name.
func dial(ctx context.Context, env *tool.Env) (net.Conn, error) {
	data := env.Data
	if file := env.ConfigFile(); data == "" && file != "" {
		c, err := config.Load(file)
		if err != nil {
			return nil, &sysexit{exConfig, err}
		}
		data = c.Data
	}
	if data == "" {
		control, err := tool.FindDev()
		if err != nil {
			return nil, fail(exTempFail, "no server: %s does not exist and no `postel dev` runs", tool.DefaultConfig)
		}
		data = filepath.Dir(control)
	}
	var d net.Dialer
	conn, err := d.DialContext(ctx, "unix", filepath.Join(data, "submit.sock"))
	if err != nil {
		return nil, fail(exTempFail, "the mail server is down: %v", err)
	}
	return conn, nil
}

// pipe joins standard input and output to the server (-bs).
func pipe(ctx context.Context, env *tool.Env) error {
	conn, err := dial(ctx, env)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	go func() {
		_, _ = io.Copy(conn, env.In)
		if u, ok := conn.(*net.UnixConn); ok {
			_ = u.CloseWrite()
		}
	}()
	if _, err := io.Copy(env.Out, conn); err != nil {
		return fail(exTempFail, "the server went away: %v", err)
	}
	return nil
}

// submit reads a message from standard input and hands it in.
func submit(ctx context.Context, env *tool.Env, name string, a arguments) error {
	in := bufio.NewReader(env.In)
	if name == "rmail" {
		if sender, err := cutFromLine(in); err != nil {
			return err
		} else if sender != "" && a.sender == "" {
			a.sender = sender
		}
	}
	var content io.Reader = in
	if !a.ignoreDots {
		content = untilDot(in)
	}
	body := bufio.NewReader(headed(bufio.NewReader(tool.CRLF(content))))
	h, err := message.ReadHeader(body, message.MaxHeader)
	if err != nil {
		return fail(exDataErr, "the header cannot be read: %v", err)
	}
	rcpts, err := recipients(a, &h)
	if err != nil {
		return err
	}
	conn, err := dial(ctx, env)
	if err != nil {
		return err
	}
	c := smtp.NewClient(conn, smtp.ClientOptions{Hello: "localhost", Host: "localhost"})
	defer func() { _ = c.Close() }()
	return handIn(ctx, c, a, rcpts, &h, body)
}

func handIn(ctx context.Context, c *smtp.Client, a arguments, rcpts []mail.Recipient, h *message.Header, body io.Reader) error {
	if _, err := c.Greet(ctx); err != nil {
		return fail(exTempFail, "the server does not answer: %v", err)
	}
	hello, err := c.Hello(ctx)
	if err != nil {
		return fail(exTempFail, "the server refuses: %v", err)
	}
	host, _, _ := strings.Cut(hello.Text(), " ")
	from, err := sender(a, host)
	if err != nil {
		return err
	}
	if !h.Has("From") && a.fullName != "" && !from.IsNull() {
		h.Add("From", message.Address{Name: a.fullName, Local: from.Local, Host: string(from.Domain)}.String())
	}
	complete(rcpts, mail.Domain(strings.ToLower(host)))
	e := mail.Envelope{
		From: from, Recipients: rcpts,
		Parameters: mail.Parameters{Body: mail.Body8BitMIME, Return: strings.ToUpper(a.ret), EnvelopeID: a.envelopeID},
	}
	results, err := c.Send(ctx, e, io.MultiReader(strings.NewReader(h.String()), body))
	if err != nil {
		return fail(exTempFail, "the message was not taken: %v", err)
	}
	_ = c.Quit(ctx)
	return verdict(results)
}

// verdict gives nil when every recipient was taken; else the worst, in the words of the server.
func verdict(results []mail.Result) error {
	for _, r := range results {
		switch {
		case r.Delivered():
		case !r.Permanent():
			return fail(exTempFail, "%s: %s", r.Recipient, r)
		case r.Enhanced == mail.Enhanced{5, 1, 1}:
			return fail(exNoUser, "%s: %s", r.Recipient, r)
		case r.Enhanced[1] == 7:
			return fail(exNoPerm, "%s: %s", r.Recipient, r)
		case r.Enhanced[1] == 6:
			return fail(exDataErr, "%s: %s", r.Recipient, r)
		default:
			return fail(exUnavailable, "%s: %s", r.Recipient, r)
		}
	}
	return nil
}

// sender gives -f, or the user at the server's host name; "<>" and "" are the null sender.
func sender(a arguments, host string) (mail.Address, error) {
	s := a.sender
	switch {
	case s == "<>":
		return mail.Address{}, nil
	case s == "":
		u, err := user.LookupId(strconv.Itoa(os.Getuid()))
		if err != nil {
			return mail.Address{}, fail(exNoUser, "uid %d has no login name; give a sender with -f", os.Getuid())
		}
		s = u.Username
	}
	if !strings.Contains(s, "@") {
		s += "@" + host
	}
	from, err := mail.ParseAddress(s)
	if err != nil {
		return from, fail(exUsage, "-f %s: not an address", s)
	}
	return from, nil
}
