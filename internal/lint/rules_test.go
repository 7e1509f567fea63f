package lint

import (
	"go/ast"
	"go/token"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// maxFunc is the length in lines above which a function needs a reason.
const maxFunc = 100

var nolintReason = regexp.MustCompile(`//\s*nolint:\s*\S+\s+\S+|//\s*nolint:\S+\s*//\s*\S+`)

// TestFunctionLength fails on a function of more than 100 lines, unless the line of its func keyword or the
// last line of its comment says "//nolint: why". The tables of table tests do not count.
func TestFunctionLength(t *testing.T) {
	t.Parallel()
	for _, p := range load(t, "cmd", "internal", "test") {
		for _, f := range p.files {
			for _, d := range f.ast.Decls {
				fn, ok := d.(*ast.FuncDecl)
				if !ok {
					continue
				}
				from, to := p.fset.Position(fn.Pos()).Line, p.fset.Position(fn.End()).Line
				n := to - from + 1
				if f.test {
					n -= tableLines(p.fset, fn)
				}
				if n > maxFunc && !excused(f, from) {
					t.Errorf("%s:%d: %s has %d lines, %d at most, or //nolint: with a reason",
						f.name, from, fn.Name.Name, n, maxFunc)
				}
			}
		}
	}
}

// tableLines gives how many lines of a function are inside composite literals.
func tableLines(fset *token.FileSet, fn *ast.FuncDecl) int {
	n := 0
	ast.Inspect(fn, func(node ast.Node) bool {
		lit, ok := node.(*ast.CompositeLit)
		if ok {
			n += fset.Position(lit.End()).Line - fset.Position(lit.Pos()).Line
		}
		return !ok
	})
	return n
}

func excused(f file, line int) bool {
	if nolintReason.MatchString(f.text[line-1]) {
		return true
	}
	return line >= 2 && nolintReason.MatchString(f.text[line-2])
}

// TestPackageDoc fails when a package does not say what it is for.
func TestPackageDoc(t *testing.T) {
	t.Parallel()
	for _, p := range load(t, "cmd", "internal") {
		files := p.code()
		if len(files) == 0 {
			files = p.files
		}
		if !slices.ContainsFunc(files, func(f file) bool { return f.ast.Doc != nil }) {
			t.Errorf("%s has no package comment", p.dir)
		}
	}
}

// TestNoInit fails on init functions: only app constructs things, and nothing registers itself.
func TestNoInit(t *testing.T) {
	t.Parallel()
	for _, p := range load(t, "cmd", "internal") {
		for _, f := range p.code() {
			for _, d := range f.ast.Decls {
				if fn, ok := d.(*ast.FuncDecl); ok && fn.Recv == nil && fn.Name.Name == "init" {
					t.Errorf("%s: init function", p.fset.Position(fn.Pos()))
				}
			}
		}
	}
}

// TestNoPackageState fails on package-level variables that something may change: a variable that is assigned,
// incremented or whose address is taken anywhere in its package, or that holds a lock, a channel or a map made
// empty. Tables that are only read, error values, compiled patterns and embedded files are fine, and so is
// main.version, which the linker sets.
func TestNoPackageState(t *testing.T) {
	t.Parallel()
	for _, p := range load(t, "cmd", "internal") {
		vars := packageVars(p)
		for _, f := range p.code() {
			for _, w := range writes(f.ast, vars) {
				t.Errorf("%s: the package-level variable %s is changed here", p.fset.Position(w.Pos()), w.Name)
			}
		}
		for name, spec := range vars {
			if holdsState(spec) {
				t.Errorf("%s: the package-level variable %s holds state", p.fset.Position(spec.Pos()), name)
			}
		}
	}
}

// packageVars gives the variables that a package declares outside functions.
func packageVars(p pkg) map[string]*ast.ValueSpec {
	vars := map[string]*ast.ValueSpec{}
	for _, f := range p.code() {
		for _, d := range f.ast.Decls {
			g, ok := d.(*ast.GenDecl)
			if !ok || g.Tok != token.VAR {
				continue
			}
			for _, s := range g.Specs {
				spec := s.(*ast.ValueSpec)
				for _, n := range spec.Names {
					if n.Name != "_" {
						vars[n.Name] = spec
					}
				}
			}
		}
	}
	return vars
}

// holdsState tells by its declaration whether a variable is there to be changed.
func holdsState(spec *ast.ValueSpec) bool {
	if spec.Type != nil && stateType(spec.Type) {
		return true
	}
	for _, v := range spec.Values {
		switch v := v.(type) {
		case *ast.CallExpr:
			if id, ok := v.Fun.(*ast.Ident); ok && (id.Name == "make" || id.Name == "new") {
				return true
			}
		case *ast.CompositeLit:
			if stateType(v.Type) || isMap(v.Type) && len(v.Elts) == 0 {
				return true
			}
		}
	}
	return false
}

func isMap(e ast.Expr) bool { _, ok := e.(*ast.MapType); return ok }

// stateType tells whether a type is from sync or sync/atomic (a sync.Pool only keeps memory) or a channel.
func stateType(e ast.Expr) bool {
	switch e := e.(type) {
	case *ast.ChanType:
		return true
	case *ast.IndexExpr:
		return stateType(e.X)
	case *ast.SelectorExpr:
		id, ok := e.X.(*ast.Ident)
		return ok && (id.Name == "sync" || id.Name == "atomic") && e.Sel.Name != "Pool"
	}
	return false
}

// writes gives the places where a package-level variable, or an element or field of it, is assigned or its
// address is taken. Names that a function declares anew are left alone.
func writes(f *ast.File, vars map[string]*ast.ValueSpec) []*ast.Ident {
	var found []*ast.Ident
	for _, d := range f.Decls {
		fn, ok := d.(*ast.FuncDecl)
		if !ok || fn.Body == nil {
			continue
		}
		local := declared(fn)
		note := func(e ast.Expr) {
			if id := rootIdent(e); id != nil && vars[id.Name] != nil && !local[id.Name] {
				found = append(found, id)
			}
		}
		ast.Inspect(fn.Body, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.AssignStmt:
				if n.Tok != token.DEFINE {
					for _, l := range n.Lhs {
						note(l)
					}
				}
			case *ast.IncDecStmt:
				note(n.X)
			}
			return true
		})
	}
	return found
}

