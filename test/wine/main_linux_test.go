package wine

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/porthole-run/porthole/internal/testneed"
)

// env is what all tests share.
var env struct {
	bin   string // the programs for Windows; "": the tests do not run
	cache string
}

func TestMain(m *testing.M) {
	env.bin = os.Getenv("PORTHOLE_WINE")
	env.cache = os.Getenv("PORTHOLE_CACHE")
	if env.cache == "" {
		dir, err := os.UserCacheDir()
		if err != nil {
			fmt.Fprintln(os.Stderr, "wine:", err)
			os.Exit(1)
		}
		env.cache = filepath.Join(dir, "porthole")
	}
	env.cache = filepath.Join(env.cache, "wine")
	os.Exit(m.Run())
}

// machine is a prefix of one test.
type machine struct {
	*Prefix
	t *testing.T
}

// newMachine makes a prefix for a test. Where the lane runs, a Wine that is missing is a
// failure.
func newMachine(t *testing.T, overrides ...string) *machine {
	t.Helper()
	testneed.Within(t, env.bin != "", "make test-wine, which sets PORTHOLE_WINE")
	dir, err := os.MkdirTemp("", "wine")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	p, err := New(t.Context(), env.cache, filepath.Join(dir, "prefix"), overrides...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := p.End(ctx); err != nil {
			t.Error(err)
		}
	})
	return &machine{p, t}
}

// Bounds for what takes a second or two on a machine that does nothing else.
const (
	commandTimeout = time.Minute // one program that is to end by itself
	patience       = time.Minute // what is waited for
)

// run runs a program of the lane to its end, and returns what it printed and its exit code.
func (m *machine) run(program string, args ...string) (stdout, stderr string, code int) {
	m.t.Helper()
	ctx, cancel := context.WithTimeout(m.t.Context(), commandTimeout)
	defer cancel()
	cmd := m.Command(ctx, filepath.Join(env.bin, program), args...)
	dir := m.t.TempDir()
	out, errs := create(m.t, dir, "out"), create(m.t, dir, "err")
	defer out.Close()
	defer errs.Close()
	cmd.Stdout, cmd.Stderr = out, errs
	err := cmd.Run()
	stdout, stderr = read(m.t, out), read(m.t, errs)
	if _, ended := err.(*exec.ExitError); err != nil && !ended || ctx.Err() != nil {
		m.t.Fatalf("%s %s: %v, %v\n%s%s", program, strings.Join(args, " "), err, ctx.Err(), stdout, stderr)
	}
	return stdout, stderr, cmd.ProcessState.ExitCode()
}

func create(t *testing.T, dir, name string) *os.File {
	t.Helper()
	f, err := os.Create(filepath.Join(dir, name))
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// read is what a program wrote to a file, with the ends of its lines as they are here.
func read(t *testing.T, f *os.File) string {
	t.Helper()
	b, err := os.ReadFile(f.Name())
	if err != nil {
		t.Fatal(err)
	}
	return strings.ReplaceAll(string(b), "\r\n", "\n")
}

// must is run of a command that succeeds; it returns what that printed.
func (m *machine) must(program string, args ...string) string {
	m.t.Helper()
	out, errs, code := m.run(program, args...)
	if code != 0 {
		m.t.Fatalf("%s %s: exit code %d\n%s%s", program, strings.Join(args, " "), code, out, errs)
	}
	return out
}

// fails is run of a command that ends with a code, and all of the words in what it says.
func (m *machine) fails(want int, words []string, program string, args ...string) {
	m.t.Helper()
	out, errs, code := m.run(program, args...)
	if code != want {
		m.t.Errorf("%s %s: exit code %d, want %d\n%s%s", program, strings.Join(args, " "), code, want, out, errs)
	}
	for _, w := range words {
		if !strings.Contains(out+errs, w) {
			m.t.Errorf("%s %s says, without %q:\n%s%s", program, strings.Join(args, " "), w, out, errs)
		}
	}
}

// write makes a file of this machine for programs to read, and returns its path for them.
func (m *machine) write(name, text string) string {
	m.t.Helper()
	path := filepath.Join(m.t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		m.t.Fatal(err)
	}
	return Windows(path)
}

// eventually fails the test when f does not become true in time.
func eventually(t *testing.T, what string, limit time.Duration, f func() bool) {
	t.Helper()
	over := time.After(limit)
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for !f() {
		select {
		case <-tick.C:
		case <-over:
			t.Fatalf("not within %s: %s", limit, what)
		}
	}
}
