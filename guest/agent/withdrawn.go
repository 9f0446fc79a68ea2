//go:build linux

package agent

import (
	"fmt"

	"github.com/containerd/errdefs"
)

// Names for Agent.withdrawn, and for messages.
func podName(id string) string       { return fmt.Sprintf("pod %q", id) }
func containerName(id string) string { return fmt.Sprintf("container %q", id) }
func shareName(id uint64) string     { return fmt.Sprintf("share %d", id) }

func execName(containerID, id string) string {
	return fmt.Sprintf("exec %q of container %q", id, containerID)
}

func withdrawnError(name string) error {
	return fmt.Errorf("%s was removed before it was made: %w", name, errdefs.ErrFailedPrecondition)
}

// admit adds what is to be made, unless it is there already or was removed before: its
// host gave up on it, and takes back the disks and streams that it would hold.
func admit[K comparable, V any](a *Agent, name string, into map[K]*V, id K, v *V) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if into[id] != nil {
		return fmt.Errorf("%s: %w", name, errdefs.ErrAlreadyExists)
	}
	if a.withdrawn.Has(name) {
		return withdrawnError(name)
	}
	into[id] = v
	return nil
}

// toRemove finds what is to be removed; nil: it is not there, and is not made any more.
func toRemove[K comparable, V any](a *Agent, name string, from map[K]*V, id K) *V {
	a.mu.Lock()
	defer a.mu.Unlock()
	v := from[id]
	if v == nil {
		a.withdrawn.Note(name)
	}
	return v
}
