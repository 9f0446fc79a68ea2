package cgroup

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/google/go-cmp/cmp"
)

// host is control group file systems in a folder. It does what the kernel does: new groups
// have files, and those of cpusets are empty; groups with processes or groups in them stay.
type host struct {
	*FS
	root  string
	marks map[string]bool
	fail  map[string]error // by the base name of the group that is marked
}

const v1Info = `30 25 0:26 / %[1]s/cpu,cpuacct rw,nosuid - cgroup cgroup rw,cpu,cpuacct
31 25 0:27 / %[1]s/cpuset rw,nosuid shared:9 - cgroup cgroup rw,cpuset
32 25 0:28 / %[1]s/memory rw,nosuid - cgroup cgroup rw,memory
33 25 0:29 / %[1]s/systemd rw,nosuid - cgroup cgroup rw,xattr,name=systemd
34 25 0:30 / %[1]s/unified rw,nosuid - cgroup2 cgroup2 rw
35 25 0:26 / %[1]s/again rw,nosuid - cgroup cgroup rw,cpu,cpuacct
36 25 0:31 / /tmp rw - tmpfs tmpfs rw
`

const v2Info = `30 25 0:26 / %[1]s/v2 rw,nosuid - cgroup2 cgroup2 rw,nsdelegate
`

func newHost(t *testing.T, info string) *host {
	t.Helper()
	root := t.TempDir()
	h := &host{root: root, marks: map[string]bool{}, fail: map[string]error{}}
	h.FS = &FS{hierarchies: parseMounts(fmt.Sprintf(info, root)), kernel: h}
	for _, x := range h.hierarchies {
		h.populate(x.dir, "0-3")
	}
	return h
}

// populate makes what the kernel has in a group.
func (h *host) populate(dir, cpus string) {
	must(os.MkdirAll(dir, 0o755))
	for name, text := range map[string]string{"cgroup.procs": "", "cpuset.cpus": cpus, "cpuset.mems": "0",
		"memory.limit_in_bytes": "9223372036854771712\n", "memory.max": "max\n"} {
		if cpus == "" && name == "cpuset.mems" {
			text = "\n"
		}
		must(os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644))
	}
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}

// mark is called for each group that is made.
func (h *host) mark(dir string) error {
	h.populate(dir, "")
	h.marks[dir] = true
	return h.fail[filepath.Base(dir)]
}
func (h *host) marked(dir string) bool { return h.marks[dir] }
func (h *host) remove(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	procs, _ := os.ReadFile(filepath.Join(dir, "cgroup.procs"))
	if len(procs) > 0 || slices.ContainsFunc(entries, fs.DirEntry.IsDir) {
		return &os.PathError{Op: "rmdir", Path: dir, Err: syscall.EBUSY}
	}
	delete(h.marks, dir)
	return os.RemoveAll(dir)
}

// String lists the groups, with * for ours and what is in cpusets.
func (h *host) String() string {
	var lines []string
	must(filepath.WalkDir(h.root, func(p string, d fs.DirEntry, err error) error {
		rel, _ := filepath.Rel(h.root, p)
		if err != nil || !d.IsDir() || strings.Count(rel, "/") == 0 {
			return err
		}
		if h.marks[p] {
			rel += " *"
		}
		if strings.HasPrefix(rel, "cpuset/") {
			cpus, _ := os.ReadFile(filepath.Join(p, "cpuset.cpus"))
			rel += " " + string(cpus)
		}
		lines = append(lines, rel)
		return nil
	}))
	return strings.Join(lines, "\n")
}

