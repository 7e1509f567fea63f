package app

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"postel/internal/blob"
	"postel/internal/blob/file"
	"postel/internal/blob/s3"
	"postel/internal/config"
	"postel/internal/kv/pebble"
	"postel/internal/kv/postgres"
	"postel/internal/migrate"
	"postel/internal/tool"
	"postel/internal/upgrade"
	"postel/internal/vfs"
)

const migrateHelp = `Copy everything that a server keeps (accounts, mail, the queue) from one place to
another: every row and every large body, verified. No server may run on either side; the
source is only read. The target must be empty. An interrupted run goes on with --resume,
and until it has ended no server starts on the target. What else a data directory holds
(certificates, sockets) is not touched.

Rows lie in
  embedded:DIR                    a data directory, DIR/kv
  postgres://USER@HOST/DATABASE   a database; env:NAME or file:PATH hold a URL with a password

and bodies above 128 KiB in
  dir:DIR                                     files; DIR/blobs of the data directory is what
                                              embedded:DIR has without more
  s3://KEY:SECRET@host:port/bucket/prefix     a bucket; env:NAME or file:PATH hold such a URL`

// migrateFlags are the flags of `postel migrate`.
type migrateFlags struct {
	from, to, fromBlobs, toBlobs string
	resume                       bool
}

func migrateCommand(env *tool.Env) *cobra.Command {
	var f migrateFlags
	c := &cobra.Command{
		Use: "migrate --from URL --to URL", Short: "copy all data to another storage: embedded, PostgreSQL, S3", Long: migrateHelp,
		Args: cobra.NoArgs,
		Example: "  postel migrate --from embedded:/var/lib/postel --to postgres://postel@db/mail --to-blobs dir:/var/lib/postel/blobs\n" +
			"  postel migrate --from postgres://postel@db/mail --from-blobs env:BUCKET --to embedded:/srv/postel",
		RunE: func(cmd *cobra.Command, _ []string) error { return runMigrate(cmd.Context(), env, f) },
	}
	fl := c.Flags()
	fl.StringVar(&f.from, "from", "", "`URL` of the rows to copy")
	fl.StringVar(&f.to, "to", "", "`URL` of where they go")
	fl.StringVar(&f.fromBlobs, "from-blobs", "", "`URL` of the large bodies to copy")
	fl.StringVar(&f.toBlobs, "to-blobs", "", "`URL` of where they go")
	fl.BoolVar(&f.resume, "resume", false, "go on with a run that was interrupted")
	return c
}

func runMigrate(ctx context.Context, env *tool.Env, f migrateFlags) error {
	if f.from == "" || f.to == "" {
		return tool.Fail(tool.Usage, "give both --from and --to")
	}
	if f.from == f.to {
		return tool.Fail(tool.Usage, "--from and --to are the same place")
	}
	from, err := openSide(ctx, f.from, f.fromBlobs, true)
	if err != nil {
		return err
	}
	defer from.close()
	to, err := openSide(ctx, f.to, f.toBlobs, false)
	if err != nil {
		return err
	}
	defer to.close()
	show := progress(env)
	start := time.Now()
	res, err := migrate.Run(ctx, migrate.Options{From: from.Side, To: to.Side, Resume: f.resume, Progress: show.tell})
	show.end()
	if err != nil {
		return err
	}
	if to.Large != nil {
		place := to.Place // where a server is to look from now on
		if strings.HasPrefix(place, "dir:") {
			place = ""
		}
		if err := setBlobPlace(ctx, to.Rows, place); err != nil {
			return err
		}
	}
	return env.Print(res, "%d rows in %d tables (%d octets) and %d large bodies (%d octets) are at %s, verified, after %v",
		res.Rows, len(res.Tables), res.Bytes, res.Bodies, res.BodyBytes, to.Name, time.Since(start).Round(time.Millisecond))
}

// side is an open migrate.Side.
type side struct {
	migrate.Side
	closers []func() error
}

// close lets go of a side; what matters was said by the run.
func (s *side) close() {
	for i := len(s.closers) - 1; i >= 0; i-- {
		_ = s.closers[i]()
	}
}

