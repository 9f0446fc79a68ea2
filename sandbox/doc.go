// Package sandbox is the life of pods and containers: their states, the order of
// the steps that make and unmake them, their records on disk, and recovery after a
// restart of the daemon.
//
// It holds no OS code, no wire types and no CRI types. What it needs from others it
// asks for through the small interfaces in this package: Launcher and Shim (the
// process that owns a pod's utility VM), Network, Images. Package cri calls Manager;
// package sandbox/shim implements Launcher and Shim; drivers under sandbox/ implement
// Driver and VM, which the shim uses.
//
// A Manager is made by New, which recovers what an earlier daemon left, and is used
// until Close. It is safe for concurrent use. Close leaves pods running.
package sandbox
