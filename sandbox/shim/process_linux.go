package shim

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

var bootID = sync.OnceValue(func() string {
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "unknown-boot"
	}
	return strings.TrimSpace(string(b))
})

// startTime returns the boot and the clock tick in which a process began. A process that
// has ended and is yet to be reaped is gone.
func startTime(pid int) (string, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return "", err
	}
	// The name, in parentheses, may hold anything: fields are counted from its end.
	fields := bytes.Fields(b[bytes.LastIndexByte(b, ')')+1:])
	if len(fields) < 20 {
		return "", fmt.Errorf("stat of process %d has %d fields", pid, len(fields))
	}
	if state := string(fields[0]); state == "Z" || state == "X" {
		return "", os.ErrProcessDone
	}
	return bootID() + "/" + string(fields[19]), nil
}

// awaitEnd returns when the process has ended or ctx has, or at once when the kernel cannot
// tell.
func (p processID) awaitEnd(ctx context.Context) {
	fd, err := unix.PidfdOpen(p.PID, unix.PIDFD_NONBLOCK)
	if err != nil {
		return // it is gone, or the kernel is older than 5.10
	}
	f := os.NewFile(uintptr(fd), "process") // not blocking, so that the runtime waits for it
	defer f.Close()
	if !p.alive() { // of another process by now, perhaps
		return
	}
	raw, err := f.SyscallConn()
	if err != nil {
		return
	}
	stop := context.AfterFunc(ctx, func() { f.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	// What becomes of the wait shows by whether the process is alive.
	_ = raw.Read(func(fd uintptr) bool {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 0)
		return n > 0 || err != nil && err != unix.EINTR
	})
}

// detach keeps the signals of the daemon's terminal from a process: it gets a session of its own.
func detach(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true} }

// closeReady ends the readiness pipe, our stdout, for good: what is printed from now on
// goes where stderr goes.
func closeReady() error { return unix.Dup3(2, 1, 0) }

// passedFile is a file that this process was started with. Children do not get it.
func passedFile(fd int, name string) *os.File {
	unix.CloseOnExec(fd)
	return os.NewFile(uintptr(fd), name)
}

// passedPath is a path by which this process opens such a file anew.
func passedPath(f *os.File) string { return fmt.Sprintf("/proc/self/fd/%d", f.Fd()) }

// protect makes the kernel rather kill something else when memory is short.
func protect() error {
	return os.WriteFile("/proc/self/oom_score_adj", []byte(strconv.Itoa(shimOOMScore)), 0o644)
}

var terminate os.Signal = unix.SIGTERM
