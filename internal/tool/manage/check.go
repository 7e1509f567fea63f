package manage

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"

	"github.com/spf13/cobra"

	"postel/internal/admin"
	"postel/internal/check"
	"postel/internal/mail"
	"postel/internal/tool"
)

// checkCommand checks what is stored, through the running server or without one.
func checkCommand(env *tool.Env) *cobra.Command {
	var in admin.CheckRequest
	var dry bool
	c := &cobra.Command{
		Use: "check", Short: "check everything that is stored, and mend it with --repair", Args: cobra.NoArgs,
		Long: "Recounts everything that is stored: mailboxes, counters, messages, bodies, the queue, the directory. It changes\n" +
			"nothing without --repair. A line a finding; damage that no repair brings back says what is lost. It ends with 1\n" +
			"when anything was found, mended or not, and with 0 when all is well.",
		RunE: func(cmd *cobra.Command, _ []string) error {
			env.Offline, env.Existing = env.Unchecked, true
			if dry {
				return with(env, func(ctx context.Context, c *tool.Client, _ []string) error { return runDryRun(ctx, env, c) })(cmd, nil)
			}
			return with(env, func(ctx context.Context, c *tool.Client, _ []string) error { return runCheck(ctx, env, c, in) })(cmd, nil)
		},
	}
	f := c.Flags()
	f.BoolVar(&in.Repair, "repair", false, "mend what can be mended")
	f.BoolVar(&in.Bodies, "bodies", false, "read every body too and compare its digest: slow")
	f.StringVar(&in.Account, "account", "", "only the account with this `address`")
	f.BoolVar(&dry, "upgrade-dry-run", false, "try on a copy what this program would make of data of an older format")
	return c
}

func runDryRun(ctx context.Context, env *tool.Env, c *tool.Client) error {
	var r admin.DryRun
	if err := c.Call(ctx, http.MethodPost, "/v1/upgrade/dry-run", nil, &r); err != nil {
		return err
	}
	text := fmt.Sprintf("the data has format %d, the newest: nothing is to be done", r.Format)
	if r.Format != r.Newest {
		text = fmt.Sprintf("the data has format %d, the newest is %d; on a copy:", r.Format, r.Newest)
		for _, d := range r.Done {
			text += fmt.Sprintf("\n  %d to %d: %s: %s", d.From, d.To, d.Name, tool.Count(d.Rows, "row"))
		}
		text += "\n  " + saySummary(r.Check)
	}
	if err := env.Print(r, "%s", text); err != nil {
		return err
	}
	if r.Check.Found > 0 {
		return &tool.ExitError{Code: tool.Found}
	}
	return nil
}

func runCheck(ctx context.Context, env *tool.Env, c *tool.Client, in admin.CheckRequest) error {
	var last admin.CheckLine
	err := c.Lines(ctx, http.MethodPost, "/v1/check", in, func(d *json.Decoder) error {
		for {
			var l admin.CheckLine
			if err := d.Decode(&l); err != nil {
				return tool.Fail(tool.Found, "the check ended before its end: %v", err)
			}
			if l.Summary != nil {
				last = l
				return nil
			}
			if err := env.Print(l.Finding, "%s", sayFinding(*l.Finding)); err != nil {
				return err
			}
		}
	})
	if err != nil {
		return err
	}
	sum := *last.Summary
	switch {
	case env.JSON:
		err = env.Print(last, "")
	case !env.Quiet:
		err = env.Print(nil, "%s", saySummary(sum))
	}
	if err == nil && last.Failed != "" {
		err = tool.Fail(tool.Found, "the check ended before its end: %s", last.Failed)
	}
	if err == nil && sum.Found > 0 {
		err = &tool.ExitError{Code: tool.Found}
	}
	return err
}

func sayFinding(f mail.Finding) string {
	if f.State == mail.Mendable {
		return f.String() + " (--repair mends it)"
	}
	return f.String() + " (" + string(f.State) + ")"
}

func saySummary(s check.Summary) string {
	if s.Found == 0 {
		return tool.Count(s.Accounts, "account") + " checked, all is well"
	}
	return tool.Count(s.Accounts, "account") + " checked: " + tool.Count(s.Found, "finding") + ", " +
		tool.Count(s.Mended, "of them mended", "of them mended") + ", " + tool.Count(s.Beyond, "beyond repair", "beyond repair") + ", " +
		tool.Count(s.Lost, "with a loss", "with a loss")
}
