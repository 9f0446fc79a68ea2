package e2e

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/porthole-run/porthole/test/harness"
)

// shimPIDs returns the process ids of a server's shims.
func shimPIDs(t *testing.T, s *server) []int {
	t.Helper()
	pids, err := s.Shims("")
	if err != nil {
		t.Fatal(err)
	}
	return pids
}

// vmPIDs returns the process ids of a server's QEMUs.
func vmPIDs(t *testing.T, s *server) []int {
	t.Helper()
	pids, err := s.VMs("")
	if err != nil {
		t.Fatal(err)
	}
	return pids
}

// hostState counts what pods take from the host.
func hostState(t *testing.T) map[string]int {
	t.Helper()
	m := map[string]int{}
	all, err := harness.Processes()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range all {
		switch {
		case strings.Contains(p.Args[0], "qemu-system"):
			m["qemu"]++
		case p.IsShim():
			m["shim"]++
		}
	}
	// Bridges stay, as CNI's plugin leaves them.
	dev, err := os.ReadFile("/proc/net/dev")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(dev)) {
		if name, _, ok := strings.Cut(strings.TrimSpace(line), ":"); ok && !strings.HasPrefix(name, "porthole") {
			m["link"]++
		}
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(mounts)) {
		if strings.Contains(line, "/pe2e") { // other mounts come and go without us
			m["mounts"]++
		}
	}
	return m
}

// leftovers lists what a server without pods should not have in its folders.
func leftovers(t *testing.T, s *server) (left []string) {
	t.Helper()
	for _, dir := range []string{
		filepath.Join(s.State, "vm"), filepath.Join(s.State, "netns"),
		filepath.Join(s.Root, "sandboxes"), filepath.Join(s.Root, "network", "*"),
		filepath.Join(s.Dir, "ipam", "networks", "*"),
	} {
		paths, err := filepath.Glob(filepath.Join(dir, "*"))
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range paths {
			// The address plugin keeps a lock and its place.
			if name := filepath.Base(path); name != "lock" && !strings.HasPrefix(name, "last_reserved_ip") {
				left = append(left, path)
			}
		}
	}
	return left
}

func nothingLeft(t *testing.T, s *server) {
	t.Helper()
	for _, path := range leftovers(t, s) {
		t.Errorf("left behind: %s", path)
	}
}

func sameHost(t *testing.T, before, after map[string]int) {
	t.Helper()
	// A template that is made meanwhile has a VM, too, for some seconds.
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(15 * time.Second); !maps.Equal(before, after) && time.Now().Before(end); after = hostState(t) {
		<-tick.C
	}
	for _, what := range []string{"qemu", "shim", "link", "mounts"} {
		if before[what] != after[what] {
			t.Errorf("%s: %d before, %d after", what, before[what], after[what])
		}
	}
}

// brokenGuest copies the guest bundle with an initrd that has no agent: the kernel
// panics for want of an init.
func brokenGuest(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	// An empty newc archive: its trailer alone.
	empty := "070701" + strings.Repeat("00000000", 11) + "0000000B" + "00000000" + "TRAILER!!!\x00"
	empty += strings.Repeat("\x00", 512-len(empty))
	kernel, err := os.ReadFile(filepath.Join(env.guest, "vmlinux"))
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(env.guest, "manifest.json"))
	if err != nil {
		t.Fatal(err)
	}
	var manifest map[string]any
	if err := json.Unmarshal(text, &manifest); err != nil {
		t.Fatal(err)
	}
	for _, f := range manifest["files"].([]any) {
		if f := f.(map[string]any); f["name"] == "initrd" {
			f["sha256"], f["size"] = fmt.Sprintf("%x", sha256.Sum256([]byte(empty))), len(empty)
		}
	}
	if text, err = json.Marshal(manifest); err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string][]byte{"vmlinux": kernel, "initrd": []byte(empty), "manifest.json": text} {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func killAll(t *testing.T, pids []int) {
	t.Helper()
	if len(pids) == 0 {
		t.Fatal("no process to kill")
	}
	for _, pid := range pids {
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
	}
}
