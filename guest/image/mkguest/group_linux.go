package main

import (
	"os/exec"
	"syscall"
)

// ownGroup puts the command into a process group and makes its cancellation
// end all of the group: make's compilers as well as make.
func ownGroup(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM) }
}
