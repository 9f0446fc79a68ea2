package cgroup

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// tree is a folder with the files of a group; the kernel's part is not there.
func tree(t *testing.T) (*FS, string) {
	t.Helper()
	root := t.TempDir()
	dir := filepath.Join(root, "pods", "p")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"cgroup.controllers": "cpu memory\n", "cgroup.subtree_control": "", "cgroup.kill": "", "cgroup.procs": "",
		"memory.events": "low 0\noom 3\noom_kill 2\noom_group_kill 1\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return New(root), dir
}

func TestFS(t *testing.T) {
	c, dir := tree(t)
	if err := c.Create("/pods/p"); err != nil {
		t.Errorf("Create of a group that is there: %v", err)
	}
	if err := c.Signal("/pods/p", unix.SIGKILL); err != nil {
		t.Error(err)
	}
	for name, want := range map[string]string{"cgroup.subtree_control": "+cpu +memory", "cgroup.kill": "1"} {
		if b, err := os.ReadFile(filepath.Join(dir, name)); err != nil || string(b) != want {
			t.Errorf("%s holds %q, %v, want %q", name, b, err, want)
		}
	}
	if n := c.OOMKills("/pods/p"); n != 2 {
		t.Errorf("OOMKills = %d, want 2", n)
	}
}

func TestFS_Gone(t *testing.T) {
	c := New(t.TempDir())
	if err := c.Kill("/x"); err != nil {
		t.Errorf("Kill = %v", err)
	}
	if err := c.Signal("/x", unix.SIGTERM); err != nil {
		t.Errorf("Signal = %v", err)
	}
	if err := c.Remove(t.Context(), "/x"); err != nil {
		t.Errorf("Remove = %v", err)
	}
	if n := c.OOMKills("/x"); n != 0 {
		t.Errorf("OOMKills = %d", n)
	}
}

func TestFS_WatchOOM(t *testing.T) {
	c, dir := tree(t)
	reports := make(chan struct{}, 8)
	if err := c.WatchOOM("/pods/p", func() { reports <- struct{}{} }); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(filepath.Join(dir, "memory.events"), os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteString("low 0\noom 4\noom_kill 3\n"); err != nil {
		t.Fatal(err)
	}
	select {
	case <-reports:
	case <-time.After(20 * time.Second):
		t.Fatal("no report of an OOM kill")
	}
}
