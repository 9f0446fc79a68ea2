package fusemount

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/porthole-run/porthole/internal/undo"
)

// maxRead is the most that one READ asks for, in bytes: 256 pages, the kernel's limit.
const maxRead = 1 << 20

// readAhead is what the kernel reads ahead, in KiB; its own default is 128.
const readAhead = 1024

// Bounds of Unmount.
const (
	busyTime  = 2 * time.Second  // for the last user of the mount
	flushTime = 10 * time.Second // for what the kernel has to write back
	undoTime  = 15 * time.Second
)

// ErrEnded is what New returns when the relay ended before kernel and server had agreed.
var ErrEnded = errors.New("the relay ended")

// A Process is a relay that was started.
type Process interface {
	PID() int
	Signal(sig syscall.Signal) error
	// Done is closed when it has exited and was waited for.
	Done() <-chan struct{}
	// Code is its exit code, 128+n for signal n, once Done is closed.
	Code() uint32
}

// Config says what to mount where.
type Config struct {
	Relay string // path of the relay
	// Start starts a program with the descriptors of attr.
	Start func(path string, args []string, attr *os.ProcAttr) (Process, error)
	// Stream goes to the relay. Mount closes this end of it, whatever happens.
	Stream *os.File
	// Dir is the mount point. Mount makes it, and its parents.
	Dir      string
	File     bool // the root is a file, and so is Dir
	ReadOnly bool
}

// Mount is a mounted file system and its relay.
type Mount struct {
	dir   string        // immutable
	relay Process       // immutable
	ready chan struct{} // closed when the first exchange is done
	done  chan struct{} // closed when the relay has ended
	err   error         // set before done is closed

	mu sync.Mutex // held by Unmount
}

// New mounts, and returns when kernel and server have agreed (INIT), within ctx. On
// error nothing is left.
func New(ctx context.Context, c Config) (m *Mount, err error) {
	defer c.Stream.Close()
	var u undo.Stack
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("mount share on %s: %w", c.Dir, err), u.Run(ctx, undoTime))
		}
	}()
	if err := makePoint(c.Dir, c.File); err != nil {
		return nil, err
	}
	u.Push("remove mount point", func(context.Context) error { return removePoint(c.Dir) })
	device, err := mount(c)
	if err != nil {
		return nil, err
	}
	defer device.Close()
	u.Push("unmount", func(context.Context) error { return unix.Unmount(c.Dir, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW) })
	// The relay's injections go to a mount of its own: that one may write, and it does
	// not keep the other from being unmounted.
	root, err := openTree(c.Dir)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	if c.ReadOnly {
		if err := unix.Mount("", c.Dir, "", unix.MS_REMOUNT|unix.MS_BIND|unix.MS_RDONLY|unix.MS_NODEV, ""); err != nil {
			return nil, fmt.Errorf("make read-only: %w", err)
		}
	}
	id, err := connectionOf(root)
	if err != nil {
		return nil, err
	}
	abort, err := openAbort(id)
	if err != nil {
		return nil, err
	}
	if m, err = startRelay(c, device, root, abort); err != nil {
		abort.Close()
		return nil, err
	}
	u = undo.Stack{}
	u.Push("undo", m.Unmount)
	select {
	case <-m.ready:
	case <-m.done:
		return nil, fmt.Errorf("%w: %w", ErrEnded, m.err)
	case <-ctx.Done():
		return nil, fmt.Errorf("wait for the server's first answer: %w", ctx.Err())
	}
	// A system that does not let us reads less ahead.
	os.WriteFile(fmt.Sprintf("/sys/class/bdi/0:%d/read_ahead_kb", id), []byte(strconv.Itoa(readAhead)), 0)
	return m, nil
}

func makePoint(dir string, file bool) error {
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return fmt.Errorf("make mount point: %w", err)
	}
	if !file {
		if err := os.Mkdir(dir, 0o755); err != nil {
			return fmt.Errorf("make mount point: %w", err)
		}
		return nil
	}
	f, err := os.OpenFile(dir, os.O_CREATE|os.O_EXCL|os.O_RDONLY, 0o644)
	if err != nil {
		return fmt.Errorf("make mount point: %w", err)
	}
	return f.Close()
}

func removePoint(dir string) error {
	if err := os.Remove(dir); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("remove mount point: %w", err)
	}
	return nil
}

// mount opens the device and mounts it. The superblock may always write: read-only is
// the mount, since what the relay injects changes nothing but is a change to the kernel.
func mount(c Config) (*os.File, error) {
	fd, err := unix.Open("/dev/fuse", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open /dev/fuse: %w", err)
	}
	mode := unix.S_IFDIR
	if c.File {
		mode = unix.S_IFREG
	}
	options := fmt.Sprintf("fd=%d,rootmode=%o,user_id=0,group_id=0,allow_other,default_permissions,max_read=%d", fd, mode, maxRead)
	if err := unix.Mount("porthole", c.Dir, "fuse", unix.MS_NODEV, options); err != nil {
		unix.Close(fd)
		return nil, err
	}
	if err := unix.Mount("", c.Dir, "", unix.MS_PRIVATE, ""); err != nil {
		unix.Unmount(c.Dir, unix.MNT_DETACH)
		unix.Close(fd)
		return nil, fmt.Errorf("make private: %w", err)
	}
	return os.NewFile(uintptr(fd), "/dev/fuse"), nil
}

