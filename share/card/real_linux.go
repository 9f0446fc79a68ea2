package card

import (
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/porthole-run/porthole/share"
	"github.com/porthole-run/porthole/share/posix"
)

// Real is the system calls of this kernel below a folder. It needs root. Each process
// of it is a thread with credentials, folder, umask and table of files of its own: the
// kernel keeps POSIX locks by that table.
type Real struct {
	root string

	mu    sync.Mutex
	procs map[*realProc]struct{} // guarded by mu
}

var _ System = (*Real)(nil)

// interruptSignal ends a call of a thread. Go uses it for nothing.
const interruptSignal = syscall.Signal(44)

var catchInterrupt = sync.OnceValue(func() error {
	signal.Notify(make(chan os.Signal, 1), interruptSignal)
	// Go's handlers restart what they interrupt; this one must not.
	var act struct {
		handler, flags, restorer uintptr
		mask                     uint64
	}
	const saRestart = 0x10000000
	p := uintptr(unsafe.Pointer(&act))
	if _, _, e := unix.RawSyscall6(unix.SYS_RT_SIGACTION, uintptr(interruptSignal), 0, p, 8, 0, 0); e != 0 {
		return fmt.Errorf("read signal action: %w", e)
	}
	act.flags &^= saRestart
	if _, _, e := unix.RawSyscall6(unix.SYS_RT_SIGACTION, uintptr(interruptSignal), p, 0, 8, 0, 0); e != 0 {
		return fmt.Errorf("set signal action: %w", e)
	}
	return nil
})

// NewReal returns the system below a folder that is there.
func NewReal(root string) (*Real, error) {
	if os.Geteuid() != 0 {
		return nil, fmt.Errorf("checks act as several users: %w", posix.EPERM)
	}
	if err := catchInterrupt(); err != nil {
		return nil, err
	}
	root, err := filepath.Abs(root)
	if err != nil {
		return nil, err
	}
	if err := unix.Access(root, unix.X_OK); err != nil {
		return nil, fmt.Errorf("open %s: %w", root, errno(err))
	}
	return &Real{root: root, procs: map[*realProc]struct{}{}}, nil
}

// Lacks implements System: a kernel has it all.
func (s *Real) Lacks(Need) string { return "" }

// Close implements System.
func (s *Real) Close() error {
	s.mu.Lock()
	procs := s.procs
	s.procs = nil
	s.mu.Unlock()
	for p := range procs {
		p.Exit()
	}
	return nil
}

// realProc runs functions on its thread.
type realProc struct {
	sys  *Real
	tid  int
	work chan func()   // unbuffered; closed by Exit
	done chan struct{} // closed when the thread has given up its files
	exit sync.Once

	// Of the thread.
	inotify int    // 0: none
	cookie  uint32 // of the last event
}

