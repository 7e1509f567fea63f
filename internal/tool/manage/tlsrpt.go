package manage

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"postel/internal/admin"
	"postel/internal/mail"
	"postel/internal/tlspolicy/tlsrpt"
	"postel/internal/tool"
)

func tlsrptCommand(env *tool.Env) *cobra.Command {
	return tool.Noun("tlsrpt", "reports on TLS (RFC 8460): what was counted of the sessions with other servers, and what they say",
		tlsrptList(env), tlsrptShow(env), tlsrptSend(env), tlsrptReceived(env), tlsrptRead(env))
}

func tlsrptList(env *tool.Env) *cobra.Command {
	var day, domain string
	c := &cobra.Command{
		Use: "list", Short: "what was counted for reports on TLS, by day (UTC) and domain, the newest first", Args: cobra.NoArgs,
		RunE: with(env, func(ctx context.Context, c *tool.Client, _ []string) error {
			day, err := dayOf(day, time.Now())
			if err != nil {
				return err
			}
			n := 0
			q := url.Values{"day": {day}, "domain": {domain}}
			err = tool.Each(ctx, c, "/v1/tlsrpt?"+q.Encode(), func(r admin.TLSReport) error {
				n++
				return env.Print(r, "%s", tlsrptLine(r))
			})
			if err == nil && n == 0 {
				env.Say("no session with another server was counted")
			}
			return err
		}),
	}
	c.Flags().StringVar(&day, "day", "", "only this `DAY`: 2026-11-27, today or yesterday, in UTC")
	c.Flags().StringVar(&domain, "domain", "", "only this `DOMAIN`")
	return c
}

func tlsrptShow(env *tool.Env) *cobra.Command {
	var day string
	c := &cobra.Command{
		Use: "show DOMAIN", Short: "the report on TLS to a domain, as it was or would be sent", Args: cobra.ExactArgs(1),
		RunE: with(env, func(ctx context.Context, c *tool.Client, args []string) error {
			day, err := dayOf(day, time.Now())
			if err != nil {
				return err
			}
			var r admin.TLSReport
			if err := c.Call(ctx, "GET", tool.At("/v1/tlsrpt", day, args[0]), nil, &r); err != nil {
				return err
			}
			out := append([]string{tlsrptLine(r)}, reportLines(r.Report)...)
			return env.Print(r, "%s", strings.Join(out, "\n"))
		}),
	}
	c.Flags().StringVar(&day, "day", "today", "the `DAY`: 2026-11-27, today or yesterday, in UTC")
	return c
}

// tlsrptLine tells one in a line.
func tlsrptLine(r admin.TLSReport) string {
	line := fmt.Sprintf("%s  %-30s %7d well %7d failed  %s", r.Day, r.Domain, r.Successes, r.Failures, r.State)
	if r.Why != "" {
		line += ": " + r.Why
	}
	if !r.Next.IsZero() {
		line += ", next attempt " + r.Next.Local().Format(time.DateTime)
	}
	return line
}

func tlsrptSend(env *tool.Env) *cobra.Command {
	var day, domain string
	c := &cobra.Command{
		Use: "send", Short: "send the reports on TLS of a day now, to those who want them and do not have them yet", Args: cobra.NoArgs,
		Long: "Sends the reports on TLS of a day now, to those who want them and do not have them yet. A server does it by itself in the\n" +
			"hours after midnight (UTC), when tlsrpt.send is on. Of today what was counted so far is sent, and the rest after the\n" +
			"end of the day. Ends with 1 when one could not be sent.",
		RunE: func(cmd *cobra.Command, _ []string) error {
			day, err := dayOf(day, time.Now())
			if err != nil {
				return err
			}
			c, err := env.Running(cmd.Context())
			if err != nil {
				return err
			}
			defer func() { _ = c.Close() }() // a connection
			return sendReports(cmd.Context(), env, c, admin.SendTLS{Day: day, Domain: domain})
		},
	}
	c.Flags().StringVar(&day, "day", "yesterday", "the `DAY`: 2026-11-27, today or yesterday, in UTC")
	c.Flags().StringVar(&domain, "domain", "", "only to this `DOMAIN`")
	return c
}

func sendReports(ctx context.Context, env *tool.Env, c *tool.Client, what admin.SendTLS) error {
	in, err := json.Marshal(what)
	if err != nil {
		return err
	}
	unsent := 0
	err = tool.Stream(ctx, c, "/v1/tlsrpt/send", bytes.NewReader(in), func(r admin.TLSReport) error {
		if r.State == "waiting" || r.State == "dropped" {
			unsent++
		}
		return env.Print(r, "%s", tlsrptLine(r))
	})
	if err == nil && unsent > 0 {
		return tool.Fail(tool.Found, "%s could not be sent", tool.Count(unsent, "report"))
	}
	return err
}

