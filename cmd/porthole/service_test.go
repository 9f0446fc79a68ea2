package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/porthole-run/porthole/cmd/porthole/config"
)

// fakeEvents keeps events by id, with the first line of their text.
type fakeEvents struct {
	list []string
	err  error
}

func (f *fakeEvents) add(kind string, id uint32, text string) error {
	line, _, _ := strings.Cut(text, "\n")
	f.list = append(f.list, fmt.Sprintf("%s %d %s", kind, id, line))
	return f.err
}

func (f *fakeEvents) Info(id uint32, text string) error    { return f.add("info", id, text) }
func (f *fakeEvents) Warning(id uint32, text string) error { return f.add("warning", id, text) }
func (f *fakeEvents) Error(id uint32, text string) error   { return f.add("error", id, text) }
func (f *fakeEvents) Close() error                         { return nil }

func TestLifeCycle(t *testing.T) {
	fails := errors.New("no bundle")
	starts := "info 1 Porthole " + build().Version + " starts."
	for name, tt := range map[string]struct {
		serve func(ready func()) error
		err   error
		want  []string
		ready int
	}{
		"ends": {func(ready func()) error { ready(); return nil }, nil,
			[]string{starts, "info 2 Porthole serves the kubelet.", "info 3 Porthole ends as it was asked to. Pods go on."}, 1},
		"fails_at_start": {func(func()) error { return fails }, nil, []string{starts, "error 4 Porthole ends: no bundle"}, 0},
		"fails_later": {func(ready func()) error { ready(); return fails }, nil,
			[]string{starts, "info 2 Porthole serves the kubelet.", "error 4 Porthole ends: no bundle"}, 1},
		"no_event_log": {func(ready func()) error { ready(); return nil }, errors.New("full"),
			[]string{starts, "info 2 Porthole serves the kubelet.", "info 3 Porthole ends as it was asked to. Pods go on."}, 1},
	} {
		t.Run(name, func(t *testing.T) {
			e := &fakeEvents{err: tt.err}
			ready := 0
			err := lifeCycle(e, func() { ready++ }, tt.serve)
			if failed := strings.HasPrefix(name, "fails"); failed != errors.Is(err, fails) || !failed && err != nil {
				t.Errorf("lifeCycle = %v", err)
			}
			if diff := cmp.Diff(tt.want, e.list); diff != "" || ready != tt.ready {
				t.Errorf("ready %d times, events (-want +got):\n%s", ready, diff)
			}
		})
	}
}

// TestServiceCommands_Elsewhere: a bad configuration is refused before Windows is asked,
// and what only Windows has is said to be so.
func TestServiceCommands_Elsewhere(t *testing.T) {
	bad := filepath.Join(t.TempDir(), "bad.toml")
	if err := os.WriteFile(bad, []byte("rot = 1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := invoke(t, "service", "install", "--config", bad); exitCode(err) != exitConfig {
		t.Errorf("service install with a bad configuration = %v", err)
	}
	if _, err := invoke(t, "service"); exitCode(err) != exitUsage || !strings.Contains(err.Error(), "install, uninstall, start, stop, status") {
		t.Errorf("service = %v", err)
	}
	if supported() != nil {
		return // there may be a service here
	}
	for _, verb := range []string{"install", "uninstall", "start", "stop", "status", "run"} {
		if _, err := invoke(t, "service", verb); exitCode(err) != exitUnsupported {
			t.Errorf("service %s = %v, want exit code %d", verb, err, exitUnsupported)
		}
	}
}

func TestServiceState(t *testing.T) {
	for want, s := range map[string]serviceState{
		"not installed":                    {},
		"running, process 7\nporthole.exe": {Installed: true, Status: "running", PID: 7, Automatic: true, Command: "porthole.exe"},
		"stopped, last exit code 3; it does not start with the system\nx": {Installed: true, Status: "stopped", ExitCode: 3, Command: "x"},
	} {
		if got := s.String(); got != want {
			t.Errorf("String = %q, want %q", got, want)
		}
	}
}

func TestElevated(t *testing.T) {
	err := elevated(fmt.Errorf("connect: %w", fs.ErrPermission))
	if !errors.Is(err, fs.ErrPermission) || !strings.Contains(err.Error(), "elevated prompt") {
		t.Errorf("elevated = %v", err)
	}
	if err := elevated(fs.ErrClosed); err != fs.ErrClosed {
		t.Errorf("elevated = %v", err)
	}
}

// TestOpenLog_File writes lines as JSON into the configured file, and rotates it.
func TestOpenLog_File(t *testing.T) {
	c := config.Default().Log
	c.File, c.MaxSize, c.MaxFiles = filepath.Join(t.TempDir(), "d", "porthole.log"), 300, 1
	var elsewhere bytes.Buffer
	log, closeLog, err := openLog(c, &elsewhere)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 9 {
		log.Info("a line", "n", i)
	}
	closeLog()
	lines := 0
	for _, name := range []string{c.File, c.File + ".1"} {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(data)) {
			var v struct{ Msg string }
			if err := json.Unmarshal([]byte(line), &v); err != nil || v.Msg != "a line" {
				t.Errorf("%s: %q: %v", name, line, err)
			}
			lines++
		}
	}
	if lines == 0 || lines >= 9 || elsewhere.Len() > 0 {
		t.Errorf("%d lines are kept of 9, and %q is written elsewhere", lines, &elsewhere)
	}
}
