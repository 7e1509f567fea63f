// Package keep holds the commands that keep mail safe: backup and restore.
package keep

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"postel/internal/admin"
	"postel/internal/backup"
	"postel/internal/tool"
	"postel/internal/vfs"
)

// Commands gives the commands.
func Commands(env *tool.Env) []*cobra.Command {
	return []*cobra.Command{backupCommand(env), restoreCommand(env)}
}

// Written is what `postel backup` prints.
type Written struct {
	Archive string `json:"archive"`
	Octets  int64  `json:"octets"`
	backup.Selected
}

func backupCommand(env *tool.Env) *cobra.Command {
	var account, since string
	c := &cobra.Command{
		Use: "backup FILE|DIR | backup verify ARCHIVE...", Short: "write an archive of all mail, accounts and the queue, or verify some",
		Args: cobra.MinimumNArgs(1),
		Long: "Writes an archive while the server runs, or from the data directory when none does. Into a directory it goes under\n" +
			"a name with the time. The archive has all mail and password hashes: its mode is 0600. It is read again and verified.\n" +
			"backup verify reads archives that are there, a chain or one, and names what is damaged.",
		RunE: func(cmd *cobra.Command, args []string) error {
			switch {
			case args[0] == "verify" && len(args) > 1:
				return verify(env, args[1:])
			case len(args) > 1:
				return tool.Fail(tool.Usage, "one archive is written at a time; `postel backup verify ARCHIVE...` reads some")
			}
			return writeArchive(cmd.Context(), env, args[0], account, since)
		},
	}
	c.Flags().StringVar(&account, "account", "", "only the account `ADDRESS`")
	c.Flags().StringVar(&since, "since", "", "only messages that the `ARCHIVE` does not have: the newest of a chain")
	return c
}

// base gives what an archive that builds on the named one needs.
func base(name string) (*backup.Base, error) {
	if name == "" {
		return nil, nil
	}
	a, done, err := open(name)
	if err != nil {
		return nil, err
	}
	defer done()
	return a.Base()
}

// archiveName gives the name of an archive in a directory.
func archiveName(when string) string { return "postel-" + when + ".backup" }

// target gives the name of the archive to write. A directory is tidied.
func target(name string, now time.Time) (string, error) {
	if info, err := os.Stat(name); err == nil && info.IsDir() {
		tidy(name)
		return filepath.Join(name, archiveName(now.UTC().Format("20060102T150405Z"))), nil
	}
	if strings.HasSuffix(name, string(filepath.Separator)) {
		return "", tool.Fail(tool.Found, "there is no directory %s", name)
	}
	return name, unused(name)
}

func writeArchive(ctx context.Context, env *tool.Env, name, account, since string) error {
	name, err := target(name, time.Now())
	if err != nil {
		return err
	}
	o := admin.BackupOrder{Account: account}
	if o.Since, err = base(since); err != nil {
		return err
	}
	order, err := json.Marshal(o)
	if err != nil {
		return err
	}
	env.Existing = true
	show := tool.NewProgress(env)
	err = env.With(ctx, func(c *tool.Client) error {
		return c.Exchange(ctx, "POST", "/v1/backup", bytes.NewReader(order), func(r io.Reader) error {
			return publish(name, io.TeeReader(r, show.Octets(io.Discard, "written")))
		})
	})
	show.End()
	if err != nil {
		return err
	}
	chain := []string{name}
	out := Written{Archive: name}
	if since != "" {
		chain = nil // what it builds on is verified on its own
	}
	if info, err := os.Stat(name); err == nil {
		out.Octets = info.Size()
	}
	if out.Selected, err = verified(chain, name); err != nil {
		return err
	}
	if err := env.Print(out, "%s: %d accounts, %d messages, %d in the queue, %d octets", name, out.Accounts, out.Messages, out.Queue, out.Octets); err != nil {
		return err
	}
	return tellDamage(env, out.Damaged)
}

// publish writes an archive under a temporary name, makes it durable, and gives it its name, which is nobody's.
func publish(name string, r io.Reader) error {
	temp := name + temporary
	f, err := claim(temp)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }() // with its lock; what was written is synced, or of no use
	if _, err = io.Copy(f, r); err == nil {
		err = f.Sync()
	}
	if err == nil {
		err = unused(name) // another backup may have ended meanwhile
	}
	if err == nil {
		err = os.Rename(temp, name)
	}
	if err != nil {
		_ = os.Remove(temp) // the error before it is the one that counts
		return err
	}
	return vfs.SyncDir(vfs.Default(), filepath.Dir(name))
}

// unused fails when something has the name.
func unused(name string) error {
	_, err := os.Lstat(name)
	if err == nil {
		return tool.Fail(tool.Found, "%s is there already: an archive is never overwritten", name)
	}
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return err
}

// verified reads a chain as a whole, or, without one, the sections of one archive that builds on others.
func verified(names []string, alone string) (backup.Selected, error) {
	if names == nil {
		a, done, err := open(alone)
		if err != nil {
			return backup.Selected{}, err
		}
		defer done()
		return a.Verify(), nil
	}
	c, done, err := chain(names)
	if err != nil {
		return backup.Selected{}, err
	}
	defer done()
	return c.Stream(io.Discard, backup.Selection{})
}

// tellDamage names what is damaged and ends with the code for something found.
func tellDamage(env *tool.Env, list []backup.Damage) error {
	if len(list) == 0 {
		return nil
	}
	if !env.JSON {
		for _, d := range list {
			if err := env.Print(d, "%s", d); err != nil {
				return err
			}
		}
	}
	return tool.Fail(tool.Found, "%d damaged places; all else can be restored", len(list))
}

// verify reads archives through.
func verify(env *tool.Env, names []string) error {
	s, err := verified(names, "")
	if err != nil {
		return err
	}
	text := "%d accounts, %d messages, %d in the queue: whole"
	if len(s.Damaged) > 0 {
		text = "%d accounts, %d messages, %d in the queue can be restored"
	}
	if err := env.Print(s, text, s.Accounts, s.Messages, s.Queue); err != nil {
		return err
	}
	return tellDamage(env, s.Damaged)
}

// open opens an archive file.
func open(name string) (a *backup.Archive, done func(), err error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, nil, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = tool.Fail(tool.Usage, "%s is no file", name)
	}
	if err == nil {
		a, err = backup.Open(filepath.Base(name), f, info.Size())
	}
	if err != nil {
		return nil, nil, errors.Join(err, f.Close())
	}
	return a, func() { a.Close(); _ = f.Close() }, nil // nothing was written
}

func chain(names []string) (c backup.Chain, done func(), err error) {
	var list []*backup.Archive
	var ends []func()
	done = func() {
		for _, end := range ends {
			end()
		}
	}
	for _, n := range names {
		a, end, err := open(n)
		if err != nil {
			done()
			return nil, nil, err
		}
		list, ends = append(list, a), append(ends, end)
	}
	if c, err = backup.NewChain(list); err != nil {
		done()
		return nil, nil, err
	}
	return c, done, nil
}
