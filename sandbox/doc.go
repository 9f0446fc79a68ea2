// Package sandbox is the life of pods and containers: their states, the order of
// the steps that make and unmake them, their records on disk, and recovery after a
// restart of the daemon.
//
// It holds no OS code, no wire types and no CRI types. What it needs from others it
// asks for through the small interfaces in this package: Launcher and Shim (the
// process that owns a pod's utility VM), Network, Images, Specs, Scratch. Package cri
// calls Manager; package sandbox/shim implements Launcher and Shim; drivers under
// sandbox/ implement Driver and VM, which the shim uses.
//
// A Manager is made by New, which recovers what an earlier daemon left, and is used
// until Close. It is safe for concurrent use. Close leaves pods running.
//
// # States of a pod
//
//	          all steps done          StopPod               all given back
//	making ───────────────────▶ ready ───────▶ stopping ───────────────────▶ stopped
//	  │                           │            ▲  │  ▲ again after an error     │
//	  │ a step failed and could   │ VM ended   │  └──┘                          │ RemovePod
//	  │ not be undone             ▼            │                                ▼
//	  └────────────────────────▶ lost ─────────┘                            removing ──▶ gone
//
// Callers see ready as ready, making not at all, and all others as not ready.
//
// # States of a container
//
//	creating ──▶ created ──▶ starting ──▶ running
//	                │            │           │
//	                │ its VM ended, it was stopped, or its start failed, or it exited
//	                │            ▼           │
//	                └────────▶ exited ◀──────┘
//	                             │ RemoveContainer (from created too)
//	                             ▼
//	                          removing ──▶ gone
//
// Any of created, starting and running becomes lost when the daemon starts and finds
// a shim that does not answer; what becomes of it is known when its pod is stopped.
// The tables are in state.go.
//
// # Locks
//
// The Manager's mutex guards its maps; each object's mutex guards its fields. Neither
// is held over a slow call, so lists and status calls never wait for a VM. The order of
// operations is kept by gates (gate.go): a pod's, then a container's. Each object's
// record is written in the order of its changes. A pod's order is held over each change
// that events tell of (events.go), of the pod and of its containers: it is taken after
// the gates and before all else.
package sandbox
