package config

import (
	"fmt"
	"strings"
)

// Value is one effective setting, for people and for --json.
type Value struct {
	Key     string `json:"key"`
	Value   string `json:"value"`
	Default string `json:"default"`
	Doc     string `json:"doc"`
}

// Show gives all settings as they are in effect, secrets hidden.
func (c *Config) Show() []Value {
	var out []Value
	add := func(prefix string, rows []setting) {
		for _, s := range rows {
			out = append(out, Value{prefix + s.key, s.show(), s.def, s.doc})
		}
	}
	add("", settings(c))
	for i := range c.Domains {
		add(fmt.Sprintf("domain.%d.", i), domainSettings(&c.Domains[i]))
	}
	for i := range c.Routes {
		add(fmt.Sprintf("route.%d.", i), routeSettings(&c.Routes[i]))
	}
	for i := range c.Fetches {
		add(fmt.Sprintf("fetch.%d.", i), fetchSettings(&c.Fetches[i]))
	}
	return out
}

// Reference gives the manual of the file: every key, its default and its meaning.
func Reference() string {
	var b strings.Builder
	write := func(prefix string, rows []setting) {
		for _, s := range rows {
			fmt.Fprintf(&b, "| `%s%s` | %s | %s |\n", prefix, s.key, code(s.def), s.doc)
		}
	}
	b.WriteString("| key | default | meaning |\n| --- | --- | --- |\n")
	write("", settings(Default()))
	write("[[domain]] ", domainSettings(&Domain{}))
	write("[[route]] ", routeSettings(&Route{}))
	write("[[fetch]] ", fetchSettings(&Fetch{}))
	return b.String()
}

func code(s string) string {
	if s == "" {
		return ""
	}
	return "`" + s + "`"
}
