// Package pool keeps, in the daemon, VMs that run before a pod asks for one: spares. A pod
// that gets one takes its id, and waits neither for a launch nor, under emulation, for code
// that runs in the guest for the first time: each spare has run and removed a container.
//
// It is not for how a VM is launched, which a sandbox.Launcher does, from a template or by a
// boot, nor for what a pod makes of it. Who finds no spare launches a VM.
//
//	            launched         warmed up            taken
//	(missing) ───────────▶ new ───────────▶ ready ───────────▶ (the pod's)
//	                        │                 │
//	                        └─────────────────┴──▶ ended: failed, died, not wanted any more
//
// How many there are is fixed, or goes by demand: as many as were asked for within a few
// seconds of late. They keep within a budget of memory, and are ended, the oldest first, when
// the host has little memory left. Those that hang, or were made from other files than are there now, are
// made anew.
//
// Spares go with the daemon: Close ends them, and after a crash the next daemon's Manager
// does, which knows them of no pod. A Pool is safe for concurrent use; one goroutine
// launches, one VM at a time, from Start to Close, and waits while pods are asking.
package pool
