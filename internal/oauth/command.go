package oauth

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"os/exec"
	"strings"
	"sync"
	"time"

	"postel/internal/mail"
)

// Bounds of a program that gives tokens.
const (
	commandTime   = 30 * time.Second
	commandOutput = 64 << 10 // octets
	keepUnknown   = 5 * time.Minute
	keepMargin    = time.Minute
	runAgain      = 10 * time.Second // at most so often, however many tokens are refused
)

// Command gets tokens from a program, which is run without a shell, without input and with our environment, for 30 s at
// most. It writes a token, or the answer of a token endpoint (RFC 6749 §5.1), whose expires_in then says how long it is
// good; else a token is kept for 5 minutes. Safe for concurrent use.
type Command struct {
	args  []string
	clock func() time.Time
	log   *slog.Logger

	mu    sync.Mutex
	token string
	until time.Time
	anew  time.Time // when it was last run because a token was refused, or in vain
	err   error     // of the last run
}

// NewCommand makes one of a program and its arguments. clock and log may be nil.
func NewCommand(args []string, clock func() time.Time, log *slog.Logger) *Command {
	if clock == nil {
		clock = time.Now
	}
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &Command{args: args, clock: clock, log: log}
}

// Token gives a token. refused is one that a server did not take, for which another is got; "" is none. Kind Unavailable.
func (c *Command) Token(ctx context.Context, refused string) (string, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.clock()
	lately := !c.anew.IsZero() && now.Sub(c.anew) < runAgain
	good := c.token != "" && now.Before(c.until)
	switch {
	case c.err != nil && lately:
		return "", c.err
	case good && (c.token != refused || lately):
		return c.token, nil
	}
	token, lasts, err := c.run(ctx)
	c.token, c.until, c.err = token, now.Add(lasts), nil
	if good || err != nil {
		c.anew = now
	}
	if err != nil && ctx.Err() == nil {
		c.log.Warn("the command for tokens failed", "command", c.args[0], "err", err)
	}
	if err != nil {
		c.err = &mail.Error{Op: "oauth.command", Kind: mail.Unavailable, Code: mail.Enhanced{4, 7, 0}, Text: "the command for tokens failed", Err: err}
	}
	return c.token, c.err
}

// run runs the program.
func (c *Command) run(ctx context.Context) (token string, lasts time.Duration, err error) {
	ctx, cancel := context.WithTimeout(ctx, commandTime)
	defer cancel()
	out := &bounded{most: commandOutput}
	cmd := exec.CommandContext(ctx, c.args[0], c.args[1:]...) //nolint:gosec // the operator's own configuration
	cmd.Stdout = out
	cmd.WaitDelay = time.Second
	if err := cmd.Run(); err != nil {
		return "", 0, errors.Join(err, ctx.Err())
	}
	return readToken(out.b.Bytes())
}

// readToken reads what a program wrote. Its words are secret: no error repeats them.
func readToken(out []byte) (token string, lasts time.Duration, err error) {
	token, lasts = strings.TrimSpace(string(out)), keepUnknown
	if strings.HasPrefix(token, "{") {
		var answer struct {
			Token   string  `json:"access_token"`
			Expires float64 `json:"expires_in"`
		}
		if json.Unmarshal(out, &answer) != nil {
			return "", 0, errors.New("its output is not JSON with access_token and expires_in")
		}
		if token = answer.Token; answer.Expires > 0 {
			whole := time.Duration(min(answer.Expires, 86_400) * float64(time.Second))
			lasts = whole - min(keepMargin, whole/4)
		}
	}
	if token == "" || strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r >= 0x7f }) {
		return "", 0, errors.New("its output is no token")
	}
	return token, lasts, nil
}

// bounded is a buffer with an end.
type bounded struct {
	b    bytes.Buffer
	most int
}

// Write implements io.Writer.
func (b *bounded) Write(p []byte) (int, error) {
	if b.b.Len()+len(p) > b.most {
		return 0, errors.New("its output is too long")
	}
	return b.b.Write(p)
}
