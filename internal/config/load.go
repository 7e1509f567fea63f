package config

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"sort"
	"strings"

	"github.com/pelletier/go-toml/v2"

	"postel/internal/mail"
)

// Problem is one thing that is wrong with a file.
type Problem struct {
	File string
	Line int // 0 when it concerns the whole file
	Text string
}

func (p Problem) String() string {
	if p.Line == 0 {
		return p.File + ": " + p.Text
	}
	return fmt.Sprintf("%s:%d: %s", p.File, p.Line, p.Text)
}

// Problems is all that is wrong with a file, in the order of its lines; an error of Kind Invalid.
type Problems []Problem

func (p Problems) Error() string {
	var lines []string
	for _, one := range p {
		lines = append(lines, one.String())
	}
	return strings.Join(lines, "\n")
}

// MaxFile is the size of the largest file that is read, in octets.
const MaxFile = 1 << 20

// Default gives the configuration of an empty file.
func Default() *Config {
	c := &Config{Listen: map[string]string{}, StartTLS: map[string]string{}}
	for _, s := range settings(c) {
		if s.def != "" {
			if err := s.take(s.def); err != nil {
				panic("config: default of " + s.key + ": " + err.Error()) // a bug, caught by any test
			}
		}
	}
	return c
}

// Load reads and checks a file. Errors are Problems, all at once.
func Load(file string) (*Config, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		if errors.Is(err, os.ErrNotExist) {
			return nil, Problems{{file, 0, "does not exist; write it, or try `postel dev`, which needs none"}}
		}
		return nil, Problems{{file, 0, "cannot be read: " + err.Error()}}
	}
	return Parse(file, b)
}

// Parse checks the text of a file.
func Parse(file string, b []byte) (*Config, error) {
	r := &reader{file: file, c: Default()}
	if len(b) > MaxFile {
		return nil, Problems{{file, 0, "is larger than 1 MiB"}}
	}
	tree := map[string]any{}
	if err := toml.Unmarshal(b, &tree); err != nil {
		var d *toml.DecodeError
		line := 0
		if errors.As(err, &d) {
			line, _ = d.Position()
		}
		return nil, Problems{{file, line, "not TOML: " + strings.TrimPrefix(err.Error(), "toml: ")}}
	}
	r.lines = keyLines(b)
	r.whole(tree)
	if len(r.problems) > 0 {
		sort.SliceStable(r.problems, func(i, j int) bool { return r.problems[i].Line < r.problems[j].Line })
		return nil, r.problems
	}
	return r.c, nil
}

type reader struct {
	file     string
	c        *Config
	lines    map[string]int
	problems Problems
}

func (r *reader) bad(key, format string, args ...any) {
	r.problems = append(r.problems, Problem{r.file, r.lines[key], fmt.Sprintf(format, args...)})
}

func (r *reader) whole(tree map[string]any) {
	for i, t := range tables(tree, "domain") {
		d := Domain{}
		r.table(fmt.Sprintf("domain.%d", i), "[[domain]] ", domainSettings(&d), t)
		if v, given := t["name"]; !given || v == "" {
			r.bad(fmt.Sprintf("domain.%d", i), `[[domain]] needs name = "example.org"`)
		}
		if _, given := t["kind"]; len(d.ODMR) > 0 && given && d.Kind == "local" {
			r.bad(fmt.Sprintf("domain.%d.odmr", i), `[[domain]] odmr: mail that is taken by ATRN has no mailboxes here; drop kind = "local"`)
		} else if len(d.ODMR) > 0 {
			d.Kind = "relay"
		}
		r.c.Domains = append(r.c.Domains, d)
	}
	for i, t := range tables(tree, "route") {
		r.route(fmt.Sprintf("route.%d", i), t)
	}
	for i, t := range tables(tree, "fetch") {
		r.fetch(fmt.Sprintf("fetch.%d", i), t)
	}
	for _, name := range []string{"domain", "route", "fetch"} {
		if _, list := tree[name].([]any); tree[name] != nil && !list {
			r.bad(name, "[%s] stands once; write [[%s]]", name, name)
		}
		delete(tree, name)
	}
	r.take("", "", settings(r.c), tree)
	r.cross()
}

// route takes one [[route]].
func (r *reader) route(at string, t map[string]any) {
	var route Route
	r.table(at, "[[route]] ", routeSettings(&route), t)
	switch {
	case route.Host == "" && route.Domain == "" && route.Sender == "":
		r.bad(at, `[[route]] needs host = "mail.example.org", or a domain or sender to go as DNS says`)
	case route.Host == "" && (route.User != "" || route.Port != 0 || route.Proto != "smtp"):
		r.bad(at, `[[route]] without a host goes as DNS says: drop user, port and proto, or set host`)
	case strings.HasPrefix(route.Host, "unix:") && (len(route.Source) > 0 || route.Port != 0 || route.TLS == "must"):
		r.bad(at, `[[route]] into a socket has neither port, source nor tls = "must"`)
	case route.User == "" && (route.Password != "" || len(route.Tokens) > 0):
		r.bad(at, `[[route]] with a password or token_command needs user`)
	case route.Password != "" && len(route.Tokens) > 0:
		r.bad(at+".token_command", "[[route]] logs in with a password or with tokens, not with both")
	}
	r.login("[[route]] tls", at+".tls", route.Host, route.User, &route.TLS)
	r.c.Routes = append(r.c.Routes, route)
}

