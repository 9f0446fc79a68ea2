// Package boot makes a bare kernel and an initrd into a place where the agent can run
// containers: mounts, modules, cgroups, limits. It also holds the way out: Halt.
//
// It is called once, by PID 1, before anything else runs, from one goroutine. It is not
// for pods: what differs between them comes later, over the wire. It is Linux-only but
// for the choice of modules.
package boot
