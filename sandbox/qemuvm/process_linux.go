package qemuvm

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/porthole-run/porthole/internal/console"
)

// pair is a connected pair of sockets: one end here, one to pass to QEMU.
type pair struct {
	host  *net.UnixConn
	guest *os.File
}

func newPair() (pair, error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return pair{}, err
	}
	host := os.NewFile(uintptr(fds[0]), "host end")
	defer host.Close() // FileConn makes its own copy
	c, err := net.FileConn(host)
	if err != nil {
		_ = unix.Close(fds[1])
		return pair{}, err
	}
	return pair{host: c.(*net.UnixConn), guest: os.NewFile(uintptr(fds[1]), "qemu's end")}, nil
}

// fileConn lets the management connection pass files.
type fileConn struct{ *net.UnixConn }

// WriteFile implements qmp.FileWriter.
func (c fileConn) WriteFile(b []byte, f *os.File) error {
	n, _, err := c.WriteMsgUnix(b, unix.UnixRights(int(f.Fd())), nil)
	if err != nil || n == len(b) {
		return err
	}
	_, err = c.Write(b[n:]) // the file went with the first byte
	return err
}

// process is a running QEMU.
type process struct {
	pid    int
	proc   *os.Process
	done   chan struct{} // closed when it was reaped
	state  *os.ProcessState
	stderr *console.Ring
}

// command is what to run and as whom.
type command struct {
	path     string
	args     []string
	files    []*os.File // descriptors 3, 4, …
	uid, gid uint32
	groups   []uint32
}

// spawn starts QEMU on a thread that lives as long as it: the kernel sends the parent
// death signal when the thread that forked ends, not the process. It is the kernel that
// kills QEMU when this process dies, however it does.
func spawn(c command) (*process, error) {
	if err := noCores(); err != nil {
		return nil, err
	}
	p := &process{done: make(chan struct{}), stderr: console.NewRing(8 << 10)}
	cmd := exec.Command(c.path, c.args...)
	cmd.Dir = "/"
	cmd.Env = []string{}
	cmd.ExtraFiles = c.files
	cmd.Stderr = p.stderr
	cmd.Stdout = p.stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Credential: &syscall.Credential{Uid: c.uid, Gid: c.gid, Groups: c.groups},
		Pdeathsig:  syscall.SIGKILL,
		Setsid:     true, // a terminal's signals are not for it
		Cloneflags: unix.CLONE_NEWNET | unix.CLONE_NEWIPC | unix.CLONE_NEWUTS,
	}
	started := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with this goroutine
		if err := cmd.Start(); err != nil {
			started <- err
			return
		}
		started <- nil
		_ = cmd.Wait()
		p.state = cmd.ProcessState
		close(p.done)
	}()
	if err := <-started; err != nil {
		return nil, err
	}
	p.pid, p.proc = cmd.Process.Pid, cmd.Process
	return p, nil
}

// kill ends the process; done says when it is over.
func (p *process) kill() { _ = p.proc.Kill() }

// how tells how the process ended.
func (p *process) how() string {
	if p.state == nil {
		return "qemu was lost"
	}
	return "qemu ended: " + p.state.String()
}

// tryLock opens the file at path, made when missing, and locks it until it is closed or
// this process ends. errLocked when another has it.
func tryLock(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		_ = f.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, errLocked
		}
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	return f, nil
}

// noCores keeps QEMU from writing its memory, the guest's secrets with it, to a file when
// it crashes. Limits belong to processes, not threads, and to change another process's
// takes a capability: so this process's own is lowered for good, and children are born
// with it. That is as well, since the streams of the guest go through this one. The limit
// is 1 and not 0: handlers that take cores through a pipe (core_pattern) are not bound by
// any limit but that one, see core(5).
func noCores() error {
	if err := unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{Cur: 1, Max: 1}); err != nil {
		return fmt.Errorf("limit cores: %w", err)
	}
	return nil
}

// readable tells whether a user may read a file by its mode.
func readable(st os.FileInfo, uid, gid uint32) bool {
	sys, ok := st.Sys().(*syscall.Stat_t)
	if !ok || uid == 0 {
		return true
	}
	switch {
	case sys.Uid == uid:
		return sys.Mode&0o400 != 0
	case sys.Gid == gid:
		return sys.Mode&0o040 != 0
	}
	return sys.Mode&0o004 != 0
}

// openDisk opens a disk's file for QEMU and returns its size in bytes.
func openDisk(path string, readOnly bool) (*os.File, int64, error) {
	flags := os.O_RDWR
	if readOnly {
		flags = os.O_RDONLY
	}
	// Not to hang on a FIFO.
	f, err := os.OpenFile(path, flags|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, 0, err
	}
	st, err := f.Stat()
	if err == nil && !st.Mode().IsRegular() && st.Mode().Type() != os.ModeDevice {
		err = errNotDisk
	}
	var size int64
	if err == nil {
		size, err = f.Seek(0, 2)
	}
	if err != nil {
		_ = f.Close()
		return nil, 0, err
	}
	return f, size, nil
}

// kvmGroups are the groups that QEMU needs for /dev/kvm, which it opens by path: the
// device's group, when that may use it.
func kvmGroups() []uint32 {
	st, err := os.Stat(kvmDevice)
	if err != nil {
		return nil
	}
	sys, ok := st.Sys().(*syscall.Stat_t)
	if !ok || sys.Mode&0o060 != 0o060 || sys.Gid == 0 {
		return nil
	}
	return []uint32{sys.Gid}
}

// mayUse tells whether a process with these credentials could open a device for reading
// and writing.
func mayUse(path string, uid, gid uint32, groups []uint32) bool {
	st, err := os.Stat(path)
	if err != nil {
		return false
	}
	sys, ok := st.Sys().(*syscall.Stat_t)
	if !ok || uid == 0 {
		return ok
	}
	if sys.Uid == uid {
		return sys.Mode&0o600 == 0o600
	}
	for _, g := range append([]uint32{gid}, groups...) {
		if sys.Gid == g {
			return sys.Mode&0o060 == 0o060
		}
	}
	return sys.Mode&0o006 == 0o006
}

// hostKernel is the release of the running kernel.
func hostKernel() string {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return "unknown"
	}
	return unix.ByteSliceToString(u.Release[:])
}

// output runs a program that should answer soon and returns what it prints.
func output(ctx context.Context, path string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	b, err := exec.CommandContext(ctx, path, args...).Output()
	return string(b), err
}
