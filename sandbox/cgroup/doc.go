// Package cgroup keeps the host's control groups that pods' VMs run in: below the group
// that the caller of CRI names as a pod's parent there is one group for each pod, in each
// hierarchy, which QEMU and its shim are in. So what a VM costs counts for the pod, and the
// parent's limits hold for it. It implements sandbox.Cgroups. What goes on in a guest is
// package guest/agent/cgroup's.
//
// It works on cgroup v1 (each controller's hierarchy and the named ones) and on v2. It sets
// no limit: the parent's are its owner's, and a pod's group is one of processes alone. On v2
// that keeps the rule that only leaves have processes.
//
// Groups above a pod's that are not there are made, and marked as ours by an extended
// attribute, which the kernel keeps as long as the group. So there is nothing to remember:
// with a pod's group go those above it that are ours and empty by then.
//
// An FS is immutable and safe for concurrent use.
package cgroup
