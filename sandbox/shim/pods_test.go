package shim

import (
	"bytes"
	"strings"
	"sync"
	"testing"

	"github.com/containerd/errdefs"

	"github.com/porthole-run/porthole/sandbox"
)

// TestPods: a VM of several pods gives each NICs and a scratch disk of its own, takes one
// away while the others go on, and shares layers among them.
func TestPods(t *testing.T) {
	r := newRigWith(t, func(c *ServerConfig) { c.VM.NICs = 4 })
	ctx := testContext(t)
	setup := func(id string) sandbox.PodSetup {
		p := podSetup()
		p.PodID, p.Scratch.Path, p.Limits = id, "/d/scratch-"+id, []byte(`{"memory":{"limit":1048576}}`)
		return p
	}
	container := func(id, pod string) sandbox.ContainerSetup {
		c := containerSetup(id, "cat")
		c.PodID, c.Stdin = pod, true
		return c
	}
	var wg sync.WaitGroup
	for _, id := range []string{"a", "b"} {
		wg.Go(func() {
			if err := r.SetupPod(ctx, setup(id)); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if err := r.SetupPod(ctx, setup("a")); !errdefs.IsAlreadyExists(err) {
		t.Errorf("SetupPod of a pod that is there = %v", err)
	}
	r.start(t, container("c-a", "a"))
	r.start(t, container("c-b", "b"))
	for _, want := range []string{"disks=[a b scratch-a scratch-b]", "a/eth0", "b/eth0", "pods=2 containers=2"} {
		if got := r.vm.String(); !strings.Contains(got, want) {
			t.Errorf("two pods: %s, want %s", got, want)
		}
	}
	if got := string(r.vm.guest.limits["b"]); got != `{"memory":{"limit":1048576}}` {
		t.Errorf("the guest was told the limits %q", got)
	}

	if err := r.RemovePod(ctx, "a"); err != nil {
		t.Fatal(err)
	}
	if got, want := r.vm.String(), "running disks=[a b scratch-b] nics=[b/eth0] pods=1 containers=1 execs=0"; got != want {
		t.Errorf("after the removal of one: %s, want %s", got, want)
	}
	if _, err := r.Wait(ctx, "c-a"); !errdefs.IsNotFound(err) {
		t.Errorf("Wait for a container of the removed pod = %v", err)
	}
	var out bytes.Buffer
	code, err := r.Exec(ctx, "c-b", sandbox.ExecSpec{Args: []string{"echo", "still here"}}, sandbox.Streams{Stdout: &out})
	if err != nil || code != 0 || out.String() != "still here\n" {
		t.Errorf("exec in the other pod = %d, %q, %v", code, out.String(), err)
	}

	// What fails of one leaves the other alone, and can be tried again.
	r.vm.setFail("attach nic")
	if err := r.SetupPod(ctx, setup("c")); err == nil {
		t.Error("SetupPod = nil, want an error")
	}
	r.vm.setFail("")
	if got, want := r.vm.String(), "running disks=[a b scratch-b] nics=[b/eth0] pods=1 containers=1 execs=0"; got != want {
		t.Errorf("after a failed SetupPod: %s, want %s", got, want)
	}
	if err := r.SetupPod(ctx, setup("c")); err != nil {
		t.Error(err)
	}
	state, err := r.State(ctx)
	if err != nil || len(state.Pods) != 2 || len(state.Containers) != 1 || state.Containers[0].PodID != "b" {
		t.Errorf("State = %+v, %v", state, err)
	}
}
