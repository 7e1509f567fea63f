// Package carry holds the commands that bring mail from other systems and take it out again: import and export. The
// source is read and the target written by the command, with the rights of who calls it; the server takes and gives
// messages.
package carry

import (
	"github.com/spf13/cobra"

	"postel/internal/tool"
)

// Commands gives the commands.
func Commands(env *tool.Env) []*cobra.Command {
	return []*cobra.Command{importCommand(env), exportCommand(env)}
}
