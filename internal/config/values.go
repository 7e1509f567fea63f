package config

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"postel/internal/mail"
)

func text(key, def, doc string, set func(string) error, show func() string) setting {
	return setting{key, def, doc, func(v any) error {
		s, ok := v.(string)
		if !ok {
			return fmt.Errorf("want a text in quotes")
		}
		return set(s)
	}, show}
}

func get(p *string) func() string { return func() string { return *p } }

func path(p *string) func(string) error {
	return func(v string) error {
		if v != "" && !filepath.IsAbs(v) {
			return fmt.Errorf("want an absolute path")
		}
		*p = v
		return nil
	}
}

func address(p *mail.Address) func(string) error {
	return func(v string) (err error) {
		if *p = (mail.Address{}); v != "" {
			*p, err = mail.ParseAddress(v)
		}
		return err
	}
}

func domain(p *mail.Domain) func(string) error {
	return func(v string) (err error) {
		if *p = ""; v != "" {
			*p, err = mail.ParseDomain(v)
		}
		return err
	}
}

func addrPort(p *netip.AddrPort) func(string) error {
	return func(v string) (err error) {
		if *p = (netip.AddrPort{}); v != "" {
			if *p, err = netip.ParseAddrPort(v); err != nil {
				return fmt.Errorf(`want "address:port", as "127.0.0.1:53"`)
			}
		}
		return nil
	}
}

func showAddr(a netip.AddrPort) string {
	if !a.IsValid() {
		return ""
	}
	return a.String()
}

// networks takes a list of addresses and prefixes.
func networks(p *[]netip.Prefix) func(any) error {
	return func(v any) error {
		list, ok := v.([]any)
		if !ok {
			return fmt.Errorf(`want a list of networks, as ["192.0.2.0/24", "2001:db8::1"]`)
		}
		*p = nil
		for _, e := range list {
			s, _ := e.(string)
			n, err := netip.ParsePrefix(s)
			if a, aerr := netip.ParseAddr(s); aerr == nil {
				n, err = a.Prefix(a.BitLen())
			}
			if err != nil {
				return fmt.Errorf(`%v is not a network, as "192.0.2.0/24" or "2001:db8::1"`, e)
			}
			*p = append(*p, n.Masked())
		}
		return nil
	}
}

func showNetworks(list []netip.Prefix) string {
	words := make([]string, len(list))
	for i, n := range list {
		words[i] = n.String()
	}
	return strings.Join(words, " ")
}

// plain takes a text of printable characters.
func plain(p *string) func(string) error {
	return func(v string) error {
		if len(v) > 1024 || strings.ContainsFunc(v, func(r rune) bool { return r <= ' ' || r == 0x7f }) {
			return fmt.Errorf("want a text without spaces")
		}
		*p = v
		return nil
	}
}

// jwks takes a URL that nobody on the way can change the answer of, or an absolute path.
func jwks(p *string) func(string) error {
	return func(v string) error {
		u, err := url.Parse(v)
		if err == nil && v != "" && !strings.HasPrefix(v, "/") {
			ip, _ := netip.ParseAddr(u.Hostname())
			here := u.Hostname() == "localhost" || ip.IsLoopback()
			if u.Host == "" || u.Scheme != "https" && (u.Scheme != "http" || !here) {
				err = errors.New("another scheme")
			}
		}
		if err != nil {
			return fmt.Errorf("want https://…, http:// on this machine, or an absolute path")
		}
		*p = v
		return nil
	}
}

func oneOf(p *string, words ...string) func(string) error {
	return func(v string) error {
		for _, w := range words {
			if v == w {
				*p = v
				return nil
			}
		}
		return fmt.Errorf("want one of %s", strings.Join(words, ", "))
	}
}

func number(key, def, doc string, p *int, lo, hi int) setting {
	return setting{key, def, doc, func(v any) error {
		n, ok := v.(int64)
		if s, isText := v.(string); isText { // a default
			i, err := strconv.Atoi(s)
			n, ok = int64(i), err == nil
		}
		if !ok || n < int64(lo) || n > int64(hi) {
			return fmt.Errorf("want a number from %d to %d", lo, hi)
		}
		*p = int(n)
		return nil
	}, func() string { return strconv.Itoa(*p) }}
}

