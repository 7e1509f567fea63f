package tool

import (
	"context"
	"net/url"

	"github.com/spf13/cobra"
)

// Noun is a command that only has verbs.
func Noun(use, short string, verbs ...*cobra.Command) *cobra.Command {
	c := &cobra.Command{Use: use, Short: short, Args: cobra.NoArgs, RunE: func(c *cobra.Command, _ []string) error {
		_ = c.Help()
		return &ExitError{Code: Usage}
	}}
	c.AddCommand(verbs...)
	return c
}

// With runs fn with a client and closes it.
func (e *Env) With(ctx context.Context, fn func(c *Client) error) error {
	c, err := e.Client(ctx)
	if err != nil {
		return err
	}
	err = fn(c)
	if cerr := c.Close(); err == nil {
		err = cerr
	}
	return err
}

// At is a path of the API with its last parts escaped.
func At(path string, parts ...string) string {
	for _, p := range parts {
		path += "/" + url.PathEscape(p)
	}
	return path
}