// rootIdent gives x of x, x.f, x[i], *x and (x).
func rootIdent(e ast.Expr) *ast.Ident {
	for {
		switch x := e.(type) {
		case *ast.Ident:
			return x
		case *ast.SelectorExpr:
			e = x.X
		case *ast.IndexExpr:
			e = x.X
		case *ast.StarExpr:
			e = x.X
		case *ast.ParenExpr:
			e = x.X
		default:
			return nil
		}
	}
}

// declared gives every name that a function declares, parameters included.
func declared(fn *ast.FuncDecl) map[string]bool {
	names := map[string]bool{}
	fields := func(l *ast.FieldList) {
		if l == nil {
			return
		}
		for _, f := range l.List {
			for _, n := range f.Names {
				names[n.Name] = true
			}
		}
	}
	fields(fn.Recv)
	ast.Inspect(fn, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.FuncType:
			fields(n.Params)
			fields(n.Results)
		case *ast.AssignStmt:
			if n.Tok == token.DEFINE {
				for _, l := range n.Lhs {
					if id, ok := l.(*ast.Ident); ok {
						names[id.Name] = true
					}
				}
			}
		case *ast.RangeStmt:
			for _, e := range []ast.Expr{n.Key, n.Value} {
				if id, ok := e.(*ast.Ident); ok && n.Tok == token.DEFINE {
					names[id.Name] = true
				}
			}
		case *ast.ValueSpec:
			for _, id := range n.Names {
				names[id.Name] = true
			}
		}
		return true
	})
	return names
}

// TestNoForbiddenNames fails on packages named for nothing.
func TestNoForbiddenNames(t *testing.T) {
	t.Parallel()
	bad := []string{"util", "utils", "common", "base", "helpers", "helper", "manager", "misc", "shared"}
	for _, p := range load(t, "cmd", "internal") {
		if name := p.dir[strings.LastIndexByte(p.dir, '/')+1:]; slices.Contains(bad, name) {
			t.Errorf("%s: name the package after what it is", p.dir)
		}
	}
}
