package sandboxtest

import (
	"context"
	"slices"
	"strings"

	"github.com/porthole-run/porthole/sandbox"
)

// SharedHandler is the runtime handler whose pods share VMs, four in one, by their namespace
// or else by their SharedAnnotation.
const (
	SharedHandler    = "shared"
	SharedAnnotation = "vm"
)

// AddStrayPod makes a pod that no record knows in a VM.
func (n *Node) AddStrayPod(vmID, id string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.shims[vmID].pods[id] = sandbox.PodSetup{PodID: id, Hostname: "stray"}
}

// VMs lists the host names of the pods in each VM, sorted: "a b" and "c".
func (n *Node) VMs() []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	out := []string{}
	for _, s := range n.shims {
		var names []string
		for _, p := range s.pods {
			names = append(names, p.Hostname)
		}
		slices.Sort(names)
		out = append(out, strings.Join(names, " "))
	}
	slices.Sort(out)
	return out
}

// RemovePod implements sandbox.Shim.
func (s *Shim) RemovePod(ctx context.Context, podID string) error {
	if err := s.enter(ctx, "RemovePod"); err != nil {
		return err
	}
	defer s.n.mu.Unlock()
	for id, c := range s.p.containers {
		if c.setup.PodID == podID {
			c.finish(exitNow(137))
			delete(s.p.containers, id)
		}
	}
	delete(s.p.pods, podID)
	return nil
}