// Start implements System.
func (s *Real) Start(c Cred, dir string) (Proc, error) {
	p := &realProc{sys: s, work: make(chan func()), done: make(chan struct{})}
	started := make(chan error)
	go p.thread(c, filepath.Join(s.root, dir), started)
	if err := <-started; err != nil {
		return nil, fmt.Errorf("start process: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.procs[p] = struct{}{}
	return p, nil
}

// thread never unlocks its thread, so that the thread ends with it.
func (p *realProc) thread(c Cred, dir string, started chan<- error) {
	defer close(p.done)
	runtime.LockOSThread()
	p.tid = unix.Gettid()
	if err := become(c, dir); err != nil {
		started <- err
		return
	}
	started <- nil
	for f := range p.work {
		f()
	}
	closeFiles()
}

func become(c Cred, dir string) error {
	if err := unix.Unshare(unix.CLONE_FILES | unix.CLONE_FS); err != nil {
		return err
	}
	closeFiles()
	if err := unix.Chdir(dir); err != nil {
		return err
	}
	unix.Umask(int(c.Umask))
	// Package syscall would change all threads.
	groups := make([]uint32, len(c.Groups)+1)
	copy(groups, c.Groups)
	for _, call := range [][4]uintptr{
		{unix.SYS_SETGROUPS, uintptr(len(c.Groups)), uintptr(unsafe.Pointer(&groups[0]))},
		{unix.SYS_SETRESGID, uintptr(c.GID), uintptr(c.GID), uintptr(c.GID)},
		{unix.SYS_SETRESUID, uintptr(c.UID), uintptr(c.UID), uintptr(c.UID)},
	} {
		if _, _, e := unix.RawSyscall(call[0], call[1], call[2], call[3]); e != 0 {
			return e
		}
	}
	runtime.KeepAlive(groups)
	return nil
}

// closeFiles closes the calling thread's files, but those that Go's runtime polls with.
func closeFiles() {
	const dir = "/proc/thread-self/fd"
	d, err := os.ReadDir(dir)
	if err != nil {
		return // then what the process had open stays open in this thread, harmless but for locks
	}
	for _, e := range d {
		fd, err := strconv.Atoi(e.Name())
		if err != nil || fd < 3 {
			continue
		}
		what, err := os.Readlink(dir + "/" + e.Name())
		if err != nil || strings.Contains(what, "[eventpoll]") || strings.Contains(what, "[eventfd]") {
			continue
		}
		_ = unix.Close(fd)
	}
}

// do runs f on the process's thread.
func (p *realProc) do(f func() error) error {
	var err error
	done := make(chan struct{})
	p.work <- func() {
		defer close(done)
		err = errno(f())
	}
	<-done
	return err
}

// Interrupt implements Proc.
func (p *realProc) Interrupt() { _ = unix.Tgkill(unix.Getpid(), p.tid, unix.Signal(interruptSignal)) }

// Exit implements Proc.
func (p *realProc) Exit() {
	p.exit.Do(func() {
		p.sys.mu.Lock()
		delete(p.sys.procs, p)
		p.sys.mu.Unlock()
		close(p.work)
	})
	<-p.done
}

// errno makes the kernel's errors those of package posix.
func errno(err error) error {
	var e syscall.Errno
	if errors.As(err, &e) {
		return posix.Errno(e)
	}
	return err
}

func (p *realProc) Mkdir(path string, mode uint32) error {
	return p.do(func() error { return unix.Mkdir(path, mode) })
}

func (p *realProc) Mknod(path string, mode, dev uint32) error {
	return p.do(func() error { return unix.Mknod(path, mode, int(unix.Mkdev(posix.Major(dev), posix.Minor(dev)))) })
}

func (p *realProc) Symlink(target, path string) error {
	return p.do(func() error { return unix.Symlink(target, path) })
}

func (p *realProc) Link(old, path string) error {
	return p.do(func() error { return unix.Link(old, path) })
}

func (p *realProc) Unlink(path string) error {
	return p.do(func() error { return unix.Unlink(path) })
}

func (p *realProc) Rmdir(path string) error {
	return p.do(func() error { return unix.Rmdir(path) })
}

func (p *realProc) Rename(old, path string, flags uint32) error {
	return p.do(func() error { return unix.Renameat2(unix.AT_FDCWD, old, unix.AT_FDCWD, path, uint(flags)) })
}

func (p *realProc) Readlink(path string) (string, error) {
	b := make([]byte, posix.PATH_MAX)
	var n int
	err := p.do(func() (err error) { n, err = unix.Readlink(path, b); return err })
	return string(b[:max(n, 0)]), err
}

func follow(nofollow bool) int {
	if nofollow {
		return unix.AT_SYMLINK_NOFOLLOW
	}
	return 0
}

func (p *realProc) Stat(path string, nofollow bool) (share.Attr, error) {
	var st unix.Stat_t
	err := p.do(func() error { return unix.Fstatat(unix.AT_FDCWD, path, &st, follow(nofollow)) })
	return attrOf(&st), err
}

func attrOf(st *unix.Stat_t) share.Attr {
	at := func(t unix.Timespec) share.Time { return share.Time{Sec: int64(t.Sec), Nsec: uint32(t.Nsec)} }
	return share.Attr{
		ID: share.FileID{Volume: uint64(st.Dev), File: st.Ino}, Ino: st.Ino, Mode: st.Mode, Nlink: uint32(st.Nlink),
		UID: st.Uid, GID: st.Gid, Rdev: posix.Makedev(unix.Major(uint64(st.Rdev)), unix.Minor(uint64(st.Rdev))),
		Size: uint64(st.Size), Blocks: uint64(st.Blocks), BlockSize: uint32(st.Blksize),
		Atime: at(st.Atim), Mtime: at(st.Mtim), Ctime: at(st.Ctim),
	}
}

func (p *realProc) Chmod(path string, mode uint32) error {
	return p.do(func() error { return unix.Chmod(path, mode) })
}

func (p *realProc) Chown(path string, uid, gid uint32, nofollow bool) error {
	return p.do(func() error {
		return unix.Fchownat(unix.AT_FDCWD, path, int(int32(uid)), int(int32(gid)), follow(nofollow))
	})
}

func (p *realProc) Truncate(path string, size int64) error {
	return p.do(func() error { return unix.Truncate(path, size) })
}

func timespecs(atime, mtime Timespec) []unix.Timespec {
	of := func(t Timespec) unix.Timespec {
		switch {
		case t.Now:
			return unix.Timespec{Nsec: unix.UTIME_NOW}
		case t.Omit:
			return unix.Timespec{Nsec: unix.UTIME_OMIT}
		}
		return unix.Timespec{Sec: t.Sec, Nsec: int64(t.Nsec)}
	}
	return []unix.Timespec{of(atime), of(mtime)}
}

func (p *realProc) Utimens(path string, atime, mtime Timespec, nofollow bool) error {
	return p.do(func() error {
		return unix.UtimesNanoAt(unix.AT_FDCWD, path, timespecs(atime, mtime), follow(nofollow))
	})
}

func (p *realProc) StatFS(path string) (share.StatFS, error) {
	var st unix.Statfs_t
	err := p.do(func() error { return unix.Statfs(path, &st) })
	return share.StatFS{
		Blocks: st.Blocks, Free: st.Bfree, Available: st.Bavail, Files: st.Files, FreeFiles: st.Ffree,
		BlockSize: uint32(st.Bsize), FragmentSize: uint32(st.Frsize), NameLen: uint32(st.Namelen),
	}, err
}

func (p *realProc) Getxattr(path, name string, size int) ([]byte, error) {
	b := make([]byte, size)
	var n int
	err := p.do(func() (err error) { n, err = unix.Lgetxattr(path, name, b); return err })
	if size == 0 {
		b = make([]byte, max(n, 0))
	}
	return b[:max(n, 0)], err
}

func (p *realProc) Setxattr(path, name string, value []byte, flags uint32) error {
	return p.do(func() error { return unix.Lsetxattr(path, name, value, int(flags)) })
}

func (p *realProc) Listxattr(path string, size int) ([]string, error) {
	b := make([]byte, size)
	var n int
	if err := p.do(func() (err error) { n, err = unix.Llistxattr(path, b); return err }); err != nil || size == 0 {
		return nil, err
	}
	return strings.FieldsFunc(string(b[:n]), func(r rune) bool { return r == 0 }), nil
}

func (p *realProc) Removexattr(path, name string) error {
	return p.do(func() error { return unix.Lremovexattr(path, name) })
}
