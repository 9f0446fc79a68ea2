package shim

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	clog "github.com/containerd/log"

	"github.com/containerd/errdefs"

	"github.com/porthole-run/porthole/internal/testneed"
	"github.com/porthole-run/porthole/sandbox"
)

// TestMain makes this binary a shim with a fake driver when it is started as one.
func TestMain(m *testing.M) {
	clog.L.Logger.SetOutput(io.Discard)
	if len(os.Args) == 4 && os.Args[1] == "shim" && os.Args[2] == "--dir" {
		if err := Main(context.Background(), os.Args[3], Parts{Driver: testDriver, Shares: noShares}); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	if len(os.Args) == 2 && os.Args[1] == "template" {
		if err := TemplateMain(context.Background(), os.Stdin, testDriver); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// noShares opens nothing.
func noShares(*slog.Logger) Shares { return closedShares{} }

type closedShares struct{}

func (closedShares) Open(context.Context, ShareSource) (Share, error) {
	return nil, errdefs.ErrNotImplemented
}
func (closedShares) Close() error { return nil }

// testSettings tell the fake driver in the shim process what to do.
type testSettings struct {
	Fail string `json:"fail"`
	Mute bool   `json:"mute"`
	Die  bool   `json:"die"`
	QEMU string `json:"qemu"` // the real driver instead, with its locks in this folder

	Clones    bool   `json:"clones"`    // the driver can clone
	FailClone string `json:"failClone"` // the step to fail of clones and templates
	MuteClone bool   `json:"muteClone"`
}

// qemuDriver makes the real driver, where there is one.
var qemuDriver func(locks string, log *slog.Logger) (sandbox.Driver, error)

func testDriver(settings json.RawMessage, log *slog.Logger) (sandbox.Driver, error) {
	var s testSettings
	if err := json.Unmarshal(settings, &s); err != nil {
		return nil, err
	}
	if s.Die {
		fmt.Fprintln(os.Stderr, "last words")
		os.Exit(3)
	}
	if s.QEMU != "" {
		return qemuDriver(s.QEMU, log)
	}
	vm := newFakeVM()
	vm.fail, vm.mute = s.Fail, s.Mute
	if s.Clones {
		c := newCloner()
		c.fakeVM, c.clone.fail, c.clone.mute = vm, s.FailClone, s.MuteClone
		return c, nil
	}
	return vm, nil
}

func newTestLauncher(t *testing.T, s testSettings) *Launcher {
	t.Helper()
	requireProcesses(t)
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	b, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	l, err := NewLauncher(LauncherConfig{
		StateDir: shortDir(t), Executable: exe, Args: []string{"shim"}, TemplateArgs: []string{"template"}, DriverConfig: b,
		Kernel: "/k", Initrd: "/i", StartTimeout: time.Second, Version: "test",
	})
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// requireProcesses skips where processes cannot be told apart: shims run on Linux so far.
func requireProcesses(t *testing.T) {
	t.Helper()
	if _, err := identify(os.Getpid()); errors.Is(err, errors.ErrUnsupported) {
		testneed.Skip(t, "Linux: %v", err)
	}
}

func launch(t *testing.T, l *Launcher) *Client {
	t.Helper()
	s, err := l.Launch(testContext(t), sandbox.ShimConfig{ID: "vm1", VCPUs: 1, MemoryMiB: 64})
	if err != nil {
		t.Fatal(err)
	}
	c := s.(*Client)
	t.Cleanup(func() { c.procs.Shim.signal(os.Kill) })
	return c
}

func checkEmpty(t *testing.T, l *Launcher) {
	t.Helper()
	entries, err := os.ReadDir(l.config.StateDir)
	if err != nil || len(entries) != 0 {
		t.Errorf("state folder holds %v, %v", entries, err)
	}
}

func TestLauncher_DaemonReconnects(t *testing.T) {
	l := newTestLauncher(t, testSettings{})
	ctx := testContext(t)
	c := launch(t, l)
	if st, err := os.Stat(c.folder.control()); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("socket: %v, %v", st.Mode(), err)
	}
	if err := c.SetupPod(ctx, podSetup()); err != nil {
		t.Fatal(err)
	}
	if _, err := c.CreateContainer(ctx, containerSetup("c1", "sleep")); err != nil {
		t.Fatal(err)
	}
	if _, err := c.StartContainer(ctx, "c1"); err != nil {
		t.Fatal(err)
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Launch(ctx, sandbox.ShimConfig{ID: "vm1", VCPUs: 1, MemoryMiB: 64}); !errdefs.IsAlreadyExists(err) {
		t.Errorf("second launch = %v", err)
	}

	l2, err := NewLauncher(l.config) // a daemon that comes after
	if err != nil {
		t.Fatal(err)
	}
	ids, err := l2.List(ctx)
	if err != nil || len(ids) != 1 || ids[0] != "vm1" {
		t.Fatalf("List = %v, %v", ids, err)
	}
	s, err := l2.Open(ctx, "vm1")
	if err != nil {
		t.Fatal(err)
	}
	state, err := s.State(ctx)
	if err != nil || len(state.Containers) != 1 || !state.Containers[0].Started {
		t.Errorf("State = %+v, %v", state, err)
	}
	var out bytes.Buffer
	if code, err := s.Exec(ctx, "c1", sandbox.ExecSpec{Args: []string{"echo", "again"}}, sandbox.Streams{Stdout: &out}); err != nil || code != 0 || out.String() != "again\n" {
		t.Errorf("Exec = %d, %v, %q", code, err, &out)
	}
	if s.Info().PID != c.Info().PID {
		t.Errorf("pid %d, then %d", c.Info().PID, s.Info().PID)
	}
	if err := s.Shutdown(ctx); err != nil {
		t.Fatal(err)
	}
	<-s.Done()
	if err := s.Err(); err != nil {
		t.Errorf("Err after Shutdown = %v", err)
	}
	if c.procs.Shim.alive() {
		t.Error("the process is still there")
	}
	checkEmpty(t, l)
	if _, err := l2.Open(ctx, "vm1"); !errdefs.IsNotFound(err) {
		t.Errorf("Open after Shutdown = %v", err)
	}
}

func TestLauncher_ShimKilled(t *testing.T) {
	l := newTestLauncher(t, testSettings{})
	ctx := testContext(t)
	c := launch(t, l)
	if err := c.procs.Shim.signal(os.Kill); err != nil {
		t.Fatal(err)
	}
	<-c.Done()
	if err := c.Err(); !errdefs.IsUnavailable(err) || !strings.Contains(err.Error(), "died unexpectedly") {
		t.Errorf("Err = %v", err)
	}
	if err := c.SetupPod(ctx, podSetup()); !errdefs.IsUnavailable(err) {
		t.Errorf("SetupPod = %v", err)
	}
	if _, err := c.Exec(ctx, "c1", sandbox.ExecSpec{Args: []string{"cat"}}, sandbox.Streams{Stdout: io.Discard}); !errdefs.IsUnavailable(err) {
		t.Errorf("Exec = %v", err)
	}
	if !waitFor(ctx, c.procs.Shim, killedWait) {
		t.Fatal("the process was not reaped")
	}
	if _, err := l.Open(ctx, "vm1"); !errdefs.IsNotFound(err) || !strings.Contains(err.Error(), "died unexpectedly") {
		t.Errorf("Open = %v", err)
	}
	checkEmpty(t, l)
	if err := c.Shutdown(ctx); err != nil {
		t.Errorf("Shutdown of a dead shim = %v", err)
	}
}

func TestLauncher_LaunchFails(t *testing.T) {
	for name, tt := range map[string]struct {
		settings testSettings
		want     string
	}{
		"driver":  {testSettings{Fail: "start vm"}, "start vm is made to fail"},
		"mute":    {testSettings{Mute: true}, "Kernel panic"},
		"process": {testSettings{Die: true}, "last words"},
	} {
		t.Run(name, func(t *testing.T) {
			l := newTestLauncher(t, tt.settings)
			_, err := l.Launch(testContext(t), sandbox.ShimConfig{ID: "vm1", VCPUs: 1, MemoryMiB: 64})
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("Launch = %v, want %q in it", err, tt.want)
			}
			checkEmpty(t, l)
		})
	}
}

func TestLauncher_LaunchIsCancelled(t *testing.T) {
	l := newTestLauncher(t, testSettings{Mute: true})
	l.config.StartTimeout = time.Hour
	ctx, cancel := context.WithTimeout(testContext(t), 300*time.Millisecond)
	defer cancel()
	if _, err := l.Launch(ctx, sandbox.ShimConfig{ID: "vm1", VCPUs: 1, MemoryMiB: 64}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Launch = %v", err)
	}
	checkEmpty(t, l)
}

func TestLauncher_BadInput(t *testing.T) {
	l := newTestLauncher(t, testSettings{})
	for _, id := range []string{"", "..", "a/b", strings.Repeat("x", 129)} {
		if _, err := l.Launch(testContext(t), sandbox.ShimConfig{ID: id, VCPUs: 1, MemoryMiB: 64}); !errdefs.IsInvalidArgument(err) {
			t.Errorf("Launch(%q) = %v", id, err)
		}
	}
	if _, err := l.Launch(testContext(t), sandbox.ShimConfig{ID: strings.Repeat("x", 100), VCPUs: 1, MemoryMiB: 64}); !errdefs.IsInvalidArgument(err) || !strings.Contains(err.Error(), "shorter") {
		t.Errorf("Launch with a long path = %v", err)
	}
	checkEmpty(t, l)
}

func TestOpen_RemovesStaleFolder(t *testing.T) {
	l := newTestLauncher(t, testSettings{})
	f := folder(filepath.Join(l.config.StateDir, "old"))
	if err := os.Mkdir(string(f), 0o700); err != nil {
		t.Fatal(err)
	}
	// A process that has our number, but began at another time: it must not be touched.
	stale := processRecord{Shim: processID{os.Getpid(), "boot/1"}, VM: processID{os.Getpid(), "boot/1"}}
	if err := writeJSON(f.process(), stale); err != nil {
		t.Fatal(err)
	}
	if ids, err := l.List(testContext(t)); err != nil || len(ids) != 1 {
		t.Errorf("List = %v, %v", ids, err)
	}
	if _, err := l.Open(testContext(t), "old"); !errdefs.IsNotFound(err) {
		t.Errorf("Open = %v", err)
	}
	checkEmpty(t, l)
}
