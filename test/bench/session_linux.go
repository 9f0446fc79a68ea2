package main

import "syscall"

// ownSession keeps a terminal's Ctrl-C from reaching containerd, which is told to end
// when its pods are removed.
func ownSession() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setsid: true} }
