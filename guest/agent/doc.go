// Package agent is the agent's core: it serves the Guest service and the streams of the
// stdio and forward ports to one host, and holds pods and containers.
//
// It is not for what the guest's kernel and crun do: that is behind the small interfaces
// in needs.go, so that the order of steps here is tested with fakes. Nor for how
// connections come: package transport hands them to Agent.Serve.
//
// A container goes
//
//	(absent) → creating → created → running → exited → (absent)
//
// where a failed creation leaves nothing behind, and RemoveContainer may be called in any
// state but creating. A pod may be removed with containers in it. Pods and containers
// outlive connections: a host that comes anew finds them by id.
//
// Agent is safe for concurrent use. Calls for one container are served one at a time but
// for Wait and Signal. The package is Linux-only.
package agent
