package manage

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"postel/internal/mail"
	"postel/internal/tlspolicy/tlsrpt"
	"postel/internal/tool"
)

func tlsrptCommand(env *tool.Env) *cobra.Command {
	return tool.Noun("tlsrpt", "reports on TLS (RFC 8460)", tlsrptRead(env))
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
