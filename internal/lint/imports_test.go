package lint

import (
	"slices"
	"strconv"
	"strings"
	"testing"
)

// The levels, from the bottom. A package may import only packages of lower levels, and of its own level only
// what its row in the table names.
var levels = []struct {
	name     string
	packages []string
}{
	{"nouns", []string{"mail", "vfs", "observe", "space", "rate"}},
	{"formats", []string{"message", "dsn", "srs", "proto/smtp", "proto/imap", "proto/pop3", "proto/proxy", "proto/sasl"}},
	{"network", []string{"dns", "dns/dnstest", "route", "tlspolicy", "tlspolicy/certs", "tlspolicy/dane", "tlspolicy/mtasts", "tlspolicy/tlsrpt", "oauth"}},
	{"storage", []string{
		"kv", "kv/pebble", "kv/postgres", "kv/kvtest", "kv/pgtest", "blob", "blob/file", "blob/s3", "blob/blobtest", "blob/s3test",
		"bus", "bus/local", "bus/postgres", "bus/bustest", "lease", "search", "directory", "directory/local", "upgrade",
	}},
	{"mail", []string{"store", "quota", "queue", "check", "migrate"}},
	{"roles", []string{"backup", "mda", "mta", "mx", "msa", "odmr", "fetch", "catcher"}},
	{"servers", []string{"server/listen", "server/smtpd", "server/imapd", "server/pop3d", "server/webd"}},
	{"app", []string{"config", "transfer", "admin", "tool", "app"}},
}

// row says what one package may import: packages of ours below internal/, and foreign modules. The standard
// library is free.
type row struct {
	ours    string // names parted by spaces
	foreign string // import path prefixes parted by spaces
}

// backends stand behind a contract; only app knows which of them is in use, and gives it as the contract.
var backends = []string{"kv/pebble", "kv/postgres", "blob/file", "blob/s3", "bus/local", "bus/postgres", "directory/local"}

