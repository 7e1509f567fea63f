package app

import (
	"fmt"

	"github.com/spf13/cobra"

	"postel/internal/config"
	"postel/internal/tool"
)

// Commands gives the commands that run a server, and those about its configuration.
func Commands(env *tool.Env) []*cobra.Command {
	return []*cobra.Command{devCommand(env), serveCommand(env), configCommand(env), migrateCommand(env), versionCommand(env)}
}

func serveCommand(env *tool.Env) *cobra.Command {
	return &cobra.Command{
		Use:   "serve",
		Short: "run a real server on the standard ports, as its configuration says",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := load(env)
			if err != nil {
				return err
			}
			return run(cmd.Context(), env, Options{Config: c, Version: env.Version})
		},
	}
}

// load reads the configuration that --config names, or the default one.
func load(env *tool.Env) (*config.Config, error) {
	file := env.Config
	if file == "" {
		file = tool.DefaultConfig
	}
	c, err := config.Load(file)
	if err != nil {
		return nil, &tool.ExitError{Code: tool.Usage, Err: err}
	}
	if env.Data != "" {
		c.Data = env.Data
	}
	return c, nil
}

func configCommand(env *tool.Env) *cobra.Command {
	return tool.Noun("config", "check and show the configuration",
		&cobra.Command{
			Use: "check", Short: "say whether the configuration is valid, and all that is wrong with it", Args: cobra.NoArgs,
			RunE: func(*cobra.Command, []string) error {
				if _, err := load(env); err != nil {
					return &tool.ExitError{Code: tool.Found, Err: err}
				}
				return env.Print(map[string]bool{"ok": true}, "the configuration is valid")
			},
		},
		&cobra.Command{
			Use: "show", Short: "print every setting as it is in effect", Args: cobra.NoArgs,
			RunE: func(*cobra.Command, []string) error {
				c, err := load(env)
				if err != nil {
					return err
				}
				for _, v := range c.Show() {
					if err := env.Print(v, "%-26s %s", v.Key, v.Value); err != nil {
						return err
					}
				}
				return nil
			},
		})
}

func versionCommand(env *tool.Env) *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "print the version", Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			return env.Print(map[string]string{"version": env.Version}, "%s", fmt.Sprintf("postel %s", env.Version))
		},
	}
}
