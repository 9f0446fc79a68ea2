package harness

import "syscall"

// OwnSession puts a process into a session of its own, so that a terminal's Ctrl-C does
// not reach it: whoever started it ends it, or leaves it running.
func OwnSession() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setsid: true} }