func tlsrptReceived(env *tool.Env) *cobra.Command {
	var address string
	c := &cobra.Command{
		Use:   "received [MESSAGE]",
		Short: "reports that others sent us by mail, where they lie in mailboxes; with its id, m-…, one whole",
		Long: "Lists the reports on TLS that came to tls-reports@ of each domain of ours (tlsrpt.to), the newest of each mailbox first;\n" +
			"with the id of a message, m-…, that report whole. Who sent a report is not verified.",
		Args: cobra.MaximumNArgs(1),
		RunE: with(env, func(ctx context.Context, c *tool.Client, args []string) error {
			q := url.Values{"address": {address}}
			if len(args) == 1 {
				q.Set("message", args[0])
			}
			n := 0
			err := tool.Each(ctx, c, "/v1/tlsrpt/received?"+q.Encode(), func(r admin.TLSReceived) error {
				n++
				return env.Print(r, "%s", strings.Join(receivedLines(r), "\n"))
			})
			switch {
			case err == nil && n == 0 && len(args) == 1:
				return tool.Fail(tool.Found, "no report came in message %s", args[0])
			case err == nil && n == 0:
				env.Say("no report came")
			}
			return err
		}),
	}
	c.Flags().StringVar(&address, "address", "", "look where mail for this `ADDRESS` goes")
	return c
}

// receivedLines tells a report that came, whole where it is there.
func receivedLines(r admin.TLSReceived) []string {
	line := fmt.Sprintf("%s  %s  %-24.24s ", r.Message, r.Received.Local().Format(time.DateTime), r.From)
	if r.Fault != "" {
		return []string{line + "cannot be read: " + r.Fault}
	}
	domains := make([]string, len(r.Domains))
	for i, d := range r.Domains {
		domains[i] = string(d)
	}
	line += fmt.Sprintf("%s  %s  %d well %d failed", r.Start.Format(time.DateOnly), strings.Join(domains, " "), r.Successes, r.Failures)
	if r.Report == nil {
		return []string{line}
	}
	return append([]string{line}, reportLines(r.Report)...)
}

// dayOf reads a day as people give it.
func dayOf(s string, now time.Time) (string, error) {
	switch s {
	case "":
		return "", nil
	case "today":
		return tlsrpt.DayOf(now).String(), nil
	case "yesterday":
		return (tlsrpt.DayOf(now) - 1).String(), nil
	}
	d, err := tlsrpt.ParseDay(s)
	if err != nil {
		return "", tool.Fail(tool.Usage, "%q is no day: want 2026-11-27, today or yesterday", s)
	}
	return d.String(), nil
}

// reportShown is a report that was read, as JSON.
type reportShown struct {
	File      string         `json:"file,omitempty"`
	Successes int64          `json:"successes"`
	Failures  int64          `json:"failures"`
	Report    *tlsrpt.Report `json:"report"`
}

func tlsrptRead(env *tool.Env) *cobra.Command {
	return &cobra.Command{
		Use:   "read [FILE…]",
		Short: "read reports that others sent: messages (.eml), .json or .json.gz; without a file standard input",
		Args:  cobra.ArbitraryArgs,
		RunE: func(_ *cobra.Command, files []string) error {
			if len(files) == 0 {
				files = []string{"-"}
			}
			var bad []string
			for _, name := range files {
				r, err := readReport(env, name)
				if err != nil {
					bad = append(bad, name+": "+publicText(err))
					continue
				}
				sum := r.Total()
				if err := env.Print(reportShown{name, sum.Successes, sum.Failures, r}, "%s", strings.Join(reportLines(r), "\n")); err != nil {
					return err
				}
			}
			if len(bad) > 0 {
				return tool.Fail(tool.Found, "%s", strings.Join(bad, "\n"))
			}
			return nil
		},
	}
}

func readReport(env *tool.Env, name string) (*tlsrpt.Report, error) {
	if name == "-" {
		return tlsrpt.ReadAny(env.In)
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // only read
	return tlsrpt.ReadAny(f)
}

// reportLines tells a report to a person.
func reportLines(r *tlsrpt.Report) []string {
	const layout = "2006-01-02 15:04"
	out := []string{
		fmt.Sprintf("%s, %s to %s UTC", r.Organization, r.Range.Start.Format(layout), r.Range.End.Format(layout)),
		fmt.Sprintf("  id %s, contact %s", r.ID, r.Contact),
	}
	for _, p := range r.Policies {
		out = append(out, policyLines(p)...)
	}
	return out
}

func policyLines(p tlsrpt.PolicyReport) []string {
	what := map[tlsrpt.PolicyType]string{tlsrpt.TLSA: "TLSA records", tlsrpt.STS: "a policy of MTA-STS", tlsrpt.NoPolicy: "no policy"}[p.Policy.Type]
	if what == "" {
		what = string(p.Policy.Type)
	}
	out := []string{fmt.Sprintf("  %s, %s: %d sessions well, %d failed", p.Policy.Domain, what, p.Summary.Successes, p.Summary.Failures)}
	for _, s := range p.Policy.Strings {
		out = append(out, "      "+s)
	}
	for _, f := range p.Failures {
		line := fmt.Sprintf("    %d× %s", f.Sessions, f.Result)
		for _, part := range []struct{ label, text string }{
			{" at ", f.MX}, {" ", f.ReceivingIP}, {" from ", f.SendingIP}, {": ", f.Reason}, {" ", f.Information},
		} {
			if part.text != "" {
				line += part.label + part.text
			}
		}
		out = append(out, line)
	}
	return out
}

// publicText is what an error says to people.
func publicText(err error) string {
	var e *mail.Error
	if errors.As(err, &e) && e.Text != "" {
		return e.Text
	}
	return err.Error()
}
