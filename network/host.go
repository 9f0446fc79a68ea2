package network

import (
	"context"

	types100 "github.com/containernetworking/cni/pkg/types/100"
)

// Host is the operating system's side of a pod's network: what holds the interfaces
// that plugins make until a VM takes them. Methods are safe for concurrent use with
// different pods; for one pod the Manager calls one at a time.
type Host interface {
	// Create makes the pod's namespace and returns its name, which plugins get as
	// CNI_NETNS. After an error nothing is left but what Pods names and Remove removes.
	Create(ctx context.Context, podID string) (string, error)
	// Find returns what plugins get as CNI_NETNS when they undo. It is empty when the pod
	// has no namespace, and where plugins have to be told so when it is gone.
	Find(ctx context.Context, podID string) (string, error)
	// Read makes a pod's Result of what the plugins returned and what is in the namespace
	// that Create made. It is called once, after ADD.
	Read(ctx context.Context, podID, namespace string, added *types100.Result) (Result, error)
	// Remove removes the namespace, and what plugins left in it. It may be called again,
	// and for pods that have none: what is gone is no error.
	Remove(ctx context.Context, podID string) error
	// Ready returns nil when Create can work, else an error that says what to do.
	Ready(ctx context.Context) error
	// Pods returns the pods for which there is something to Remove.
	Pods() ([]string, error)
}