// openSide opens the rows of a URL and the large bodies of another, "" being what the first implies.
func openSide(ctx context.Context, rows, blobs string, source bool) (*side, error) {
	s := &side{}
	if err := s.open(ctx, rows, blobs, source); err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

func (s *side) open(ctx context.Context, rows, blobs string, source bool) (err error) {
	dir, embedded := strings.CutPrefix(rows, "embedded:")
	if embedded {
		err = s.openEmbedded(dir, source)
	} else {
		err = s.openDatabase(ctx, rows)
	}
	if err == nil && embedded && (blobs == "" || source) {
		err = s.openFiles(filepath.Join(dir, "blobs"))
	}
	if err != nil {
		return err
	}
	switch at, isDir := strings.CutPrefix(blobs, "dir:"); {
	case isDir:
		err = s.openFiles(at)
	case blobs != "":
		err = s.openBucket(ctx, blobs, embedded && source, !source)
	}
	return err
}

func (s *side) openEmbedded(dir string, source bool) error {
	if dir == "" {
		return tool.Fail(tool.Usage, "want embedded:DIR")
	}
	if _, err := os.Stat(filepath.Join(dir, "kv")); source && err != nil {
		return tool.Fail(tool.Found, "%s is no data directory: %v", dir, err)
	}
	if !source {
		if err := makeData(dir); err != nil {
			return tool.Fail(tool.Found, "the data directory cannot be made: %v", err)
		}
	}
	k, err := pebble.Open(pebble.Options{FS: vfs.Default(), Dir: filepath.Join(dir, "kv"), Format: upgrade.Newest(migrations())})
	if err != nil {
		return inUse(dir, err)
	}
	s.Rows, s.Name = k, "embedded:"+dir
	s.closers = append(s.closers, k.Close)
	return nil
}

func (s *side) openDatabase(ctx context.Context, rows string) error {
	at, shown, err := config.ParseDatabase(rows)
	if err != nil {
		return tool.Fail(tool.Usage, "%v, or embedded:DIR", err)
	}
	k, err := postgres.Open(ctx, postgres.Options{URL: at})
	if err != nil {
		return err
	}
	s.Rows, s.Name = k, shown
	s.closers = append(s.closers, k.Close)
	return nil
}

func (s *side) openFiles(dir string) error {
	large, err := file.New(file.Options{FS: vfs.Default(), Dir: dir, Shared: true})
	if err != nil {
		return err
	}
	if real, err := filepath.EvalSymlinks(dir); err == nil {
		dir = real
	}
	if dir, err = filepath.Abs(dir); err != nil {
		return err
	}
	s.Large, s.Place = large, "dir:"+dir
	return nil
}

// openBucket opens a bucket; older says that what lies in files belongs to it.
func (s *side) openBucket(ctx context.Context, blobs string, older, create bool) error {
	b, err := config.ParseBlobs(blobs)
	if err != nil || b.URL == "file" {
		return tool.Fail(tool.Usage, "%s: want dir:DIR, or s3://KEY:SECRET@host:port/bucket/prefix, or env:NAME or file:PATH that hold it", "--from-blobs, --to-blobs")
	}
	at, err := s3.ParseURL(b.URL)
	if err != nil {
		return &tool.ExitError{Code: tool.Usage, Err: err}
	}
	spool, err := os.MkdirTemp("", "postel-migrate-")
	if err != nil {
		return err
	}
	s.closers = append(s.closers, func() error { return os.RemoveAll(spool) })
	bucket, err := s3.New(s3.Options{Location: at, FS: vfs.Default(), Dir: spool})
	if err != nil {
		return err
	}
	s.closers = append(s.closers, bucket.Close)
	if err := bucket.Check(ctx, create); err != nil {
		return err
	}
	s.Place = at.String()
	if older {
		s.Large, s.Place = blob.Layers{Now: bucket, Older: s.Large}, "" // files are copied in any case
		return nil
	}
	s.Large = bucket
	return nil
}

// shower shows progress to a person.
type shower struct {
	env  *tool.Env
	live bool
	last time.Time
}

func progress(env *tool.Env) *shower {
	f, ok := env.Err.(*os.File)
	return &shower{env: env, live: ok && term.IsTerminal(int(f.Fd())) && !env.JSON && !env.Quiet}
}

func (s *shower) tell(p migrate.Progress) {
	const every = 200 * time.Millisecond
	if !s.live || time.Since(s.last) < every {
		return
	}
	s.last = time.Now()
	_, _ = fmt.Fprintf(s.env.Err, "\r\x1b[K%-6s %s %d rows, %d bodies, %d MiB", p.Phase, p.Table, p.Rows, p.Bodies, p.Bytes>>20)
}

func (s *shower) end() {
	if s.live {
		_, _ = fmt.Fprint(s.env.Err, "\r\x1b[K")
	}
}
