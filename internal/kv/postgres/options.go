package postgres

import (
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"postel/internal/mail"
)

// Options say which database, and how much of it.
type Options struct {
	// URL is postgres://user:password@host:port/database?…, with the parameters of libpq; search_path chooses a
	// schema, pool_max_conns overrules Views.
	URL    string
	Logger *slog.Logger // nil is none
	Views  int          // sessions for Views, that is Views at one time; 0 is 16
	Groups int          // sessions for Updates, that is groups at one time; 0 is 3
	Group  int          // transactions in a group at most; 0 is 256
}

// Bounds of time: an unreachable database must become an error while the client still waits.
const (
	connectTimeout = 5 * time.Second
	lockTimeout    = 10 * time.Second // waiting for slots that another node holds
	readTimeout    = 30 * time.Second // one round trip of reads
	commitTimeout  = time.Minute      // the writes and their COMMIT
	rangeTimeout   = 10 * time.Minute // the same, with whole accounts to be deleted
	idleTimeout    = time.Minute      // a node that died in a transaction keeps its locks so long
)

func (o Options) withDefaults() Options {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Views == 0 {
		o.Views = 16
	}
	if o.Groups == 0 {
		o.Groups = 3
	}
	if o.Group == 0 {
		o.Group = 256
	}
	return o
}

// configs reads the URL into the configuration of the Views' pool and of a session for groups.
func (o Options) configs() (*pgxpool.Config, *pgx.ConnConfig, error) {
	pool, err := pgxpool.ParseConfig(o.URL)
	if err != nil { // its text has no password
		return nil, nil, &mail.Error{Op: "kv.open", Kind: mail.Invalid, Text: "not a URL of a PostgreSQL database", Err: err}
	}
	if !strings.Contains(o.URL, "pool_max_conns") {
		pool.MaxConns = int32(min(o.Views, 1000))
	}
	session(pool.ConnConfig)
	return pool, pool.ConnConfig.Copy(), nil
}

// session sets what every session must have.
func session(c *pgx.ConnConfig) {
	if c.ConnectTimeout == 0 {
		c.ConnectTimeout = connectTimeout
	}
	ms := func(d time.Duration) string { return fmt.Sprint(d.Milliseconds()) }
	durable := "on"
	if c.RuntimeParams["synchronous_commit"] == "remote_apply" { // waits for more, never for less
		durable = "remote_apply"
	}
	for name, value := range map[string]string{
		"application_name":                    "postel",
		"synchronous_commit":                  durable,
		"default_transaction_isolation":       "read committed",
		"idle_in_transaction_session_timeout": ms(idleTimeout),
		"lock_timeout":                        ms(lockTimeout),
		"tcp_keepalives_idle":                 "10",
		"tcp_keepalives_interval":             "5",
		"tcp_keepalives_count":                "3",
		// All access is by key. A plan made while a table was small must not read the whole of it later.
		"enable_seqscan": "off",
		"jit":            "off",
	} {
		c.RuntimeParams[name] = value
	}
}
