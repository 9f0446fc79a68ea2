package network

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/containernetworking/cni/pkg/types"
)

func writePlugin(t *testing.T, dir, name, script string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	// Written under another name: a file that is open for writing cannot be run.
	if err := os.WriteFile(path+".new", []byte("#!/bin/sh\n"+script+"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestExecPlugin(t *testing.T) {
	tests := []struct {
		name, script, command string
		err                   []string // parts of the error; none: success
	}{
		{"result", `echo '{"cniVersion":"1.0.0"}'`, "ADD", nil},
		{"error_by_the_book", `echo '{"cniVersion":"1.0.0","code":7,"msg":"bad subnet","details":"10.0.0.0/99"}'; exit 1`, "ADD", []string{"plug: bad subnet; 10.0.0.0/99 (CNI code 7)"}},
		{"error_on_stderr", `echo 'no such device' >&2; exit 3`, "ADD", []string{"plug: exit status 3", "no such device"}},
		{"error_without_message", `exit 1`, "ADD", []string{"plug: exit status 1, without a message"}},
		{"rubbish", `echo rubbish`, "ADD", []string{"plug printed no result", "rubbish"}},
		{"null", `echo null`, "ADD", []string{"plug printed no result"}},
		{"null_interface", `echo '{"cniVersion":"0.4.0","interfaces":[null]}'`, "ADD", []string{"null in a list"}},
		{"nothing", ``, "ADD", []string{"plug printed no result"}},
		{"del_says_nothing", ``, "DEL", nil},
		{"crash", `kill -SEGV $$`, "ADD", []string{"plug: signal: segmentation fault"}},
		{"flood", `head -c 2000000 /dev/zero`, "ADD", []string{"more than 1048576 bytes"}},
		{"not_read", `exit 1`, "ADD", []string{"exit status 1"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			path := writePlugin(t, t.TempDir(), "plug", tt.script)
			_, err := new(pluginExec).ExecPlugin(t.Context(), path, []byte("{}"), []string{"PATH=/usr/bin:/bin", "CNI_COMMAND=" + tt.command})
			if tt.err == nil && err != nil {
				t.Errorf("ExecPlugin = %v", err)
			}
			for _, part := range tt.err {
				if err == nil || !strings.Contains(err.Error(), part) {
					t.Errorf("ExecPlugin = %v, want %q", err, part)
				}
			}
		})
	}
	_, err := new(pluginExec).ExecPlugin(t.Context(), writePlugin(t, t.TempDir(), "plug", tests[1].script), nil, []string{"PATH=/usr/bin:/bin"})
	if said, ok := errors.AsType[*types.Error](err); !ok || said.Code != 7 {
		t.Errorf("ExecPlugin = %#v, want a CNI error with its code", err)
	}
}

// TestExecPlugin_Hangs checks that a hanging plugin is killed with what it started,
// though that holds its output open.
func TestExecPlugin_Hangs(t *testing.T) {
	dir := t.TempDir()
	pidFile := filepath.Join(dir, "pid")
	path := writePlugin(t, dir, "plug", fmt.Sprintf("sleep 1000 & echo $! > %s.new; mv %s.new %s; wait", pidFile, pidFile, pidFile))
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	done := make(chan error)
	go func() {
		_, err := new(pluginExec).ExecPlugin(ctx, path, nil, []string{"PATH=/usr/bin:/bin", "CNI_COMMAND=ADD"})
		done <- err
	}()
	var pid int
	for tick := time.NewTicker(10 * time.Millisecond); ; <-tick.C {
		if b, err := os.ReadFile(pidFile); err == nil {
			if _, err := fmt.Sscan(string(b), &pid); err != nil {
				t.Fatal(err)
			}
			break
		}
	}
	cancel()
	if err := <-done; err == nil {
		t.Error("ExecPlugin succeeded")
	}
	// It is killed already, but may take its time to end; then PID 1 reaps it, or it
	// stays a zombie where that does not.
	deadline := time.After(5 * time.Second)
	for tick := time.NewTicker(10 * time.Millisecond); ; {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil || strings.Contains(string(stat), ") Z ") {
			return
		}
		select {
		case <-tick.C:
		case <-deadline:
			_ = syscall.Kill(pid, syscall.SIGKILL)
			t.Fatalf("the plugin's child still runs: %s", stat)
		}
	}
}
