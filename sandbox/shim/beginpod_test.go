package shim

import (
	"strings"
	"testing"

	"github.com/containerd/errdefs"
)

const emptyVM = "running disks=[] nics=[] pods=0 containers=0 execs=0"

// TestBeginPod: what is begun takes no containers, and SetupPod makes the rest of it.
func TestBeginPod(t *testing.T) {
	r := newRig(t)
	ctx := testContext(t)
	if err := r.BeginPod(ctx, podSetup()); err != nil {
		t.Fatal(err)
	}
	if got, want := r.vm.String(), "running disks=[scratch] nics=[] pods=1 containers=0 execs=0"; got != want {
		t.Errorf("after BeginPod: %s, want %s", got, want)
	}
	if _, err := r.CreateContainer(ctx, containerSetup("c1", "sleep")); !errdefs.IsFailedPrecondition(err) {
		t.Errorf("CreateContainer in a pod that is begun = %v, want FailedPrecondition", err)
	}
	if err := r.BeginPod(ctx, podSetup()); !errdefs.IsAlreadyExists(err) {
		t.Errorf("BeginPod again = %v, want AlreadyExists", err)
	}
	r.pod(t)
	if got, want := r.vm.String(), "running disks=[scratch] nics=[eth0] pods=1 containers=0 execs=0"; got != want {
		t.Errorf("after SetupPod: %s, want %s", got, want)
	}
	if err := r.SetupPod(ctx, podSetup()); !errdefs.IsAlreadyExists(err) {
		t.Errorf("SetupPod again = %v, want AlreadyExists", err)
	}
	r.start(t, containerSetup("c1", "sleep"))
}

// TestBeginPod_Removed: RemovePod undoes a beginning.
func TestBeginPod_Removed(t *testing.T) {
	r := newRig(t)
	ctx := testContext(t)
	if err := r.BeginPod(ctx, podSetup()); err != nil {
		t.Fatal(err)
	}
	if err := r.RemovePod(ctx, "pod1"); err != nil {
		t.Fatal(err)
	}
	if got := r.vm.String(); got != emptyVM {
		t.Errorf("left: %s", got)
	}
}

// TestBeginPod_EveryStepFails: whichever step of the two calls fails, nothing is left, and it
// can be done again.
func TestBeginPod_EveryStepFails(t *testing.T) {
	for _, tt := range []struct {
		step   string
		begins bool // BeginPod succeeds
	}{{"attach scratch", false}, {"create pod", false}, {"attach nic", true}, {"create pod", true}} {
		r := newRig(t)
		ctx := testContext(t)
		if tt.begins {
			if err := r.BeginPod(ctx, podSetup()); err != nil {
				t.Fatal(err)
			}
		}
		r.vm.setFail(tt.step)
		build := r.BeginPod
		if tt.begins {
			build = r.SetupPod
		}
		if err := build(ctx, podSetup()); !errdefs.IsInternal(err) || !strings.Contains(err.Error(), tt.step) {
			t.Errorf("%v: error = %v", tt, err)
		}
		if got := r.vm.String(); got != emptyVM {
			t.Errorf("%v left: %s", tt, got)
		}
		r.vm.setFail("")
		r.pod(t)
	}
}

// TestBeginPod_NotHere: it leaves all to SetupPod where a pod cannot be begun.
func TestBeginPod_NotHere(t *testing.T) {
	for name, change := range map[string]func(*ServerConfig, *fakeVM){
		"old-agent": func(_ *ServerConfig, v *fakeVM) { v.guest.old = true },
		"shared":    func(c *ServerConfig, _ *fakeVM) { c.VM.NICs = 2 },
	} {
		t.Run(name, func(t *testing.T) {
			r := newRigWith(t, func(c *ServerConfig) { change(c, c.Driver.(*fakeVM)) })
			if err := r.BeginPod(testContext(t), podSetup()); err != nil {
				t.Fatal(err)
			}
			if got := r.vm.String(); got != emptyVM {
				t.Errorf("it did something: %s", got)
			}
			r.pod(t)
		})
	}
	r := newRig(t)
	p := podSetup()
	p.Sysctls = map[string]string{"net.core.somaxconn": "100"}
	if err := r.BeginPod(testContext(t), p); err != nil {
		t.Fatal(err)
	}
	if got := r.vm.String(); got != emptyVM {
		t.Errorf("a pod with sysctls was begun: %s", got)
	}
}

// TestBeginPod_LeftOver: what was begun, and could not be removed, is nothing to go on with.
func TestBeginPod_LeftOver(t *testing.T) {
	r := newRig(t)
	ctx := testContext(t)
	if err := r.BeginPod(ctx, podSetup()); err != nil {
		t.Fatal(err)
	}
	r.vm.setFail("detach disk")
	if err := r.RemovePod(ctx, "pod1"); err == nil {
		t.Fatal("RemovePod = nil, want an error")
	}
	r.vm.setFail("")
	if err := r.SetupPod(ctx, podSetup()); !errdefs.IsAlreadyExists(err) {
		t.Errorf("SetupPod = %v, want AlreadyExists", err)
	}
	if err := r.RemovePod(ctx, "pod1"); err != nil {
		t.Fatal(err)
	}
	if got := r.vm.String(); got != emptyVM {
		t.Errorf("left: %s", got)
	}
}
