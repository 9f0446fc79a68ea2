package sandbox_test

import (
	"strings"
	"testing"

	"github.com/containerd/errdefs"

	"github.com/porthole-run/porthole/sandbox"
	"github.com/porthole-run/porthole/sandbox/sandboxtest"
)

// withHandler opens a Manager on a node whose default handler is changed.
func withHandler(t *testing.T, change func(*sandbox.Handler)) (*sandbox.Manager, *sandboxtest.Node) {
	t.Helper()
	n := sandboxtest.New()
	c := n.Config(t.TempDir())
	h := c.Handlers[""]
	change(&h)
	c.Handlers[""] = h
	m, err := sandbox.New(t.Context(), c)
	must(t, err)
	t.Cleanup(m.Close)
	return m, n
}

func TestVMNamespaces(t *testing.T) {
	m, n := withHandler(t, func(h *sandbox.Handler) { h.VMNamespaces = true })
	c := podConfig("p")
	c.Namespaces.Network, c.Namespaces.PID = sandbox.NamespaceNode, sandbox.NamespaceNode
	pod := mustRun(t, m, c)
	if got := podSetup(t, n, pod).Namespaces; got != (sandbox.PodNamespaces{VMNetwork: true, VMPID: true}) {
		t.Errorf("the VM was told %+v", got)
	}
	in := containerConfig("c")
	in.Namespaces = c.Namespaces
	id := mustCreate(t, m, pod, in)
	if !made(t, n, id).SharePID {
		t.Error("a container of the mode NODE has a PID namespace of its own")
	}
	in = containerConfig("d")
	in.Namespaces.IPC = sandbox.NamespaceNode
	if _, err := m.CreateContainer(t.Context(), pod, in); !errdefs.IsInvalidArgument(err) || !strings.Contains(err.Error(), "namespace_options.ipc") {
		t.Errorf("CreateContainer with what its pod has not = %v, want InvalidArgument", err)
	}
	users := podConfig("users")
	users.Namespaces = c.Namespaces
	users.Namespaces.Users = &sandbox.UserNamespace{UIDs: sandbox.IDMapping{Length: 5}, GIDs: sandbox.IDMapping{Length: 5}}
	if _, err := m.RunPod(t.Context(), users); !errdefs.IsInvalidArgument(err) {
		t.Errorf("RunPod with a user namespace and the VM's network = %v, want InvalidArgument", err)
	}
}

func TestUserNamespace(t *testing.T) {
	run(t, func(t *testing.T, m *sandbox.Manager, n *sandboxtest.Node) {
		users := &sandbox.UserNamespace{UIDs: sandbox.IDMapping{HostID: 70000, Length: 65536}, GIDs: sandbox.IDMapping{HostID: 80000, Length: 65536}}
		c := podConfig("p")
		c.Namespaces.Users = users
		pod := mustRun(t, m, c)
		if got := podSetup(t, n, pod).Namespaces.Users; got == nil || *got != *users {
			t.Errorf("the VM was told %+v", got)
		}
		in := containerConfig("c")
		in.Mounts = []sandbox.Mount{{ContainerPath: "/a", HostPath: t.TempDir(), Users: users}, {ContainerPath: "/b", HostPath: t.TempDir()}}
		mounts := made(t, n, mustCreate(t, m, pod, in)).Mounts
		if len(mounts) != 2 || !mounts[0].MapIDs || mounts[1].MapIDs {
			t.Errorf("mounts %+v, want the first mapped", mounts)
		}
		other := *users
		other.UIDs.Length = 7
		for name, edit := range map[string]func(*sandbox.ContainerConfig){
			"container": func(c *sandbox.ContainerConfig) { c.Namespaces.Users = &other },
			"mount": func(c *sandbox.ContainerConfig) {
				c.Mounts = []sandbox.Mount{{ContainerPath: "/a", HostPath: "/", Users: &other}}
			},
		} {
			in := containerConfig(name)
			edit(&in)
			if _, err := m.CreateContainer(t.Context(), pod, in); !errdefs.IsInvalidArgument(err) {
				t.Errorf("%s: CreateContainer = %v, want InvalidArgument", name, err)
			}
		}
	})
}

func TestTargetContainer(t *testing.T) {
	run(t, func(t *testing.T, m *sandbox.Manager, n *sandboxtest.Node) {
		target := aRunningContainer(t, m)
		pod := getContainer(t, m, target).PodID
		in := func(name, id string) sandbox.ContainerConfig {
			c := containerConfig(name)
			c.Namespaces.PID, c.Namespaces.TargetID = sandbox.NamespaceTarget, id
			return c
		}
		if got := made(t, n, mustCreate(t, m, pod, in("debug", target[:12]))).TargetID; got != target {
			t.Errorf("the VM was told the target %q, want %q", got, target)
		}
		created := mustCreate(t, m, pod, containerConfig("created"))
		other := mustRun(t, m, podConfig("other"))
		for name, tt := range map[string]struct {
			pod, id string
			is      func(error) bool
		}{
			"unknown":     {pod, "nope", errdefs.IsFailedPrecondition},
			"not-running": {pod, created, errdefs.IsFailedPrecondition},
			"other-pod":   {other, target, errdefs.IsInvalidArgument},
		} {
			if _, err := m.CreateContainer(t.Context(), tt.pod, in(name, tt.id)); !tt.is(err) || !strings.Contains(err.Error(), "target_id") {
				t.Errorf("%s: CreateContainer = %v", name, err)
			}
		}
	})
}

func podSetup(t *testing.T, n *sandboxtest.Node, pod string) sandbox.PodSetup {
	t.Helper()
	s, ok := n.PodSetup(pod)
	if !ok {
		t.Fatalf("no VM has pod %s", pod)
	}
	return s
}

func made(t *testing.T, n *sandboxtest.Node, id string) sandbox.ContainerSetup {
	t.Helper()
	s, ok := n.Setup(id)
	if !ok {
		t.Fatalf("no VM has container %s", id)
	}
	return s
}
