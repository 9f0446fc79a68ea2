// Package qmp speaks QEMU's machine protocol: commands with ids, their answers, and
// events, as lines of JSON over a socket.
//
// It is not a list of QEMU's commands: callers name them. A guest that has broken out
// into QEMU writes what it likes here, so lines are bounded, an answer nobody asked
// for ends the connection, and text from QEMU is tamed before it goes into an error.
//
// New negotiates and starts the one goroutine that reads; Close ends the connection
// and waits for it. A Client is safe for concurrent use.
package qmp