// allowed is the table of imports. Test files are free of it.
var allowed = map[string]row{
	"mail":    {foreign: "golang.org/x/net/idna"},
	"vfs":     {foreign: "github.com/cockroachdb/pebble/v2/vfs golang.org/x/sys/unix"},
	"observe": {ours: "mail"},
	"space":   {ours: "mail vfs"},
	"rate":    {},

	"message":     {ours: "mail", foreign: "golang.org/x/text"},
	"dsn":         {ours: "mail message"},
	"srs":         {ours: "mail"},
	"proto/sasl":  {ours: "mail", foreign: "github.com/xdg-go/scram golang.org/x/text"},
	"proto/smtp":  {ours: "mail observe proto/sasl"},
	"proto/imap":  {ours: "mail observe message"},
	"proto/pop3":  {ours: "mail observe"},
	"proto/proxy": {ours: "mail"},

	"dns":              {ours: "mail", foreign: "github.com/miekg/dns golang.org/x/sync"},
	"dns/dnstest":      {foreign: "github.com/miekg/dns"},
	"route":            {ours: "dns mail"},
	"tlspolicy":        {ours: "dns mail tlspolicy/dane tlspolicy/mtasts tlspolicy/tlsrpt"},
	"tlspolicy/certs":  {ours: "mail vfs"},
	"tlspolicy/dane":   {ours: "dns mail"},
	"tlspolicy/mtasts": {ours: "dns mail", foreign: "golang.org/x/sync"},
	"tlspolicy/tlsrpt": {ours: "dns mail message"},
	"oauth":            {ours: "mail", foreign: "github.com/coreos/go-oidc/v3 github.com/go-jose/go-jose/v4"},

	"kv":              {ours: "mail"},
	"kv/pebble":       {ours: "kv mail space vfs", foreign: "github.com/cockroachdb/pebble/v2"},
	"kv/postgres":     {ours: "kv mail", foreign: "github.com/jackc/pgx/v5"},
	"kv/pgtest":       {foreign: "github.com/jackc/pgx/v5"},
	"kv/kvtest":       {ours: "kv mail vfs", foreign: "pgregory.net/rapid"},
	"blob":            {ours: "kv mail vfs", foreign: "github.com/klauspost/compress/s2 github.com/klauspost/compress/zstd github.com/cespare/xxhash/v2"},
	"blob/file":       {ours: "blob mail vfs"},
	"blob/s3":         {ours: "blob mail vfs", foreign: "github.com/minio/minio-go/v7 golang.org/x/sync"},
	"blob/s3test":     {},
	"blob/blobtest":   {ours: "blob kv mail vfs"},
	"bus":             {ours: "mail"},
	"bus/local":       {ours: "bus"},
	"bus/postgres":    {ours: "bus mail", foreign: "github.com/jackc/pgx/v5"},
	"bus/bustest":     {ours: "bus mail"},
	"lease":           {ours: "bus kv mail"},
	"search":          {ours: "kv mail message", foreign: "github.com/cespare/xxhash/v2 github.com/klauspost/compress/s2 golang.org/x/text/unicode/norm"},
	"upgrade":         {ours: "kv mail"},
	"directory":       {ours: "kv mail proto/sasl"},
	"directory/local": {ours: "directory kv mail proto/sasl", foreign: "golang.org/x/crypto github.com/xdg-go/scram golang.org/x/text golang.org/x/sync"},

	"store":   {ours: "blob bus kv lease mail message search", foreign: "golang.org/x/sync"},
	"quota":   {ours: "directory mail store"},
	"queue":   {ours: "blob bus kv lease mail vfs"},
	"check":   {ours: "blob mail queue store"},
	"migrate": {ours: "blob kv lease mail", foreign: "golang.org/x/sync"},

	"backup":  {ours: "blob directory kv mail queue store", foreign: "github.com/cespare/xxhash/v2 github.com/klauspost/compress/zstd"},
	"mda":     {ours: "blob directory kv mail store"},
	"mta":     {ours: "blob bus directory dsn kv mail mda message observe proto/sasl proto/smtp queue route store tlspolicy"},
	"mx":      {ours: "directory mail message mta observe proto/smtp rate"},
	"msa":     {ours: "directory mail message mta observe proto/smtp rate"},
	"fetch":   {ours: "mail observe proto/smtp"},
	"odmr":    {ours: "directory mail mta proto/smtp"},
	"catcher": {ours: "directory mail mta observe proto/smtp"},

	"server/listen": {ours: "mail observe proto/proxy rate tlspolicy/certs", foreign: "golang.org/x/sys"},
	"server/smtpd":  {ours: "mail observe proto/sasl proto/smtp server/listen", foreign: "github.com/prometheus/client_golang"},
	"server/imapd":  {ours: "blob bus mail message observe proto/imap proto/sasl search server/listen store", foreign: "github.com/prometheus/client_golang"},
	"server/pop3d":  {ours: "blob mail observe proto/pop3 proto/sasl server/listen store", foreign: "github.com/prometheus/client_golang"},
	"server/webd":   {ours: "mail observe", foreign: "github.com/prometheus/client_golang"},

	"config":   {ours: "mail", foreign: "github.com/pelletier/go-toml/v2"},
	"transfer": {ours: "mail proto/imap"},
	"admin":    {ours: "backup check directory mail message mta observe proto/smtp queue route store tlspolicy/tlsrpt transfer upgrade"},
	"tool":     {ours: "admin backup check config fetch transfer dns mail message observe proto/sasl proto/smtp route tlspolicy tlspolicy/dane tlspolicy/mtasts tlspolicy/tlsrpt tool vfs", foreign: "github.com/spf13/cobra github.com/spf13/pflag golang.org/x/term"},
	"app":      {ours: "*", foreign: "github.com/spf13/cobra github.com/prometheus/client_golang golang.org/x/sync golang.org/x/sys golang.org/x/term"},
	"lint":     {},
}

