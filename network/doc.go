// Package network attaches pods to the network through CNI plugins.
//
// Attach makes a network namespace, runs the plugins of the first configuration
// in the configuration folder in it, and returns in plain types what they set up, for
// whoever carries it into a guest. Detach undoes that. The package knows neither pod
// sandboxes nor VMs nor the CRI; on what happens to the namespace's interface
// afterwards see network/tapnet.
//
// # Life cycle
//
// What Detach needs is written to CacheDir before the first plugin runs: the
// configuration with which the pod was attached, and the arguments. So a pod can be
// detached after a failed or cut-short Attach, after the configuration changed, and
// after a reboot, when its namespace is gone (the plugins then get an empty CNI_NETNS).
// The record goes when the plugins' DEL has succeeded; until then Detach can be called
// again, and Prune finds the pod.
//
// Configuration is read at each Attach: a changed file counts from the next pod on.
//
// A Manager keeps nothing in memory but locks. Its methods are safe for concurrent use;
// calls for one pod wait for each other.
//
// What holds the interfaces until a VM takes them is a Host: on Linux network namespaces,
// on Windows network/hcnnet. With no Host elsewhere, Attach returns errors.ErrUnsupported.
package network
