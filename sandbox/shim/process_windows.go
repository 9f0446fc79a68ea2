package shim

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"

	"golang.org/x/sys/windows"
)

// startTime returns when a process began, in units of 100 ns. A process that has ended, and
// of which somebody still has a handle, is gone.
func startTime(pid int) (string, error) {
	h, err := windows.OpenProcess(windows.PROCESS_QUERY_LIMITED_INFORMATION|windows.SYNCHRONIZE, false, uint32(pid))
	if err != nil {
		return "", err
	}
	defer windows.CloseHandle(h)
	if event, err := windows.WaitForSingleObject(h, 0); err != nil {
		return "", err
	} else if event == windows.WAIT_OBJECT_0 {
		return "", os.ErrProcessDone
	}
	var begun, ended, kernel, user windows.Filetime
	if err := windows.GetProcessTimes(h, &begun, &ended, &kernel, &user); err != nil {
		return "", err
	}
	return fmt.Sprintf("%08x%08x", begun.HighDateTime, begun.LowDateTime), nil
}

// awaitEnd leaves it to the caller to look.
func (processID) awaitEnd(context.Context) {}

// detach keeps the daemon's Ctrl-C from a process: no console, and a group of its own.
func detach(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{CreationFlags: windows.DETACHED_PROCESS | windows.CREATE_NEW_PROCESS_GROUP}
}

// closeReady ends the readiness pipe, our stdout, for good: what is printed from now on
// goes where stderr goes.
func closeReady() error {
	err := windows.SetStdHandle(windows.STD_OUTPUT_HANDLE, windows.Handle(os.Stderr.Fd()))
	ready := os.Stdout
	os.Stdout = os.Stderr
	return errors.Join(err, ready.Close())
}

// protect does nothing: Windows kills no process when memory is short.
func protect() error { return nil }

// terminate is the one signal that Windows delivers to another process. It gives a shim no time, but its VM
// ends with the handle that it holds.
var terminate os.Signal = os.Kill

// passedFile is nothing: a process gets no files by number here, and no shim is started
// with any, as no driver clones.
func passedFile(int, string) *os.File { return nil }

func passedPath(f *os.File) string { return f.Name() }