// fetch takes one [[fetch]].
func (r *reader) fetch(at string, t map[string]any) {
	var f Fetch
	r.table(at, "[[fetch]] ", fetchSettings(&f), t)
	switch {
	case f.Host == "":
		r.bad(at, `[[fetch]] needs host = "mail.provider.example"`)
	case f.Method == "":
		r.bad(at, `[[fetch]] needs method = "atrn" or "etrn"`)
	case f.Method == "atrn" && (f.User == "" || f.Password == ""):
		r.bad(at, `[[fetch]] by atrn needs user and password: nobody gets mail without`)
	case f.Method == "etrn" && len(f.Domains) == 0:
		r.bad(at, `[[fetch]] by etrn needs domains = ["example.org"]`)
	}
	r.login("[[fetch]] tls", at+".tls", f.Host, f.User, &f.TLS)
	r.c.Fetches = append(r.c.Fetches, f)
}

// login sees that a password goes to the host it is meant for, and under TLS, unless it stays on this machine.
func (r *reader) login(what, at, host, user string, how *string) {
	ip, err := netip.ParseAddr(strings.Trim(host, "[]"))
	if user == "" || *how == "must" || err == nil && ip.IsLoopback() || strings.HasPrefix(host, "unix:") {
		return
	}
	if _, given := r.lines[at]; given {
		r.bad(at, `%s: a password needs tls = "must", so that nobody on the way reads it`, what)
		return
	}
	*how = "must"
}

// cross checks what concerns several keys.
func (r *reader) cross() {
	c := r.c
	if _, bad := r.lines["hostname"]; c.Hostname == "" && !bad {
		r.bad("", `hostname is missing: set hostname = "mail.example.org"`)
	}
	if o := c.OAuth; (o.Issuer == "") != (o.JWKS == "") || (o.Issuer == "") != (o.Audience == "") {
		r.bad("oauth", "oauth.issuer, oauth.jwks and oauth.audience go together")
	}
	if (c.TLS.Cert == "") != (c.TLS.Key == "") {
		r.bad("tls.cert", "tls.cert and tls.key go together")
	}
	for _, name := range []string{"submissions", "imaps", "pop3s"} {
		if _, set := r.lines["listen."+name]; set && c.Listen[name] != "" && c.TLS.Cert == "" {
			r.bad("listen."+name, "listen.%s needs tls.cert and tls.key", name)
		}
		if c.TLS.Cert == "" {
			c.Listen[name] = ""
		}
	}
	for _, name := range startTLSListeners() {
		if c.StartTLS[name] == TLSRequired && c.TLS.Cert == "" {
			r.bad("starttls."+name, `starttls.%s = "required" needs tls.cert and tls.key`, name)
		}
	}
	var seen []mail.Domain
	for i, d := range c.Domains {
		if d.Name != "" && slices.Contains(seen, d.Name) {
			r.bad(fmt.Sprintf("domain.%d", i), "domain %s is named twice", d.Name)
		}
		seen = append(seen, d.Name)
	}
}

// table takes one array table: defaults first, then what is there.
func (r *reader) table(at, what string, rows []setting, t map[string]any) {
	for _, s := range rows {
		if s.def != "" {
			var v any = s.def
			_ = s.take(v)
		}
	}
	r.take(at+".", what, rows, t)
}

// take gives each value of t to its row; a nested table goes on with a longer prefix.
func (r *reader) take(at, what string, rows []setting, t map[string]any) {
	var walk func(prefix string, t map[string]any)
	walk = func(prefix string, t map[string]any) {
		for k, v := range t {
			key := prefix + k
			i := slices.IndexFunc(rows, func(s setting) bool { return s.key == key })
			if sub, ok := v.(map[string]any); ok && i < 0 {
				walk(key+".", sub)
				continue
			}
			if i < 0 {
				r.bad(at+key, "unknown key %s%s%s", what, key, suggest(key, rows))
				continue
			}
			if err := rows[i].take(v); err != nil {
				r.bad(at+key, "%s%s: %s (%s)", what, key, publicText(err), rows[i].doc)
			}
		}
	}
	walk("", t)
}

func publicText(err error) string {
	var e *mail.Error
	if errors.As(err, &e) && e.Text != "" {
		return e.Text
	}
	return err.Error()
}

func tables(tree map[string]any, name string) []map[string]any {
	var out []map[string]any
	list, _ := tree[name].([]any)
	for _, v := range list {
		if t, ok := v.(map[string]any); ok {
			out = append(out, t)
		}
	}
	return out
}

// suggest names the nearest key, when there is one near.
func suggest(key string, rows []setting) string {
	best, near := 4, ""
	for _, s := range rows {
		if d := distance(key, s.key); d < best {
			best, near = d, s.key
		}
	}
	if near == "" {
		return ""
	}
	return "; did you mean " + near + "?"
}

// distance is Levenshtein's.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		last := row[0]
		row[0] = i + 1
		for j := range len(b) {
			d := last
			if a[i] != b[j] {
				d = 1 + min(last, row[j], row[j+1])
			}
			last, row[j+1] = row[j+1], d
		}
	}
	return row[len(b)]
}
