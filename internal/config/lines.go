package config

import (
	"fmt"
	"strings"

	"github.com/pelletier/go-toml/v2/unstable"
)

// keyLines gives the line of each key by its dotted path; keys of array tables are "domain.0.name". The text is
// known to be valid TOML.
func keyLines(b []byte) map[string]int {
	lines := map[string]int{}
	arrays := map[string]int{}
	prefix := ""
	var p unstable.Parser
	p.Reset(b)
	for p.NextExpression() {
		e := p.Expression()
		var parts []string
		line := 0
		for it := e.Key(); it.Next(); {
			parts = append(parts, string(it.Node().Data))
			if line == 0 {
				line = p.Shape(it.Node().Raw).Start.Line
			}
		}
		key := strings.Join(parts, ".")
		switch e.Kind {
		case unstable.Table:
			prefix = key + "."
			lines[key] = line
		case unstable.ArrayTable:
			at := fmt.Sprintf("%s.%d", key, arrays[key])
			arrays[key]++
			lines[at] = line
			prefix = at + "."
		case unstable.KeyValue:
			lines[prefix+key] = line
		}
	}
	return lines
}
