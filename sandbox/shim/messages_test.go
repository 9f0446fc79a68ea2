package shim

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/porthole-run/porthole/sandbox"
	"github.com/porthole-run/porthole/sandbox/sandboxtest"
)

// oneShim is a Launcher whose VM runs already.
type oneShim struct {
	sandbox.Launcher
	shim sandbox.Shim
}

func (o oneShim) Launch(context.Context, sandbox.ShimConfig) (sandbox.Shim, error) {
	return o.shim, nil
}

// TestMessages has whole errors as users read them, through manager, shim, wire and
// guest: each layer adds what the one above does not know, once.
func TestMessages(t *testing.T) {
	r := newRig(t)
	node := sandboxtest.New()
	c := node.Config(t.TempDir())
	c.Launcher = oneShim{c.Launcher, r.Client}
	m, err := sandbox.New(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	ctx := testContext(t)
	pod, err := m.RunPod(ctx, sandbox.PodConfig{Name: "web", Namespace: "shop", UID: "u"})
	if err != nil {
		t.Fatal(err)
	}
	fail := func(step string) {
		r.vm.mu.Lock()
		defer r.vm.mu.Unlock()
		r.vm.fail = step
	}
	want := func(err error, text string) {
		t.Helper()
		if err == nil {
			t.Fatalf("no error, want %q", text)
		}
		if diff := cmp.Diff(text, strings.ReplaceAll(err.Error(), pod, "POD")); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	}
	create := func(name, image string) error {
		_, err := m.CreateContainer(ctx, pod, sandbox.ContainerConfig{Name: name, Image: image})
		return err
	}
	want(create("b2", "nope"), `create container b2: image "nope" is not on this node, pull it first: not found`)
	fail("create container")
	want(create("b2", "busybox"), "create container b2: guest: create container is made to fail: internal")
	fail("")
	r.vm.crash("Oops")
	<-r.Done()
	for { // the manager hears of it a moment later
		p, err := m.Pod(ctx, pod)
		if err != nil {
			t.Fatal(err)
		}
		if p.State == sandbox.PodNotReady {
			break
		}
		<-time.After(time.Millisecond)
	}
	want(create("b2", "busybox"), "pod sandbox POD is not ready: it is lost (the VM ended: Oops: unavailable): failed precondition")
}
