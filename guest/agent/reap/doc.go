// Package reap collects the exits of all children of PID 1 and hands each to who asked
// for it.
//
// As PID 1 the agent is the parent of its own children, of containers' processes whose
// parent (crun) has gone, and of any other orphan. Only one place may wait for them: a
// second one would take statuses from the first. So nothing in the agent may call
// os.Process.Wait or exec.Cmd.Wait; Reaper.Start stands in for them.
//
// A pid becomes known only after its process started, and the process may be gone by
// then. A Window bridges that: while one is open, exits that nobody asked for are kept.
//
// Reaper is safe for concurrent use. It is Linux-only.
package reap
