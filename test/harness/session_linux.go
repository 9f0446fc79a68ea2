package harness

import "syscall"

// ownSession keeps a terminal's Ctrl-C from reaching the daemon.
func ownSession() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setsid: true} }
