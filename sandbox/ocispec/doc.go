// Package ocispec makes the OCI runtime spec of a container from what CRI asked for and
// what the image says. It implements sandbox.Specs.
//
// The spec is for a Linux guest whatever the host is, so nothing in it comes from the
// host (its kernel, its CPUs, its cgroups), and the package builds and gives the same
// answer on every system. What only the guest can know the agent fills in: root,
// namespace paths, cgroupsPath, user, the pod's /dev/shm and its files in /etc.
// Mounts of volumes are not its part.
//
// A Generator is immutable and safe for concurrent use.
package ocispec
