//go:build unix

package offspring

import (
	"os"
	"os/exec"
	"syscall"
)

// start makes a session of its own, without a terminal. A child of fork runs by itself, whatever becomes of its parent.
func start(c Command) (*os.Process, error) {
	cmd := exec.Command(c.Path, c.Args...)
	cmd.Dir = c.Dir
	if c.Stdout != nil {
		cmd.Stdout = c.Stdout
	}
	if c.Stderr != nil {
		cmd.Stderr = c.Stderr
	}
	cmd.ExtraFiles = c.Files
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	return cmd.Process, nil
}
