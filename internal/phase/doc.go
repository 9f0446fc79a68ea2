// Package phase measures what the start of a pod spends its time on, across the three
// processes that work on it: daemon, shim and agent.
//
// A process records the phases of a call in the call's context (Record, Begin, Do,
// Steps), and hands them to its caller with the answer (Encode), which puts them under
// the phase in which it waited (Graft). The daemon keeps the calls of the last pods in a
// Journal, which tells others of each call that ended: metrics and exporters.
//
// Without a recorder in the context all of it does nothing, so that code need not ask.
// It is not for logs, nor for calls that do not make pods, and it does not outlive the
// process. Everything is safe for concurrent use.
package phase
