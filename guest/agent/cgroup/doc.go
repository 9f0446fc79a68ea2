// Package cgroup is the part of cgroup v2 that the agent itself does: making a pod's
// group, killing or signalling all in a group, and seeing OOM kills. Limits are crun's.
//
// Names are paths below the mount, such as "/pods/p1/c1". All is safe for concurrent
// use. It is Linux-only.
package cgroup
