// Pscheck parses PowerShell scripts and names what is not PowerShell in them: errors of the
// parser, and tokens that it had to make up; commands and parameters that are not there, and variables that nothing
// sets. It runs nothing.
//
//	pscheck GRAMMAR.so SCRIPT...
//
// The grammar is tree-sitter-powershell, compiled; scripts/powershell.sh does that.
package main

/*
#cgo LDFLAGS: -ldl
#include <dlfcn.h>
#include <stdlib.h>

typedef const void *(*grammar)(void);

static const void *load(const char *path, const char *name, const char **why) {
	void *lib = dlopen(path, RTLD_NOW);
	grammar f = lib ? (grammar)dlsym(lib, name) : NULL;
	if (!f) {
		*why = dlerror();
		return NULL;
	}
	return f();
}
*/
import "C"

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"unsafe"

	sitter "github.com/tree-sitter/go-tree-sitter"
)

func main() {
	if len(os.Args) < 3 {
		fmt.Fprintln(os.Stderr, "usage: pscheck GRAMMAR.so SCRIPT...")
		os.Exit(2)
	}
	if err := run(os.Args[1], os.Args[2:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(grammar string, scripts []string) error {
	language, err := load(grammar)
	if err != nil {
		return fmt.Errorf("load grammar %s: %w", grammar, err)
	}
	p := sitter.NewParser()
	defer p.Close()
	if err := p.SetLanguage(language); err != nil {
		return fmt.Errorf("use grammar %s: %w", grammar, err)
	}
	var errs []error
	for _, path := range scripts {
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		tree := p.Parse(text, nil)
		errs = append(errs, problems(path, text, tree.RootNode())...)
		errs = append(errs, names(path, text, tree.RootNode())...)
		tree.Close()
	}
	return errors.Join(errs...)
}

func load(path string) (*sitter.Language, error) {
	cpath, name := C.CString(path), C.CString("tree_sitter_powershell")
	defer C.free(unsafe.Pointer(cpath))
	defer C.free(unsafe.Pointer(name))
	var why *C.char
	l := C.load(cpath, name, &why)
	if l == nil {
		return nil, errors.New(C.GoString(why))
	}
	return sitter.NewLanguage(unsafe.Pointer(l)), nil
}

// problems are the places of a tree that are not what they should be.
func problems(path string, text []byte, n *sitter.Node) []error {
	if !n.HasError() {
		return nil
	}
	at := n.StartPosition()
	switch {
	case n.IsMissing():
		return []error{fmt.Errorf("%s:%d:%d: %s is missing", path, at.Row+1, at.Column+1, n.Kind())}
	case n.IsError():
		line, _, _ := strings.Cut(string(text[n.StartByte():n.EndByte()]), "\n")
		return []error{fmt.Errorf("%s:%d:%d: not understood: %s", path, at.Row+1, at.Column+1, line)}
	}
	var out []error
	for i := range n.ChildCount() {
		out = append(out, problems(path, text, n.Child(i))...)
	}
	return out
}
