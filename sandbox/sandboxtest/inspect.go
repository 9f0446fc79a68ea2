package sandboxtest

import (
	"cmp"
	"context"
	"io"
	"slices"

	"github.com/porthole-run/porthole/sandbox"
)

// Signals are those that a container got, in order.
func (n *Node) Signals(containerID string) []int {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, s := range n.shims {
		if c, ok := s.containers[containerID]; ok {
			return slices.Clone(c.signals)
		}
	}
	return nil
}

// Setup is what a container was made from; false when no VM holds it.
func (n *Node) Setup(containerID string) (sandbox.ContainerSetup, bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, s := range n.shims {
		if c, ok := s.containers[containerID]; ok {
			return c.setup, true
		}
	}
	return sandbox.ContainerSetup{}, false
}

// PodSetup is what a pod was made from; false when no VM holds it.
func (n *Node) PodSetup(podID string) (sandbox.PodSetup, bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, s := range n.shims {
		if p, ok := s.pods[podID]; ok {
			return p, true
		}
	}
	return sandbox.PodSetup{}, false
}

// yes prints until ctx ends or nobody takes it any more.
func yes(ctx context.Context, to io.Writer) (err error) {
	for ctx.Err() == nil && err == nil && to != nil {
		_, err = io.WriteString(to, "y\n")
	}
	return cmp.Or(ctx.Err(), err)
}

// Launched is what the VM of a pod was to be.
func (n *Node) Launched(podID string) sandbox.ShimConfig {
	n.mu.Lock()
	defer n.mu.Unlock()
	if s := n.shims[podID]; s != nil {
		return s.config
	}
	return sandbox.ShimConfig{}
}

// Attached is what the network of a pod was asked for.
func (n *Node) Attached(podID string) sandbox.PodNetwork {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.attached[podID]
}
