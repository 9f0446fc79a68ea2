package policy

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/porthole-run/porthole"

// source is one Go file of the main module.
type source struct {
	path string // relative to the root, with slashes
	pkg  string // folder of path
	text string
	file *ast.File
}

func (s source) test() bool { return strings.HasSuffix(s.path, "_test.go") }

func (s source) generated() bool { return ast.IsGenerated(s.file) }

const root = "../.."

func sources(t *testing.T) []source {
	t.Helper()
	var all []source
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			name := d.Name()
			if name == ".git" || name == "testdata" || name == "out" {
				return filepath.SkipDir
			}
			if path != root {
				if _, err := os.Stat(filepath.Join(path, "go.mod")); err == nil {
					return filepath.SkipDir // another module
				}
			}
			return nil
		}
		if !strings.HasSuffix(path, ".go") {
			return nil
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, text, parser.ParseComments)
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		rel = filepath.ToSlash(rel)
		all = append(all, source{path: rel, pkg: rel[:max(strings.LastIndexByte(rel, '/'), 0)], text: string(text), file: file})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(all) < 20 {
		t.Fatalf("found %d Go files: the walk is broken", len(all))
	}
	return all
}

func (s source) imports() []string {
	var out []string
	for _, i := range s.file.Imports {
		path, _ := strconv.Unquote(i.Path.Value)
		out = append(out, path)
	}
	return out
}

func within(path, folder string) bool {
	return path == folder || strings.HasPrefix(path, folder+"/")
}

// direction lists what a part of the tree may not import (ARCHITECTURE.md).
var direction = []struct {
	part   string
	except []string // sub-folders with rules of their own
	banned []string // folders of this module, or other modules' paths
}{
	{"sandbox", []string{"sandbox/qemuvm", "sandbox/hcsvm", "sandbox/shim", "sandbox/drivertest", "sandbox/sandboxtest"},
		[]string{"cri", "cmd", "image", "network", "streaming", "share", "guest/agent", "guest/api", "guest/image",
			"sandbox/qemuvm", "sandbox/hcsvm", "sandbox/shim", "google.golang.org/protobuf", "google.golang.org/grpc", "github.com/containerd/ttrpc", "golang.org/x/sys/windows"}},
	{"sandbox/qemuvm", nil, []string{"cri", "cmd", "image", "streaming", "guest/agent", "sandbox/shim", "google.golang.org/protobuf"}},
	{"sandbox/hcsvm", nil, []string{"cri", "cmd", "image", "network", "streaming", "guest/agent", "sandbox/qemuvm", "sandbox/shim", "google.golang.org/protobuf"}},
	{"sandbox/shim", nil, []string{"cri", "cmd", "image", "network", "guest/agent", "sandbox/qemuvm", "sandbox/hcsvm"}},
	{"image", nil, []string{"cri", "cmd", "sandbox", "guest", "network", "streaming", "share"}},
	{"network", nil, []string{"cri", "cmd", "sandbox", "guest", "image", "streaming", "share"}},
	{"share", nil, []string{"cri", "cmd", "sandbox", "guest", "image", "network", "streaming"}},
	{"streaming", nil, []string{"cri", "cmd", "sandbox", "guest", "image", "network", "share"}},
	{"guest", []string{"guest/agent"}, []string{"cri", "cmd", "sandbox", "image", "network", "streaming", "share", "guest/agent"}},
	{"guest/agent", nil, []string{"cri", "cmd", "sandbox", "image", "network", "streaming", "share", "guest/image"}},
	{"internal", nil, []string{"cri", "cmd", "sandbox", "image", "network", "streaming", "share", "guest"}},
	{"cri", nil, []string{"cmd", "sandbox/qemuvm", "sandbox/hcsvm", "sandbox/shim", "guest"}},
}

func TestImportDirection(t *testing.T) {
	for _, s := range sources(t) {
		if s.test() {
			continue
		}
		for _, rule := range direction {
			if !within(s.pkg, rule.part) {
				continue
			}
			skip := false
			for _, e := range rule.except {
				skip = skip || within(s.pkg, e)
			}
			if skip {
				continue
			}
			for _, imp := range s.imports() {
				if s.pkg == "guest/agent/boot" && imp == module+"/guest/image/modlist" {
					continue // the format of a file in the initrd: both ends share its reader
				}
				for _, banned := range rule.banned {
					if within(imp, banned) || within(imp, module+"/"+banned) {
						t.Errorf("%s imports %s, which %s may not", s.path, imp, rule.part)
					}
				}
			}
		}
	}
}

// TestDirectionNamesFolders: a row for a folder that is not there forbids nothing.
func TestDirectionNamesFolders(t *testing.T) {
	for _, rule := range direction {
		for _, folder := range slices.Concat([]string{rule.part}, rule.except, rule.banned) {
			if strings.Contains(folder, ".") {
				continue // another module
			}
			if _, err := os.Stat(filepath.Join(root, folder)); err != nil {
				t.Errorf("rule for %s: %v", rule.part, err)
			}
		}
	}
}