func duration(key, def, doc string, p *time.Duration) setting {
	return text(key, def, doc, func(v string) (err error) {
		*p, err = parseDuration(v)
		return err
	}, func() string { return showDuration(*p) })
}

// durationOrNone is duration, and 0.
func durationOrNone(key, def, doc string, p *time.Duration) setting {
	s := duration(key, def, doc, p)
	some := s.take
	s.take = func(v any) error {
		if v == "0" || v == int64(0) {
			*p = 0
			return nil
		}
		return some(v)
	}
	return s
}

func parseDuration(s string) (time.Duration, error) {
	days := 0
	if d, rest, ok := strings.Cut(s, "d"); ok {
		n, err := strconv.Atoi(d)
		if err != nil || n < 0 || n > 3650 {
			return 0, fmt.Errorf(`want a time as "90s", "5m", "4h" or "5d"`)
		}
		days, s = n, rest
		if rest == "" {
			s = "0s"
		}
	}
	d, err := time.ParseDuration(s)
	if d += time.Duration(days) * 24 * time.Hour; err != nil || d <= 0 {
		return 0, fmt.Errorf(`want a time as "90s", "5m", "4h" or "5d"`)
	}
	return d, nil
}

func showDuration(d time.Duration) string {
	if d == 0 {
		return "0"
	}
	if d >= 48*time.Hour && d%(24*time.Hour) == 0 {
		return strconv.Itoa(int(d/(24*time.Hour))) + "d"
	}
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = s[:len(s)-2]
	}
	if strings.HasSuffix(s, "h0m") {
		s = s[:len(s)-2]
	}
	return s
}

// limit takes a number or a size in quotes; what is not set is shown as "".
func limit(key, doc string, p *int64) setting {
	return setting{key, "", doc, func(v any) (err error) {
		n, ok := v.(int64)
		if s, isText := v.(string); isText {
			n, err = mail.ParseSize(s)
			ok = err == nil
		}
		if !ok || n <= 0 {
			return fmt.Errorf(`want a number above 0, or a size as "500GiB"`)
		}
		*p = n
		return nil
	}, func() string {
		if *p == 0 {
			return ""
		}
		return mail.ShowSize(*p)
	}}
}

func size(p *int64) func(any) error {
	return func(v any) error {
		n, ok := v.(int64)
		if s, isText := v.(string); isText {
			unit := int64(1)
			for suffix, u := range map[string]int64{"KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30} {
				if strings.HasSuffix(s, suffix) {
					s, unit = strings.TrimSuffix(s, suffix), u
				}
			}
			i, err := strconv.ParseInt(strings.TrimSpace(s), 10, 32)
			n, ok = i*unit, err == nil
		}
		if !ok || n < 64<<10 || n > 4<<30 {
			return fmt.Errorf(`want a size from 64KiB to 4GiB, as "50MiB"`)
		}
		*p = n
		return nil
	}
}

// sizeOrNone is size, and 0.
func sizeOrNone(p *int64) func(any) error {
	some := size(p)
	return func(v any) error {
		if v == int64(0) || v == "0" {
			*p = 0
			return nil
		}
		return some(v)
	}
}

func showSize(n int64) string {
	if n != 0 && n%(1<<20) == 0 {
		return strconv.FormatInt(n>>20, 10) + "MiB"
	}
	return strconv.FormatInt(n, 10)
}

// list takes a list of texts, or one.
func list(set func([]string) error) func(any) error {
	return func(v any) error {
		if one, ok := v.(string); ok {
			v = []any{one}
		}
		all, ok := v.([]any)
		words := make([]string, 0, len(all))
		for _, x := range all {
			s, text := x.(string)
			ok = ok && text
			words = append(words, s)
		}
		if !ok {
			return fmt.Errorf(`want a list of texts, as ["a", "b"]`)
		}
		return set(words)
	}
}

// sender takes an address or a domain.
func sender(p *string) func(string) error {
	return func(v string) error {
		_, err := mail.ParseDomain(v)
		if strings.Contains(v, "@") {
			_, err = mail.ParseAddress(v)
		}
		if v != "" && err != nil {
			return fmt.Errorf("want an address or a domain")
		}
		*p = v
		return nil
	}
}

