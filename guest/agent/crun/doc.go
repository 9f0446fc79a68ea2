// Package crun runs the OCI runtime crun: one short-lived program per call. It makes
// containers' and execs' processes children of the agent, which waits for them.
//
// It is not for the bundle: who calls makes the OCI spec. Runtime is safe for concurrent
// use, calls for one container must come one after another. It is Linux-only but for the
// reading of crun's log.
package crun