// rowOf gives the row of a package below internal/; packages below tool/ share one.
func rowOf(name string) (row, bool) {
	if strings.HasPrefix(name, "tool/") {
		name = "tool"
	}
	r, ok := allowed[name]
	return r, ok
}

// levelOf gives the level of a package below internal/, -1 when it has none.
func levelOf(name string) int {
	if strings.HasPrefix(name, "tool/") {
		name = "tool"
	}
	for i, l := range levels {
		if slices.Contains(l.packages, name) {
			return i
		}
	}
	return -1
}

// TestTable fails when the table itself points upwards, or to a backend, or names what has no level.
func TestTable(t *testing.T) {
	t.Parallel()
	for name, r := range allowed {
		if name == "lint" {
			continue
		}
		at := levelOf(name)
		if at < 0 {
			t.Errorf("%s has no level", name)
		}
		for ours := range strings.FieldsSeq(r.ours) {
			if slices.Contains(backends, ours) {
				t.Errorf("%s may not be told to import %s, a backend", name, ours)
			}
			if to := levelOf(ours); ours != "*" && (to < 0 || to > at) {
				t.Errorf("%s (%s) may not be told to import %s", name, levels[max(at, 0)].name, ours)
			}
		}
	}
}

// TestImports fails when a package imports what its row does not name.
func TestImports(t *testing.T) {
	t.Parallel()
	for _, p := range load(t, "internal") {
		name := strings.TrimPrefix(p.dir, "internal/")
		r, ok := rowOf(name)
		if !ok {
			t.Errorf("%s has no row in the table of imports", name)
			continue
		}
		for _, f := range p.code() {
			for _, spec := range f.ast.Imports {
				imp, err := strconv.Unquote(spec.Path.Value)
				if err != nil {
					t.Fatal(err)
				}
				if why := r.refuses(imp); why != "" {
					t.Errorf("%s: %s %s %s", p.fset.Position(spec.Pos()), name, why, imp)
				}
				if imp != "embed" && spec.Name != nil && spec.Name.Name == "_" {
					t.Errorf("%s: blank import of %s", p.fset.Position(spec.Pos()), imp)
				}
			}
		}
	}
}

// TestMainImports fails when a command reaches past app, admin, config and the tools into the rooms below.
func TestMainImports(t *testing.T) {
	t.Parallel()
	main := row{
		ours:    "app admin config tool mail",
		foreign: "github.com/spf13/cobra github.com/spf13/pflag golang.org/x/term golang.org/x/sys",
	}
	for _, p := range load(t, "cmd") {
		for _, f := range p.code() {
			for _, spec := range f.ast.Imports {
				imp, err := strconv.Unquote(spec.Path.Value)
				if err != nil {
					t.Fatal(err)
				}
				if why := main.refuses(imp); why != "" {
					t.Errorf("%s: a command %s %s", p.fset.Position(spec.Pos()), why, imp)
				}
			}
		}
	}
}

// refuses says why an import is not allowed, "" when it is.
func (r row) refuses(imp string) string {
	if ours, ok := strings.CutPrefix(imp, module+"/internal/"); ok {
		if strings.HasSuffix(ours, "test") { // conformance suites and fakes
			return "is not a test and may not import"
		}
		for a := range strings.FieldsSeq(r.ours) {
			if a == "*" || a == ours || a == "tool" && strings.HasPrefix(ours, "tool/") {
				return ""
			}
		}
		return "may not import"
	}
	if first, _, _ := strings.Cut(imp, "/"); !strings.Contains(first, ".") {
		return ""
	}
	for a := range strings.FieldsSeq(r.foreign) {
		if imp == a || strings.HasPrefix(imp, a+"/") {
			return ""
		}
	}
	return "may not import the foreign"
}