// TestCRITypesStayAtTheEdge: CRI types live in cri; cmd wires, and tests may look.
func TestCRITypesStayAtTheEdge(t *testing.T) {
	for _, s := range sources(t) {
		if within(s.pkg, "cri") || within(s.pkg, "test") || within(s.pkg, "cmd") || s.test() {
			continue
		}
		for _, imp := range s.imports() {
			if within(imp, "k8s.io/cri-api") || within(imp, module+"/cri") {
				t.Errorf("%s imports %s: only cri, cmd and test may", s.path, imp)
			}
		}
	}
}

// internalMay lists what single leaves may import besides.
var internalMay = map[string][]string{
	"internal/hcs":       {"github.com/containerd/errdefs"}, // kinds of what HCS answers
	"internal/account":   {"github.com/containerd/errdefs"}, // kinds, of what an image has not
	"internal/hvsock":    {"github.com/Microsoft/go-winio"}, // sockets that the runtime does not know
	"internal/etw":       {"github.com/Microsoft/go-winio"}, // writing events
	"internal/localsock": {"github.com/Microsoft/go-winio"}, // pipes, likewise
}

func TestInternalImportsLittle(t *testing.T) {
	for _, s := range sources(t) {
		if !within(s.pkg, "internal") || s.test() {
			continue
		}
		for _, imp := range s.imports() {
			std := !strings.Contains(strings.SplitN(imp, "/", 2)[0], ".")
			if slices.ContainsFunc(internalMay[s.pkg], func(m string) bool { return within(imp, m) }) {
				continue
			}
			if !std && !within(imp, module+"/internal") && !strings.HasPrefix(imp, "golang.org/x/") {
				t.Errorf("%s imports %s: internal takes the standard library, golang.org/x and internal only", s.path, imp)
			}
		}
	}
}

func TestFileLength(t *testing.T) {
	const limit = 400
	for _, s := range sources(t) {
		if s.generated() {
			continue
		}
		n := strings.Count(s.text, "\n")
		allowed := limit
		if s.test() {
			allowed = 2 * limit // tables
		}
		if n > allowed {
			t.Errorf("%s has %d lines, over %d: split it by concept", s.path, n, allowed)
		}
	}
}

func TestOnePackageComment(t *testing.T) {
	comments := map[string][]string{}
	for _, s := range sources(t) {
		if s.test() {
			continue
		}
		if _, seen := comments[s.pkg]; !seen {
			comments[s.pkg] = nil
		}
		if s.file.Doc != nil && !s.generated() {
			comments[s.pkg] = append(comments[s.pkg], s.path)
		}
	}
	for pkg, files := range comments {
		if len(files) != 1 {
			t.Errorf("package %s has %d package comments, want one: %v", pkg, len(files), files)
		}
	}
}

var buildTag = regexp.MustCompile(`(?m)^//go:build (.*)$`)

// TestBuildTags: what differs by system is in files named for it; a tag may only say
// "not those" for their twin, or a system that a suffix cannot name.
func TestBuildTags(t *testing.T) {
	allowed := map[string]bool{"!linux": true, "!windows": true, "linux": true, "windows": true, "!linux && !windows": true, "unix": true, "!unix": true, "linux || windows": true}
	for _, s := range sources(t) {
		m := buildTag.FindStringSubmatch(s.text)
		if m == nil {
			continue
		}
		if within(s.pkg, "guest/agent") && m[1] == "linux" {
			continue // the agent is a Linux program: its tag says so once a file
		}
		if !allowed[m[1]] {
			t.Errorf("%s has the build tag %q", s.path, m[1])
		}
		base := strings.TrimSuffix(filepath.Base(s.path), "_test.go")
		base = strings.TrimSuffix(base, ".go")
		if !strings.HasSuffix(base, "_linux") && !strings.HasSuffix(base, "_windows") && !strings.HasSuffix(base, "_other") && !strings.HasSuffix(base, "_unix") && base != "main" {
			t.Errorf("%s has a build tag, but its name does not say so", s.path)
		}
	}
}

func TestNoGOOSInLogic(t *testing.T) {
	runtimeGOOS := regexp.MustCompile(`runtime\.GOOS\s*[!=]=|switch runtime\.GOOS`)
	for _, s := range sources(t) {
		if runtimeGOOS.MatchString(s.text) && s.pkg != "test/policy" {
			t.Errorf("%s branches on runtime.GOOS: use _linux.go and _windows.go twins", s.path)
		}
	}
}

func TestGoMod(t *testing.T) {
	text, err := os.ReadFile(root + "/go.mod")
	if err != nil {
		t.Fatal(err)
	}
	if regexp.MustCompile(`(?m)^replace `).Match(text) {
		t.Error("go.mod has a replace")
	}
	decisions, err := os.ReadFile(root + "/docs/decisions/0001-dependencies.md")
	if err != nil {
		t.Fatal(err)
	}
	direct := 0
	for _, line := range strings.Split(string(text), "\n") {
		f := strings.Fields(strings.TrimPrefix(strings.TrimSpace(line), "require "))
		if len(f) < 2 || !strings.HasPrefix(f[1], "v") || strings.Contains(line, "// indirect") {
			continue
		}
		direct++
		if !strings.Contains(string(decisions), f[0]) {
			t.Errorf("docs/decisions/0001-dependencies.md has no line for %s", f[0])
		}
	}
	if direct == 0 || direct >= 40 {
		t.Errorf("%d direct dependencies, want 1 to 39", direct)
	}
}