func openTree(dir string) (*os.File, error) {
	fd, err := unix.OpenTree(unix.AT_FDCWD, dir, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)
	if err != nil {
		return nil, &os.PathError{Op: "open_tree", Path: dir, Err: err}
	}
	return os.NewFile(uintptr(fd), dir), nil
}

// connectionOf returns the kernel's number of the connection, without asking the server.
func connectionOf(root *os.File) (uint32, error) {
	var st unix.Statx_t
	if err := unix.Statx(int(root.Fd()), "", unix.AT_EMPTY_PATH|unix.AT_STATX_DONT_SYNC, 0, &st); err != nil {
		return 0, fmt.Errorf("statx: %w", err)
	}
	return st.Dev_minor, nil
}

// openAbort opens the file that aborts a connection when it is written to. It is in a
// file system of its own, which need not be mounted anywhere.
func openAbort(id uint32) (*os.File, error) {
	fs, err := unix.Fsopen("fusectl", unix.FSOPEN_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("open fusectl: %w", err)
	}
	defer unix.Close(fs)
	if err := unix.FsconfigCreate(fs); err != nil {
		return nil, fmt.Errorf("make fusectl: %w", err)
	}
	root, err := unix.Fsmount(fs, unix.FSMOUNT_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("mount fusectl: %w", err)
	}
	defer unix.Close(root)
	name := fmt.Sprintf("%d/abort", id)
	fd, err := unix.Openat(root, name, unix.O_WRONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: "fusectl/" + name, Err: err}
	}
	return os.NewFile(uintptr(fd), name), nil
}

// startRelay starts the relay and what watches it, which then owns abort.
func startRelay(c Config, device, root, abort *os.File) (*Mount, error) {
	life, relayLife, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer relayLife.Close()
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		life.Close()
		return nil, err
	}
	defer null.Close()
	p, err := c.Start(c.Relay, []string{"relay"}, &os.ProcAttr{
		Dir:   "/",
		Env:   []string{},
		Files: []*os.File{null, null, null, device, c.Stream, root, relayLife},
		Sys:   &syscall.SysProcAttr{Setsid: true},
	})
	if err != nil {
		life.Close()
		return nil, fmt.Errorf("start %s: %w", c.Relay, err)
	}
	// Without it, memory would have to be short before it matters.
	os.WriteFile(fmt.Sprintf("/proc/%d/oom_score_adj", p.PID()), []byte("-1000"), 0)
	m := &Mount{dir: c.Dir, relay: p, ready: make(chan struct{}), done: make(chan struct{})}
	go m.watch(life, abort) // ends with the relay, which Unmount sees to
	return m, nil
}

// watch waits for the relay's first byte and for its end.
func (m *Mount) watch(life, abort *os.File) {
	if n, _ := life.Read(make([]byte, 1)); n > 0 {
		close(m.ready)
		io.Copy(io.Discard, life)
	}
	life.Close()
	// Threads of a relay that was killed may wait in the kernel for answers that come no
	// more. On a connection that has ended this does nothing.
	abort.Write([]byte("1"))
	abort.Close()
	<-m.relay.Done()
	m.err = how(m.relay.Code())
	close(m.done)
}

// how words a relay's exit code; relay.c has the numbers.
func how(code uint32) error {
	switch {
	case code == 0:
		return errors.New("the file system was unmounted")
	case code == 1:
		return errors.New("the stream to the server ended")
	case code == 2:
		return errors.New("the server sent a message out of form")
	case code > 128:
		return fmt.Errorf("the relay was killed by signal %d", code-128)
	}
	return fmt.Errorf("a system call of the relay failed (code %d)", code)
}

// Done is closed when the relay has ended, and the file system with it.
func (m *Mount) Done() <-chan struct{} { return m.done }

// Err says how the relay ended; it may be called once Done is closed.
func (m *Mount) Err() error { return m.err }

// Relay is the process of the relay.
func (m *Mount) Relay() Process { return m.relay }

// Unmount lets the kernel write back what it has, unmounts, ends the relay and removes
// the mount point. What still uses the mount after a short wait gets errors from then
// on. It may be called again; on a Mount that is gone it does nothing.
func (m *Mount) Unmount(ctx context.Context) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.detach(ctx); err != nil {
		return fmt.Errorf("unmount %s: %w", m.dir, err)
	}
	m.relay.Signal(unix.SIGTERM) // one that has ended is as good
	flush := time.NewTimer(flushTime)
	defer flush.Stop()
	select {
	case <-m.done:
	case <-flush.C:
		m.kill()
	case <-ctx.Done():
		m.kill()
	}
	return removePoint(m.dir)
}

// kill ends a relay that does not end by itself: something holds the mount, or the
// server does not answer.
func (m *Mount) kill() {
	m.relay.Signal(unix.SIGKILL)
	<-m.done
}

func (m *Mount) detach(ctx context.Context) error {
	retry := time.NewTicker(5 * time.Millisecond)
	defer retry.Stop()
	ctx, cancel := context.WithTimeout(ctx, busyTime)
	defer cancel()
	err := unix.Unmount(m.dir, unix.UMOUNT_NOFOLLOW)
	for errors.Is(err, unix.EBUSY) {
		flags := unix.UMOUNT_NOFOLLOW
		select {
		case <-retry.C:
		case <-ctx.Done():
			flags |= unix.MNT_DETACH
		}
		err = unix.Unmount(m.dir, flags)
	}
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOENT) {
		return nil // it was unmounted before
	}
	return err
}
