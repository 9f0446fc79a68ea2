package hcsemu

import (
	"net"
	"os"
	"os/exec"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/porthole-run/porthole/internal/console"
)

// newPair makes a connected pair of sockets: our end, and QEMU's.
func newPair() (net.Conn, *os.File, error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, err
	}
	f := os.NewFile(uintptr(fds[0]), "host end")
	defer f.Close() // FileConn makes its own copy
	c, err := net.FileConn(f)
	if err != nil {
		_ = unix.Close(fds[1])
		return nil, nil, err
	}
	return c, os.NewFile(uintptr(fds[1]), "qemu's end"), nil
}

// process is a running QEMU.
type process struct {
	proc   *os.Process
	stderr *console.Ring
	done   chan struct{}
	err    error // of its end; set before done closes
}

// spawn starts QEMU on a thread that lives as long as it, so that the kernel ends it with
// this process.
func spawn(path string, args []string, files []*os.File) (*process, error) {
	p := &process{stderr: console.NewRing(8 << 10), done: make(chan struct{})}
	cmd := exec.Command(path, args...)
	cmd.ExtraFiles = files
	cmd.Stdout, cmd.Stderr = p.stderr, p.stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setsid: true}
	started := make(chan error)
	go func() { // done tells its end
		runtime.LockOSThread() // never unlocked: the thread ends with this goroutine
		err := cmd.Start()
		if err == nil {
			p.proc = cmd.Process
		}
		started <- err
		if err != nil {
			return
		}
		p.err = cmd.Wait()
		close(p.done)
	}()
	if err := <-started; err != nil {
		return nil, err
	}
	return p, nil
}

func (p *process) kill() { _ = p.proc.Kill() }
