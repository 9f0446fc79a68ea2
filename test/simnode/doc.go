// Package simnode is the whole daemon over a simulated host: the CRI over gRPC on a unix
// socket, streaming, the image store with a registry on loopback, pods and their records
// are the real ones; virtual machines, networks and scratch disks are sandboxtest's, and
// a Storm makes them fail, hang and die.
//
// It is for what needs many pods or many faults and no VM: the tests in this package let
// callers loose on it and check each answer against a model, a fuzz target sends it what
// no client should, and test/bench measures it with 500 pods. It shows nothing of what
// real VMs, CNI plugins and disks do: test/e2e does.
//
// Start makes a Node with a daemon that serves. The daemon may be killed, which leaves
// what a killed process leaves, and started again, any number of times, until Close. A
// Node's methods are safe for concurrent use but for Kill, Restart and Close, which one
// caller at a time may use.
package simnode
