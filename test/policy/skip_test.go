package policy

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"slices"
	"testing"
)

// TestSkipsAreExplained: a test that skips by itself is silently missing where all must
// run. internal/testneed knows when it may.
func TestSkipsAreExplained(t *testing.T) {
	files := map[string]*ast.File{}
	for _, s := range sources(t) {
		if s.pkg != "internal/testneed" {
			files[s.path] = s.file
		}
	}
	// The end-to-end tests are a module of their own.
	e2e, err := filepath.Glob(root + "/test/e2e/*.go")
	if err != nil || len(e2e) == 0 {
		t.Fatalf("end-to-end tests: %v, %v", e2e, err)
	}
	for _, path := range e2e {
		if files[path], err = parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution); err != nil {
			t.Fatal(err)
		}
	}
	for path, file := range files {
		if !slices.ContainsFunc(file.Imports, func(i *ast.ImportSpec) bool { return i.Path.Value == `"testing"` }) {
			continue
		}
		ast.Inspect(file, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok {
				return true
			}
			if sel, ok := call.Fun.(*ast.SelectorExpr); ok && slices.Contains([]string{"Skip", "Skipf", "SkipNow"}, sel.Sel.Name) {
				if x, ok := sel.X.(*ast.Ident); !ok || x.Name != "testneed" {
					t.Errorf("%s calls %s itself: use internal/testneed", path, sel.Sel.Name)
				}
			}
			return true
		})
	}
}
