package pool

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/containerd/errdefs"

	"github.com/porthole-run/porthole/internal/undo"
	"github.com/porthole-run/porthole/sandbox"
)

// Warmer lets new VMs run a container once, by the calls that a pod makes: what guest and
// hypervisor do then has run before when a pod asks, and is translated where the processor is
// emulated.
type Warmer struct {
	Scratch sandbox.Scratch
	// ScratchPath is where the scratch disk for a VM is made.
	ScratchPath  func(id string) string
	ScratchBytes int64
	Layer        sandbox.Layer // the root of the container: an empty one will do
	Spec         []byte        // its OCI spec as JSON, with a process that does not end
	ExecArgs     []string      // run in it once
}

// warmTimeout bounds each step of taking back.
const warmTimeout = 30 * time.Second

// warmNIC is set in the guest as pods' NICs are, and leads nowhere. Its addresses are those
// for documentation (RFC 5737, RFC 3849).
var warmNIC = sandbox.PodNIC{
	NIC: sandbox.NIC{Name: "eth0"}, MAC: "02:00:00:00:00:01", MTU: 1450,
	Addresses: []string{"192.0.2.2/24", "2001:db8::2/64"},
	Routes:    []sandbox.Route{{Destination: "0.0.0.0/0", Gateway: "192.0.2.1"}, {Destination: "::/0", Gateway: "2001:db8::1"}},
}

// WarmUp is for Config.WarmUp.
func (w Warmer) WarmUp(ctx context.Context, id string, s sandbox.Shim) (err error) {
	var u undo.Stack
	defer func() { err = errors.Join(err, u.Run(ctx, warmTimeout)) }()
	disk, err := w.Scratch.Create(ctx, w.ScratchPath(id), w.ScratchBytes)
	if err != nil {
		return err
	}
	u.Push("remove scratch disk", func(ctx context.Context) error { return w.Scratch.Remove(ctx, w.ScratchPath(id)) })
	const pod, ctr = "warm-up", "warm-up-container"
	setup := sandbox.PodSetup{PodID: pod, Hostname: "warm", Scratch: disk, Hosts: "127.0.0.1 localhost\n", NICs: []sandbox.PodNIC{warmNIC}}
	err = s.SetupPod(ctx, setup)
	if errdefs.IsInvalidArgument(err) { // the driver has no NICs that lead nowhere
		setup.NICs = nil
		err = s.SetupPod(ctx, setup)
	}
	if err != nil {
		return err
	}
	u.Push("remove pod", func(ctx context.Context) error { return s.RemovePod(ctx, pod) })
	if _, err := s.CreateContainer(ctx, sandbox.ContainerSetup{
		PodID: pod, ContainerID: ctr, Layers: []sandbox.Layer{w.Layer}, Spec: w.Spec,
	}); err != nil {
		return err
	}
	u.Push("remove container", func(ctx context.Context) error { return s.RemoveContainer(ctx, ctr) })
	if _, err := s.StartContainer(ctx, ctr); err != nil {
		return err
	}
	code, err := s.Exec(ctx, ctr, sandbox.ExecSpec{Args: w.ExecArgs}, sandbox.Streams{Stdout: io.Discard, Stderr: io.Discard})
	if err != nil {
		return err
	}
	if code != 0 {
		return fmt.Errorf("%q exited with %d", w.ExecArgs, code)
	}
	return nil
}
