// Package dialect turns what a Windows kubelet asks over the CRI into what the pod's
// author meant, who wrote it for Linux. It is pure: from CRI message to CRI message,
// without a file, a process or a build tag, so that a Linux machine proves all of it.
//
// A Windows kubelet believes that its containers are Windows'. It writes paths in
// Windows' way, says limits in Windows' units, and leaves out what only Linux knows:
// users, groups, capabilities, seccomp, read-only roots, what is privileged, requests.
// Paths and limits are turned back here. What was left out comes from the pod's spec,
// which Pods returns (cri/podsapi: the kubelet's own Pods API), by the rules by which a
// Linux kubelet makes a CRI request of a spec: its pkg/securitycontext and
// pkg/kubelet/kuberuntime, version 1.37. Where the spec cannot be had the request is
// refused, unless Config.DropSecurityContext says to go on without.
//
// A request that is not a Windows kubelet's comes back as it was (Speaks). Whatever a
// request holds, the answer is another request or an error of a kind from errdefs that
// names the field. A request is never changed in place; messages that need no change may
// be shared between request and answer. A Windows is safe for concurrent use.
//
// Not here: checks of the values themselves, which cri's own conversion makes of all
// requests; and what a file server has to present, such as links with backslashes.
package dialect