// sources takes an address a family.
func sources(p *[]netip.Addr) func([]string) error {
	return func(words []string) error {
		*p = nil
		for _, w := range words {
			a, err := netip.ParseAddr(w)
			if err != nil || a.Zone() != "" || a.Is4In6() || len(*p) > 1 || len(*p) == 1 && (*p)[0].Is4() == a.Is4() {
				return fmt.Errorf("want an IPv4 address, an IPv6 address, or one of each")
			}
			*p = append(*p, a)
		}
		return nil
	}
}

func showSources(list []netip.Addr) string {
	words := make([]string, len(list))
	for i, a := range list {
		words[i] = a.String()
	}
	return strings.Join(words, " ")
}

// program takes the path of one and its arguments.
func program(p *[]string) func([]string) error {
	return func(words []string) error {
		if len(words) > 0 && !filepath.IsAbs(words[0]) {
			return fmt.Errorf("want the absolute path of a program, then its arguments")
		}
		*p = words
		return nil
	}
}

// domains takes domain names.
func domains(p *[]mail.Domain) func([]string) error {
	return func(words []string) error {
		*p = nil
		for _, w := range words {
			d, err := mail.ParseDomain(w)
			if err != nil {
				return fmt.Errorf("%.80q is not a domain", w)
			}
			*p = append(*p, d)
		}
		return nil
	}
}

func showDomains(list []mail.Domain) string {
	words := make([]string, len(list))
	for i, d := range list {
		words[i] = string(d)
	}
	return strings.Join(words, " ")
}

// languages takes the tags of languages of reports, each once.
func languages(p *[]string) func(any) error {
	return list(func(words []string) error {
		*p = nil
		for word := range strings.FieldsFuncSeq(strings.Join(words, ","), func(r rune) bool { return r == ',' || r == ' ' }) {
			if known := []string{"en", "fr"}; !slices.Contains(known, word) || slices.Contains(*p, word) {
				return fmt.Errorf("want some of %s, each once", strings.Join(known, ", "))
			}
			*p = append(*p, word)
		}
		if len(*p) == 0 {
			return fmt.Errorf("want at least one language")
		}
		return nil
	})
}

// accounts takes addresses.
func accounts(p *[]mail.Address) func([]string) error {
	return func(words []string) error {
		*p = nil
		for _, w := range words {
			a, err := mail.ParseAddress(w)
			if err != nil {
				return fmt.Errorf("%.80q is not an account", w)
			}
			*p = append(*p, a)
		}
		return nil
	}
}

func texts(list []mail.Address) []string {
	out := make([]string, len(list))
	for i, a := range list {
		out[i] = a.String()
	}
	return out
}

func aliases(p *map[string][]string) func(any) error {
	return func(v any) error {
		table, ok := v.(map[string]any)
		if !ok {
			return fmt.Errorf(`want a table, as { sales = ["alice@example.org"] }`)
		}
		out := map[string][]string{}
		for name, to := range table {
			list, ok := to.([]any)
			if s, one := to.(string); one {
				list, ok = []any{s}, true
			}
			if !ok {
				return fmt.Errorf("alias %s: want a list of addresses", name)
			}
			for _, a := range list {
				s, _ := a.(string)
				if _, err := mail.ParseAddress(s); err != nil {
					return fmt.Errorf("alias %s: %v is not an address", name, a)
				}
				out[name] = append(out[name], s)
			}
		}
		*p = out
		return nil
	}
}

// showAliases gives "a = x y, b = z", by name; "" for none.
func showAliases(m map[string][]string) string {
	var words []string
	for _, name := range slices.Sorted(maps.Keys(m)) {
		words = append(words, name+" = "+strings.Join(m[name], " "))
	}
	return strings.Join(words, ", ")
}

// secret takes env:NAME or file:PATH, so that the file can be readable by all.
func secret(p *string) func(string) error {
	return func(v string) (err error) {
		*p, err = Secret(v)
		return err
	}
}

// Secret gives what stands at env:NAME or file:PATH.
func Secret(at string) (string, error) {
	if name, ok := strings.CutPrefix(at, "env:"); ok {
		v := os.Getenv(name)
		if v == "" {
			return "", fmt.Errorf("the environment has no %s", name)
		}
		return v, nil
	}
	if file, ok := strings.CutPrefix(at, "file:"); ok {
		b, err := os.ReadFile(file)
		return strings.TrimSuffix(string(b), "\n"), err
	}
	return "", fmt.Errorf("secrets stand elsewhere: want env:NAME or file:PATH")
}
