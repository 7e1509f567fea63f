package lint

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"testing"
)

// module is the import path of the repository's root.
const module = "postel"

// pkg is one folder's Go files, parsed.
type pkg struct {
	dir   string // from the root, with slashes: "internal/mail"
	fset  *token.FileSet
	files []file
}

type file struct {
	name string // from the root
	test bool
	ast  *ast.File
	text []string // lines
}

// load parses the Go files of the top folders given; folders named testdata and other modules are left out.
func load(t *testing.T, tops ...string) []pkg {
	t.Helper()
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	byDir := map[string]*pkg{}
	var order []string
	for _, top := range tops {
		err := filepath.WalkDir(filepath.Join(root, top), func(p string, d fs.DirEntry, err error) error {
			switch {
			case os.IsNotExist(err):
				return nil
			case err != nil:
				return err
			case d.IsDir() && (d.Name() == "testdata" || exists(filepath.Join(p, "go.mod"))):
				return filepath.SkipDir
			case d.IsDir() || !strings.HasSuffix(p, ".go"):
				return nil
			}
			rel, err := filepath.Rel(root, p)
			if err != nil {
				return err
			}
			name := filepath.ToSlash(rel)
			dir := path.Dir(name)
			if byDir[dir] == nil {
				byDir[dir] = &pkg{dir: dir, fset: token.NewFileSet()}
				order = append(order, dir)
			}
			return byDir[dir].add(p, name)
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	var all []pkg
	for _, dir := range order {
		all = append(all, *byDir[dir])
	}
	return all
}

func exists(name string) bool {
	_, err := os.Stat(name)
	return err == nil
}

func (p *pkg) add(full, name string) error {
	src, err := os.ReadFile(full)
	if err != nil {
		return err
	}
	f, err := parser.ParseFile(p.fset, name, src, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		return err
	}
	p.files = append(p.files, file{
		name: name, test: strings.HasSuffix(name, "_test.go"), ast: f, text: strings.Split(string(src), "\n"),
	})
	return nil
}

// code gives the files that are not tests.
func (p *pkg) code() []file {
	var fs []file
	for _, f := range p.files {
		if !f.test {
			fs = append(fs, f)
		}
	}
	return fs
}
