//go:build unix

package arbiter

import (
	"os/exec"
	"syscall"
)

// detach makes a process outlive this one.
func detach(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true} }
