package network

import (
	"errors"
	"os"
	"os/exec"
	"syscall"
)

// pluginSource says where plugins come from.
const pluginSource = "Debian: apt-get install containernetworking-plugins"

// runGroup runs cmd as the leader of a process group that is killed as a whole when its
// context ends: plugins are often scripts, and delegate to other plugins.
func runGroup(cmd *exec.Cmd) error {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error {
		err := syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		if errors.Is(err, syscall.ESRCH) {
			return os.ErrProcessDone
		}
		return err
	}
	return cmd.Run()
}
