package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"google.golang.org/grpc/codes"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/porthole-run/porthole/internal/testneed"
)

// vmInfo is what a verbose pod status says of the pod's VM.
type vmInfo struct {
	Ungrouped string `json:"ungrouped"`
	Shim      struct {
		PID       int `json:"pid"`
		VMPID     int `json:"vmPid"`
		VCPUs     int `json:"vcpus"`
		MemoryMiB int `json:"memoryMiB"`
	} `json:"shim"`
}

func (p *pod) vmInfo() vmInfo {
	p.t.Helper()
	r, err := p.s.PodSandboxStatus(testContext(p.t), &cri.PodSandboxStatusRequest{PodSandboxId: p.id, Verbose: true})
	if err != nil {
		p.t.Fatal(err)
	}
	var info vmInfo
	if err := json.Unmarshal([]byte(r.Info["info"]), &info); err != nil {
		p.t.Fatal(err)
	}
	return info
}

// groups are a process's control groups by hierarchy, as the kernel tells: of cgroup v1,
// or of v2 where there is no other.
func groups(t *testing.T, pid int) map[string]string {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]string{}
	for line := range strings.Lines(string(b)) {
		parts := strings.SplitN(strings.TrimSpace(line), ":", 3)
		out[parts[1]] = parts[2]
	}
	if len(out) > 1 {
		delete(out, "")
	}
	return out
}

// groupDirs are the folders of a group that are there.
func groupDirs(t *testing.T, group string) (dirs []string) {
	t.Helper()
	for _, pattern := range []string{"/sys/fs/cgroup" + group, "/sys/fs/cgroup/*" + group} {
		found, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		dirs = append(dirs, found...)
	}
	return dirs
}

// parentGroup is a name for a parent that nobody else has.
func parentGroup(t *testing.T) string {
	testneed.Root(t)
	probe := fmt.Sprintf("/porthole-e2e-%d", os.Getpid())
	if err := makeGroups(probe); err != nil {
		testneed.Skip(t, "control groups of the host that can be made: %v", err)
	}
	removeGroups(t, probe)
	return fmt.Sprintf("/porthole-e2e-%d-%s", os.Getpid(), strings.ToLower(t.Name()))
}

// makeGroups makes a group in each hierarchy, as a kubelet does.
func makeGroups(group string) error {
	roots, _ := filepath.Glob("/sys/fs/cgroup/*/cgroup.procs")
	if len(roots) == 0 {
		roots = []string{"/sys/fs/cgroup/cgroup.procs"}
	}
	for _, r := range roots {
		if err := os.MkdirAll(filepath.Dir(r)+group, 0o755); err != nil {
			return err
		}
	}
	return nil
}

func removeGroups(t *testing.T, group string) {
	t.Helper()
	for _, dir := range groupDirs(t, group) {
		if err := syscall.Rmdir(dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("remove %s: %v", dir, err)
		}
	}
}

func (p *pod) wantGroup(t *testing.T, parent string) {
	t.Helper()
	info := p.vmInfo()
	for what, pid := range map[string]int{"shim": info.Shim.PID, "qemu": info.Shim.VMPID} {
		all := groups(t, pid)
		if len(all) == 0 {
			t.Errorf("%s has no control groups", what)
		}
		for controllers, group := range all {
			if want := parent + "/porthole-" + p.id; group != want {
				t.Errorf("%s is in %s of %q, want %s", what, group, controllers, want)
			}
		}
	}
}

// TestPodCgroup: the VM and its shim are in the group of their pod in each hierarchy, that
// of a restored pod in the new pod's, also for a daemon that took them over; what locks
// shared folders, and outlives pods, is not; and nothing of it is left.
func TestPodCgroup(t *testing.T) {
	parent := parentGroup(t) + "/pod"
	s := ownServer(t, serverConfig{})
	shared := t.TempDir()
	in := func(name string) *pod {
		return runPod(t, s, func(c *cri.PodSandboxConfig) {
			c.Metadata.Name = name
			c.Linux.CgroupParent = parent
		})
	}
	a, b := in("a"), in("b")
	saved := a.start(idle("k", bind("/shared", shared)))
	b.start(idle("k", bind("/shared", shared)))
	a.wantGroup(t, parent)
	b.wantGroup(t, parent)
	if len(groupDirs(t, parent)) == 0 {
		t.Fatal("there is no group")
	}
	restored, _ := restorePod(t, s, a.checkpoint(saved), func(r *cri.RestorePodRequest) {
		r.Config.Metadata.Name, r.Config.Metadata.Uid = "restored", "restored"
		r.Config.Linux.CgroupParent = parent + "/again"
	}, saved.config)
	restored.wantGroup(t, parent+"/again")
	a.wantGroup(t, parent)

	if err := s.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := s.Start(testContext(t)); err != nil {
		t.Fatal(err)
	}
	a.wantGroup(t, parent)
	restored.wantGroup(t, parent+"/again")
	remove := func(p *pod) {
		if _, err := s.RemovePodSandbox(testContext(t), &cri.RemovePodSandboxRequest{PodSandboxId: p.id}); err != nil {
			t.Errorf("RemovePodSandbox: %v", err)
		}
	}
	remove(restored)
	if left := groupDirs(t, parent+"/again"); len(left) > 0 {
		t.Errorf("left of the parent that was made for the restored pod: %v", left)
	}
	remove(a) // whose shim may have started what keeps the locks, which b needs still
	if left := groupDirs(t, parent+"/porthole-"+a.id); len(left) > 0 {
		t.Errorf("left of the removed pod: %v", left)
	}
	if got := b.vmInfo().Shim.VMPID; got == 0 {
		t.Error("the other pod's VM has gone with it")
	}
	remove(b)
	if left := groupDirs(t, filepath.Dir(parent)); len(left) > 0 {
		t.Errorf("left of the parents that were made for the pods: %v", left)
	}
}

