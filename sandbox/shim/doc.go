// Package shim is the process that owns one utility VM, and the daemon's side of it: the
// Launcher that starts such processes and finds them again, and the Client that speaks
// to one.
//
// The process is begun by Main in a folder of its own, which holds its configuration
// (shim.json), who it is (process.json), its two sockets, its log and, at its end, the
// reason (exit.json). A Server in it makes the VM, connects to the agent, and serves the
// daemon until the VM ends or it is told to end the VM. It outlives the daemon: a newer
// daemon connects to it anew. Conversely no VM outlives its shim.
//
// What a shim does is small: attach disks and NICs, pass requests on to the agent, keep
// exits until they are asked for, write container logs, and relay streams. It holds no
// policy and no record of images, networks or pods' states: package sandbox does.
//
//	daemon ── control.sock: ttrpc (package api) ──────┐
//	       ── stream.sock: one connection a stream ── shim ── VM: agent protocol (package guest)
//
// Bytes of a container go from the guest to its log first and to attached clients after
// that, each of which has a buffer of its own: a client that does not read is dropped.
//
// Server, Client and Launcher are safe for concurrent use.
package shim
