package shim

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/containerd/errdefs"
	"github.com/google/go-cmp/cmp"

	"github.com/porthole-run/porthole/sandbox"
)

var someUsers = &sandbox.UserNamespace{
	UIDs: sandbox.IDMapping{HostID: 70000, Length: 65536}, GIDs: sandbox.IDMapping{HostID: 80000, Length: 5},
}

func TestNamespaces_BothWays(t *testing.T) {
	for name, n := range map[string]sandbox.PodNamespaces{
		"none": {}, "network": {VMNetwork: true}, "pid": {VMPID: true}, "ipc": {VMIPC: true}, "users": {Users: someUsers},
	} {
		p := podSetup()
		p.Namespaces = n
		if diff := cmp.Diff(p, podFromWire(podToWire(p))); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
	if podToWire(podSetup()).Namespaces != nil {
		t.Error("a pod with the usual namespaces says something of them")
	}
	c := containerSetup("c", "sleep")
	c.TargetID = "other"
	c.Mounts = []sandbox.MountSetup{folderMount("/a", "/h", false)}
	c.Mounts[0].MapIDs = true
	got := containerFromWire(containerToWire(c))
	if got.TargetID != "other" || len(got.Mounts) != 1 || !got.Mounts[0].MapIDs {
		t.Errorf("got %+v", got)
	}
}

// TestNamespaces_Older: an older shim would pass over what it does not know of.
func TestNamespaces_Older(t *testing.T) {
	c := &Client{info: sandbox.ShimInfo{Protocol: namespacesVersion - 1, Version: "old"}}
	target := containerSetup("c", "sleep")
	target.TargetID = "other"
	mapped := containerSetup("c", "sleep")
	mapped.Mounts = []sandbox.MountSetup{{ContainerPath: "/a", MapIDs: true}}
	for name, s := range map[string]sandbox.ContainerSetup{"target": target, "mapped": mapped} {
		if _, err := c.CreateContainer(t.Context(), s); !errdefs.IsFailedPrecondition(err) || !strings.Contains(err.Error(), "make the pod anew") {
			t.Errorf("%s: CreateContainer = %v, want FailedPrecondition", name, err)
		}
	}
}

// TestNamespaces_Mounts: shares are mapped by the host, and one that is served as it is is
// not the one that is mapped; disks are mapped by the guest.
func TestNamespaces_Mounts(t *testing.T) {
	shares := &fakeShares{}
	r := newRigWith(t, func(c *ServerConfig) { c.OpenShare = shares.OpenShare })
	p := podSetup()
	p.Namespaces.Users = someUsers
	if err := r.SetupPod(testContext(t), p); err != nil {
		t.Fatal(err)
	}
	disk := filepath.Join(t.TempDir(), "disk.img")
	if err := os.WriteFile(disk, make([]byte, 4096), 0o600); err != nil {
		t.Fatal(err)
	}
	mapped := func(m sandbox.MountSetup) sandbox.MountSetup { m.MapIDs = true; return m }
	if err := r.create(t, "c", folderMount("/a", "/h", false), mapped(folderMount("/b", "/h", false)), mapped(folderMount("/c", "/h", false)),
		mapped(sandbox.MountSetup{ContainerPath: "/d", Disk: &sandbox.DiskSource{Path: disk}})); err != nil {
		t.Fatal(err)
	}
	if n := shares.count(); n != 2 {
		t.Errorf("%d shares are open, want the folder as it is and mapped", n)
	}
	shares.mu.Lock()
	var users []*sandbox.UserNamespace
	for _, s := range shares.sources {
		users = append(users, s.Users)
	}
	shares.mu.Unlock()
	if diff := cmp.Diff([]*sandbox.UserNamespace{nil, someUsers, someUsers}, users); diff != "" {
		t.Errorf("opened with (-want +got):\n%s", diff)
	}
	var got []bool
	r.vm.guest.mu.Lock()
	for _, m := range r.vm.guest.containers["c"].mounts {
		got = append(got, m.GetMapIds())
	}
	r.vm.guest.mu.Unlock()
	if diff := cmp.Diff([]bool{false, false, false, true}, got); diff != "" {
		t.Errorf("the guest maps (-want +got):\n%s", diff)
	}
	if err := r.RemoveContainer(testContext(t), "c"); err != nil {
		t.Fatal(err)
	}
	if n := shares.count(); n != 0 {
		t.Errorf("%d shares are open after the container", n)
	}
}

// TestLauncher_Cgroups: a shim is in the groups that it was given before it makes its VM,
// and does not run where it cannot join them.
func TestLauncher_Cgroups(t *testing.T) {
	l := newTestLauncher(t, testSettings{})
	group := t.TempDir()
	s, err := l.Launch(testContext(t), sandbox.ShimConfig{ID: "vm1", VCPUs: 2, MemoryMiB: 64, Cgroups: []string{group}})
	if err != nil {
		t.Fatal(err)
	}
	if b, err := os.ReadFile(filepath.Join(group, "cgroup.procs")); err != nil || string(b) != "0" {
		t.Errorf("the group was told %q, %v; want that the shim joins", b, err)
	}
	if i := s.Info(); i.VCPUs != 2 || i.MemoryMiB != 64 {
		t.Errorf("the shim tells of %d CPUs and %d MiB, want 2 and 64", i.VCPUs, i.MemoryMiB)
	}
	if err := s.Shutdown(testContext(t)); err != nil {
		t.Error(err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	checkEmpty(t, l)
	_, err = l.Launch(testContext(t), sandbox.ShimConfig{ID: "vm2", VCPUs: 1, MemoryMiB: 64, Cgroups: []string{filepath.Join(group, "none")}})
	if !errdefs.IsFailedPrecondition(err) || !strings.Contains(err.Error(), "control group") {
		t.Errorf("Launch without the group = %v, want FailedPrecondition that says so", err)
	}
	checkEmpty(t, l)
}

// TestNamespaces_OlderAgent: a bundle's agent may be older than the shim.
func TestNamespaces_OlderAgent(t *testing.T) {
	r := newRigWith(t, func(c *ServerConfig) { c.Driver.(*fakeVM).guest.old = true })
	p := podSetup()
	p.Namespaces.VMPID = true
	if err := r.SetupPod(testContext(t), p); !errdefs.IsNotImplemented(err) || !strings.Contains(err.Error(), "older build") {
		t.Errorf("SetupPod = %v, want NotImplemented", err)
	}
	r.pod(t)
	target := containerSetup("c", "sleep")
	target.TargetID = "other"
	if _, err := r.CreateContainer(testContext(t), target); !errdefs.IsNotImplemented(err) {
		t.Errorf("CreateContainer = %v, want NotImplemented", err)
	}
}
