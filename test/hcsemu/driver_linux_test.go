package hcsemu

import (
	"bytes"
	"context"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/porthole-run/porthole/internal/testneed"
	"github.com/porthole-run/porthole/sandbox/drivertest"
	"github.com/porthole-run/porthole/test/wine"
)

// cacheDir is where prefix and DLLs are kept.
func cacheDir(t testing.TB) string {
	t.Helper()
	dir := os.Getenv("PORTHOLE_CACHE")
	if dir == "" {
		user, err := os.UserCacheDir()
		if err != nil {
			t.Fatal(err)
		}
		dir = filepath.Join(user, "porthole")
	}
	return filepath.Join(dir, "wine")
}

// newLane makes a prefix with the emulator behind it.
func newLane(t *testing.T) (*Service, *wine.Prefix) {
	t.Helper()
	testneed.Within(t, os.Getenv("PORTHOLE_HCSEMU") != "", "make test-hcsemu, which sets PORTHOLE_HCSEMU")
	testneed.Root(t)
	testneed.File(t, "/usr/lib/wine/wine64", "/dev/net/tun")
	testneed.Program(t, "x86_64-w64-mingw32-gcc", "qemu-system-x86_64", "qemu-img")
	cache := cacheDir(t)
	p, err := NewPrefix(t.Context(), cache, filepath.Join(t.TempDir(), "prefix"))
	if err != nil {
		t.Fatal(err)
	}
	s, err := Start(Config{Drives: PrefixDrives(p.Dir()), Log: slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug}))})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := p.End(ctx); err != nil {
			t.Error(err)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	if err := s.Install(t.Context(), cache, p); err != nil {
		t.Fatal(err)
	}
	return s, p
}

// TestDriver runs the suite that all VM drivers pass, in a Windows program under Wine.
func TestDriver(t *testing.T) {
	s, p := newLane(t)
	dir := t.TempDir()
	kernel, initrd := drivertest.Guest(t, dir)
	program := filepath.Join(dir, "hcsvm.test.exe")
	build := exec.Command("go", "test", "-c", "-o", program, "github.com/porthole-run/porthole/sandbox/hcsvm")
	build.Env = append(os.Environ(), "GOOS=windows", "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 7*time.Minute)
	defer cancel()
	run := p.Command(ctx, program, "-test.v", "-test.run", "^TestSuite_Host$")
	run.Dir = dir
	run.Env = append(run.Env, "PORTHOLE_TEST_STRICT=1", "PORTHOLE_HCS_KERNEL="+wine.Windows(kernel), "PORTHOLE_HCS_INITRD="+wine.Windows(initrd))
	out, err := run.CombinedOutput()
	t.Logf("%s", out)
	if err != nil || !bytes.Contains(out, []byte("\nPASS")) {
		t.Errorf("suite under Wine: %v", err)
	}
	if m := s.Misuse(); len(m) > 0 {
		t.Errorf("misuse of HCS:\n%s", strings.Join(m, "\n"))
	}
	if left := s.String(); left != "" {
		t.Errorf("left behind:\n%s", left)
	}
}