func TestParseMounts(t *testing.T) {
	for name, tt := range map[string]struct{ info, want string }{
		"v1":     {v1Info, "/r/cpu,cpuacct 1 [cpu cpuacct]; /r/cpuset 1 [cpuset]; /r/memory 1 [memory]; /r/systemd 1 [name=systemd]"},
		"v2":     {v2Info, "/r/v2 2 []"},
		"hybrid": {"1 2 0:1 / /s rw - cgroup cgroup rw,name=systemd\n2 2 0:2 / /u\\040x rw - cgroup2 c rw\n%.0[1]s", "/u x 2 []"},
		"none":   {"1 2 0:1 / / rw - ext4 /dev/sda rw\nnonsense\n%.0[1]s", ""},
	} {
		var got []string
		for _, h := range parseMounts(fmt.Sprintf(tt.info, "/r")) {
			got = append(got, fmt.Sprintf("%s %d %v", h.dir, h.version, h.controllers))
		}
		if diff := cmp.Diff(tt.want, strings.Join(got, "; ")); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

func FuzzParseMounts(f *testing.F) {
	f.Add(fmt.Sprintf(v1Info, "/sys"))
	f.Add("a b c / d - cgroup x y")
	f.Fuzz(func(t *testing.T, s string) {
		for _, h := range parseMounts(s) {
			if h.version != 1 && h.version != 2 {
				t.Errorf("version %d", h.version)
			}
		}
	})
}

func TestHome(t *testing.T) {
	h := newHost(t, v1Info)
	got := h.home("5:cpu,cpuacct:/a\n4:cpuset:/\n3:memory:/system.slice/x\n2:devices:/d\n1:name=systemd:/s\n0::/u\n")
	for i := range got {
		got[i] = strings.TrimPrefix(got[i], h.root)
	}
	if diff := cmp.Diff([]string{"/cpu,cpuacct/a", "/cpuset", "/memory/system.slice/x", "/systemd/s"}, got); diff != "" {
		t.Errorf("v1 (-want +got):\n%s", diff)
	}
	two := newHost(t, v2Info)
	if got := two.home("0::/system.slice/porthole.service\n"); len(got) != 1 || got[0] != two.root+"/v2/system.slice/porthole.service" {
		t.Errorf("v2: %v", got)
	}
}

func TestClean(t *testing.T) {
	for in, want := range map[string]string{
		"/kubepods/pod1":                     "/kubepods/pod1",
		"kubepods//pod1/":                    "/kubepods/pod1",
		"kubepods-burstable-pod1_2.slice":    "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod1_2.slice",
		"system.slice":                       "/system.slice",
		"-.slice":                            "/",
		"/kubepods.slice/kubepods-pod.slice": "/kubepods.slice/kubepods-pod.slice",
	} {
		if got, err := Clean(in); err != nil || got != want {
			t.Errorf("Clean(%q) = %q, %v; want %q", in, got, err, want)
		}
	}
	for _, in := range []string{"", "/a/../b", "a\nb", "a\x00", "a--b.slice", ".slice", "-a.slice", "/a/cgroup.procs", strings.Repeat("a", 256), strings.Repeat("/a", 3000)} {
		if got, err := Clean(in); !errdefs.IsInvalidArgument(err) {
			t.Errorf("Clean(%.20q) = %q, %v; want InvalidArgument", in, got, err)
		}
	}
}

func FuzzClean(f *testing.F) {
	for _, s := range []string{"/a/b", "a-b.slice", "..", "//", "a/./b"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got, err := Clean(s)
		if err == nil && (!strings.HasPrefix(got, "/") || slices.Contains(strings.Split(got, "/"), "..") || got != filepath.Clean(got)) {
			t.Errorf("Clean(%q) = %q", s, got)
		}
	})
}

func TestMakeAndRemove(t *testing.T) {
	h := newHost(t, v1Info)
	// A kubelet made the parent, though not in each hierarchy.
	for _, dir := range []string{"cpu,cpuacct/kube", "memory/kube", "memory/kube/pod"} {
		h.populate(filepath.Join(h.root, dir), "")
	}
	must(os.WriteFile(filepath.Join(h.root, "memory/kube/pod/memory.limit_in_bytes"), []byte("1048576\n"), 0o644))
	before := h.String()
	one, err := h.Make(t.Context(), "1", "/kube/pod")
	if err != nil {
		t.Fatal(err)
	}
	if one.MemoryLimit != 1<<20 || len(one.Dirs) != 4 || one.Dirs[2] != h.root+"/memory/kube/pod/porthole-1" {
		t.Errorf("Make = %+v", one)
	}
	if _, err := h.Make(t.Context(), "2", "/kube/pod"); err != nil {
		t.Fatal(err)
	}
	want := `cpu,cpuacct/kube
cpu,cpuacct/kube/pod *
cpu,cpuacct/kube/pod/porthole-1 *
cpu,cpuacct/kube/pod/porthole-2 *
cpuset/kube * 0-3
cpuset/kube/pod * 0-3
cpuset/kube/pod/porthole-1 * 0-3
cpuset/kube/pod/porthole-2 * 0-3
memory/kube
memory/kube/pod
memory/kube/pod/porthole-1 *
memory/kube/pod/porthole-2 *
systemd/kube *
systemd/kube/pod *
systemd/kube/pod/porthole-1 *
systemd/kube/pod/porthole-2 *`
	if diff := cmp.Diff(want, h.String()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	for _, id := range []string{"1", "1", "2", "3"} {
		parent := "/kube/pod"
		if id == "2" {
			parent = "" // as for a pod whose record is broken
		}
		if err := h.Remove(t.Context(), id, parent); err != nil {
			t.Errorf("Remove(%s): %v", id, err)
		}
	}
	// What was there before stays.
	if diff := cmp.Diff(before, h.String()); diff != "" {
		t.Errorf("after removal (-want +got):\n%s", diff)
	}
}

func TestV2(t *testing.T) {
	h := newHost(t, v2Info)
	g, err := h.Make(t.Context(), "1", "kubepods-pod1.slice")
	if err != nil {
		t.Fatal(err)
	}
	if g.MemoryLimit != -1 {
		t.Errorf("limit of a group without one = %d", g.MemoryLimit)
	}
	must(os.WriteFile(filepath.Join(h.root, "v2/kubepods.slice/kubepods-pod1.slice/memory.max"), []byte("4096\n"), 0o644))
	if g, err = h.Make(t.Context(), "2", "kubepods-pod1.slice"); err != nil || g.MemoryLimit != 4096 {
		t.Errorf("Make = %+v, %v; want a limit of 4096", g, err)
	}
	// No controller is enabled for children: those of a pod's parent are its owner's.
	if _, err := os.Stat(filepath.Join(h.root, "v2/kubepods.slice/cgroup.subtree_control")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("subtree_control: %v", err)
	}
	for _, id := range []string{"1", "2"} {
		if err := h.Remove(t.Context(), id, "kubepods-pod1.slice"); err != nil {
			t.Error(err)
		}
	}
	if got := h.String(); got != "" {
		t.Errorf("left:\n%s", got)
	}
}

// TestMakeFails: whatever cannot be made or marked, nothing is left.
func TestMakeFails(t *testing.T) {
	for name, breakIt := range map[string]func(h *host){
		"mark-parent": func(h *host) { h.fail["new"] = errors.New("no") },
		"mark-group":  func(h *host) { h.fail["porthole-1"] = errors.New("no") },
		"last": func(h *host) {
			must(os.RemoveAll(filepath.Join(h.root, "systemd")))
			must(os.WriteFile(filepath.Join(h.root, "systemd"), nil, 0o600))
		},
		"file": func(h *host) { must(os.WriteFile(filepath.Join(h.root, "memory/new"), nil, 0o600)) },
		"cpus": func(h *host) { must(os.Remove(filepath.Join(h.root, "cpuset/cpuset.cpus"))) },
	} {
		t.Run(name, func(t *testing.T) {
			h := newHost(t, v1Info)
			breakIt(h)
			if _, err := h.Make(t.Context(), "1", "/new"); err == nil || !strings.Contains(err.Error(), "porthole-1") {
				t.Errorf("Make = %v, want an error that names the group", err)
			}
			clear(h.fail)
			if got := h.String(); got != "" {
				t.Errorf("left:\n%s", got)
			}
		})
	}
	h := newHost(t, v1Info)
	if _, err := h.Make(t.Context(), "1", "../x"); !errdefs.IsInvalidArgument(err) {
		t.Errorf("Make = %v, want InvalidArgument", err)
	}
}

func TestRemove_Waits(t *testing.T) {
	h := newHost(t, v2Info)
	g, err := h.Make(t.Context(), "1", "/p")
	if err != nil {
		t.Fatal(err)
	}
	procs := filepath.Join(g.Dirs[0], "cgroup.procs")
	must(os.WriteFile(procs, []byte("42\n"), 0o644))
	ctx, cancel := context.WithTimeout(t.Context(), 5*removePause)
	defer cancel()
	if err := h.Remove(ctx, "1", "/p"); !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "42") {
		t.Errorf("Remove of a group with a process = %v, want that it names it", err)
	}
	time.AfterFunc(3*removePause, func() { must(os.WriteFile(procs, nil, 0o644)) })
	if err := h.Remove(t.Context(), "1", "/p"); err != nil {
		t.Errorf("Remove once it has ended = %v", err)
	}
	if got := h.String(); got != "" {
		t.Errorf("left:\n%s", got)
	}
}

func TestEnter(t *testing.T) {
	h := newHost(t, v1Info)
	g, err := h.Make(t.Context(), "1", "/p")
	if err != nil {
		t.Fatal(err)
	}
	if err := h.Enter(t.Context(), g, []int{42}); err != nil {
		t.Fatal(err)
	}
	for _, dir := range g.Dirs {
		if b, err := os.ReadFile(filepath.Join(dir, "cgroup.procs")); err != nil || string(b) != "42" {
			t.Errorf("%s: %q, %v", dir, b, err)
		}
	}
	must(os.RemoveAll(g.Dirs[1]))
	if err := h.Enter(t.Context(), g, []int{43}); !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "43") {
		t.Errorf("Enter of a group that is gone = %v", err)
	}
}

func TestJoin(t *testing.T) {
	h := newHost(t, v1Info)
	g, err := h.Make(t.Context(), "1", "/p")
	if err != nil {
		t.Fatal(err)
	}
	if err := Join(g.Dirs); err != nil {
		t.Fatal(err)
	}
	for _, dir := range g.Dirs {
		if b, err := os.ReadFile(filepath.Join(dir, "cgroup.procs")); err != nil || string(b) != "0" {
			t.Errorf("%s: %q, %v", dir, b, err)
		}
	}
	if err := Join([]string{filepath.Join(h.root, "none")}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Join of a group that is gone = %v", err)
	}
}
