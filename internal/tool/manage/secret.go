package manage

import (
	"context"

	"github.com/spf13/cobra"

	"postel/internal/admin"
	"postel/internal/tool"
)

func accountSecret(env *tool.Env) *cobra.Command {
	var uses string
	var remove bool
	c := &cobra.Command{
		Use: "secret ADDRESS", Short: "make a secret for CRAM-MD5 and APOP", Args: cobra.ExactArgs(1),
		Long: "Makes a secret apart from the password, for old mechanisms whose server must know it: CRAM-MD5 and APOP. It is\n" +
			"printed once, and takes the place of the one there was.",
		Example: "  postel account secret branch@example.org --for odmr",
	}
	c.Flags().StringVar(&uses, "for", "odmr,pop3", "`USES` of it: some of odmr, pop3, imap, submission")
	c.Flags().BoolVar(&remove, "remove", false, "take the secret away")
	c.RunE = with(env, func(ctx context.Context, c *tool.Client, args []string) error {
		path := tool.At("/v1/accounts", args[0], "secret")
		if remove {
			return done(ctx, env, c, "DELETE", path, nil, "secret of "+args[0]+" removed")
		}
		var out admin.Secret
		if err := c.Call(ctx, "POST", path, admin.Secret{For: uses}, &out); err != nil {
			return err
		}
		return env.Print(out, "%s", out.Secret)
	})
	return c
}
