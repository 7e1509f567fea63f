package lint

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var (
	docRow  = regexp.MustCompile("(?m)^\\| `([a-z0-9/]+)` \\|.*\\|([^|]*)\\|$")
	docFile = regexp.MustCompile("`([a-z0-9_]+\\.go)`")
)

// TestArchitectureIsTrue compares docs/architecture.md with the tree: every package below internal/ has a row in
// it, no row is about a package that is not there, and the files that a row names exist.
func TestArchitectureIsTrue(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../docs/architecture.md")
	if err != nil {
		t.Fatal(err)
	}
	told := map[string]bool{}
	for _, m := range docRow.FindAllStringSubmatch(string(text), -1) {
		told[m[1]] = true
		for _, f := range docFile.FindAllStringSubmatch(m[2], -1) {
			if _, err := os.Stat(filepath.Join("..", m[1], f[1])); err != nil {
				t.Errorf("docs/architecture.md names %s/%s, which is not there", m[1], f[1])
			}
		}
	}
	there := map[string]bool{}
	for _, p := range load(t, "internal") {
		name := strings.TrimPrefix(p.dir, "internal/")
		if there[name] = true; !told[name] && !strings.HasPrefix(name, "tool/") {
			t.Errorf("docs/architecture.md does not tell of %s", name)
		}
	}
	for name := range told {
		if !there[name] {
			t.Errorf("docs/architecture.md tells of %s, which is not there", name)
		}
	}
}
