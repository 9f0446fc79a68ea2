package main

import "syscall"

// ownSession keeps a terminal's Ctrl-C from reaching a process that may stay.
func ownSession() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setsid: true} }