// TestPodCgroupGone: a pod whose groups were taken away is removed all the same, and a
// parent that was there before stays.
func TestPodCgroupGone(t *testing.T) {
	parent := parentGroup(t)
	if err := makeGroups(parent); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { removeGroups(t, parent) })
	s := ownServer(t, serverConfig{})
	kept := runPod(t, s, func(c *cri.PodSandboxConfig) { c.Linux.CgroupParent = parent })
	kept.wantGroup(t, parent)
	if _, err := s.RemovePodSandbox(testContext(t), &cri.RemovePodSandboxRequest{PodSandboxId: kept.id}); err != nil {
		t.Fatal(err)
	}
	if len(groupDirs(t, parent)) == 0 {
		t.Error("a parent that was there before is gone")
	}
	p := runPod(t, s, func(c *cri.PodSandboxConfig) {
		c.Metadata.Name = "gone"
		c.Linux.CgroupParent = parent
	})
	killAll(t, []int{p.vmInfo().Shim.VMPID})
	eventually(t, "the pod is not ready", func() bool { return p.status().State == cri.PodSandboxState_SANDBOX_NOTREADY })
	group := parent + "/porthole-" + p.id
	eventually(t, "nobody is in the groups", func() bool {
		for _, dir := range groupDirs(t, group) {
			if err := syscall.Rmdir(dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return false
			}
		}
		return true
	})
	removeGroups(t, parent)
	if _, err := s.RemovePodSandbox(testContext(t), &cri.RemovePodSandboxRequest{PodSandboxId: p.id}); err != nil {
		t.Errorf("RemovePodSandbox of a pod without its groups: %v", err)
	}
}

// TestPodCgroupLimit: a VM that its pod's group cannot hold stays out of it and says why,
// or is refused where that is configured; one that fits has the group's limit.
func TestPodCgroupLimit(t *testing.T) {
	parent := parentGroup(t)
	small := parent + "-small"
	for _, group := range []string{parent, small} {
		if err := makeGroups(group); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { removeGroups(t, group) })
	}
	limit := func(group string, mib int) {
		for _, file := range []string{"/sys/fs/cgroup/memory" + group + "/memory.limit_in_bytes", "/sys/fs/cgroup" + group + "/memory.max"} {
			if _, err := os.Stat(file); err == nil {
				if err := os.WriteFile(file, []byte(strconv.Itoa(mib<<20)), 0); err != nil {
					t.Fatal(err)
				}
				return
			}
		}
		testneed.Skip(t, "a memory controller among the host's control groups")
	}
	tight := func(c *cri.PodSandboxConfig) { c.Linux.CgroupParent = small }

	limit(small, 128)
	strict := ownServer(t, serverConfig{vm: `pod_cgroup = "on"`})
	c := podConfig(t)
	tight(c)
	_, err := strict.RunPodSandbox(testContext(t), &cri.RunPodSandboxRequest{Config: c})
	refused(t, err, "overhead", codes.InvalidArgument)
	for name, bad := range map[string]string{"dots": "/../x", "slice": "a--b.slice", "files": parent + "/cgroup.procs"} {
		c := podConfig(t)
		c.Linux.CgroupParent = bad
		_, err := strict.RunPodSandbox(testContext(t), &cri.RunPodSandboxRequest{Config: c})
		refused(t, err, "cgroup_parent", codes.InvalidArgument)
		if err == nil {
			t.Errorf("%s: a pod with the parent %q runs", name, bad)
		}
	}

	s := ownServer(t, serverConfig{})
	p := runPod(t, s, tight)
	if why := p.vmInfo().Ungrouped; !strings.Contains(why, "128 MiB") || !strings.Contains(why, "overhead") {
		t.Errorf("verbose status says %q, want that the limit of 128 MiB is too small", why)
	}
	for controllers, group := range groups(t, p.vmInfo().Shim.VMPID) {
		if strings.HasPrefix(group, small) {
			t.Errorf("the VM is in %s of %q", group, controllers)
		}
	}
	// What the kubelet makes of a limit of 300 MiB and a RuntimeClass with an overhead of 340.
	limit(parent, 640)
	fits := runPod(t, s, func(c *cri.PodSandboxConfig) {
		c.Metadata.Name = "fits"
		c.Linux.CgroupParent = parent
		c.Linux.Resources = &cri.LinuxContainerResources{MemoryLimitInBytes: 300 << 20}
		c.Linux.Overhead = &cri.LinuxContainerResources{MemoryLimitInBytes: 340 << 20}
	})
	fits.wantGroup(t, parent)
	if got := fits.vmInfo().Shim.MemoryMiB; got != 512 { // 640 less 96 for the host, in steps of 64
		t.Errorf("the VM has %d MiB, want 512", got)
	}
}
