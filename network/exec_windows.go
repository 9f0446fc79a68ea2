package network

import (
	"fmt"
	"os/exec"

	"golang.org/x/sys/windows"
)

// pluginSource says where plugins come from.
const pluginSource = "win-bridge.exe, win-overlay.exe and host-local.exe are in the CNI project's releases for Windows; other networks bring their own"

// runGroup runs cmd in a job whose processes are killed together when its context ends:
// plugins delegate to other plugins. A process that cmd starts before it is in the job
// would not be killed; os/exec starts no process in a job (Go 1.26).
func runGroup(cmd *exec.Cmd) error {
	job, err := windows.CreateJobObject(nil, nil)
	if err != nil {
		return fmt.Errorf("create job: %w", err)
	}
	defer windows.CloseHandle(job)
	cmd.Cancel = func() error {
		_ = windows.TerminateJobObject(job, 1)
		return cmd.Process.Kill() // when it is not in the job yet
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	// A process that cannot be put into the job has ended, or is killed alone.
	_ = assign(job, uint32(cmd.Process.Pid))
	return cmd.Wait()
}

func assign(job windows.Handle, pid uint32) error {
	process, err := windows.OpenProcess(windows.PROCESS_SET_QUOTA|windows.PROCESS_TERMINATE, false, pid)
	if err != nil {
		return err
	}
	defer windows.CloseHandle(process)
	return windows.AssignProcessToJobObject(job, process)
}
