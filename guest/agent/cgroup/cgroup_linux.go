package cgroup

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// FS is a mounted cgroup2 file system.
type FS struct {
	root string // immutable after New

	mu      sync.Mutex // guards the rest
	inotify *os.File   // nil until the first watch
	watches map[int32]watch
}

type watch struct {
	group  string
	last   uint64
	report func()
}

// New returns the cgroup file system mounted at root.
func New(root string) *FS { return &FS{root: root, watches: map[int32]watch{}} }

func (c *FS) path(group string, file ...string) string {
	return filepath.Join(append([]string{c.root, group}, file...)...)
}

// Create makes a group below one that Create or package boot made, with every
// controller enabled for its children. A group that is there is not an error.
func (c *FS) Create(group string) error {
	if err := os.Mkdir(c.path(group), 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("make cgroup: %w", err)
	}
	b, err := os.ReadFile(c.path(group, "cgroup.controllers"))
	if err != nil {
		return fmt.Errorf("read cgroup controllers: %w", err)
	}
	var enable []string
	for name := range strings.FieldsSeq(string(b)) {
		enable = append(enable, "+"+name)
	}
	if err := os.WriteFile(c.path(group, "cgroup.subtree_control"), []byte(strings.Join(enable, " ")), 0); err != nil {
		return fmt.Errorf("enable cgroup controllers: %w", err)
	}
	return nil
}

// Kill sends SIGKILL to all processes of a group and the groups below it, those that
// fork meanwhile too. A group that is gone is not an error.
func (c *FS) Kill(group string) error {
	err := os.WriteFile(c.path(group, "cgroup.kill"), []byte("1"), 0)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("kill cgroup: %w", err)
	}
	return nil
}

// Signal sends sig to all processes of a group and the groups below it.
func (c *FS) Signal(group string, sig syscall.Signal) error {
	if sig == unix.SIGKILL {
		return c.Kill(group)
	}
	return filepath.WalkDir(c.path(group), func(p string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil || !d.IsDir() {
			return err
		}
		b, err := os.ReadFile(filepath.Join(p, "cgroup.procs"))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("list cgroup: %w", err)
		}
		for s := range strings.FieldsSeq(string(b)) {
			pid, err := strconv.Atoi(s)
			if err != nil || pid <= 0 {
				continue
			}
			if err := unix.Kill(pid, sig); err != nil && !errors.Is(err, unix.ESRCH) {
				return fmt.Errorf("signal process %d: %w", pid, err)
			}
		}
		return nil
	})
}

// Remove removes a group and the groups below it, once their processes have gone; it
// waits for that until ctx ends. A group that is gone is not an error.
func (c *FS) Remove(ctx context.Context, group string) error {
	retry := time.NewTicker(5 * time.Millisecond)
	defer retry.Stop()
	for {
		err := removeTree(c.path(group))
		if err == nil || !errors.Is(err, unix.EBUSY) {
			return err
		}
		select {
		case <-retry.C:
		case <-ctx.Done():
			return fmt.Errorf("%w: %w (still in it: %s)", err, ctx.Err(), c.members(group))
		}
	}
}

// members names the processes of a group, for an error.
func (c *FS) members(group string) string {
	procs, err := os.ReadFile(c.path(group, "cgroup.procs"))
	if err != nil {
		return err.Error()
	}
	var names []string
	for _, pid := range strings.Fields(string(procs)) {
		comm, _ := os.ReadFile(filepath.Join("/proc", pid, "comm"))
		names = append(names, pid+" "+strings.TrimSpace(string(comm)))
	}
	return strings.Join(names, ", ")
}

func removeTree(dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("remove cgroup: %w", err)
	}
	for _, e := range entries {
		if e.IsDir() {
			if err := removeTree(filepath.Join(dir, e.Name())); err != nil {
				return err
			}
		}
	}
	if err := unix.Rmdir(dir); err != nil && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("remove cgroup: %w", &os.PathError{Op: "rmdir", Path: dir, Err: err})
	}
	return nil
}

// OOMKills returns how many processes of a group and the groups below it the kernel
// has killed for want of memory. A group that is gone has none.
func (c *FS) OOMKills(group string) uint64 {
	f, err := os.Open(c.path(group, "memory.events"))
	if err != nil {
		return 0
	}
	defer f.Close()
	s := bufio.NewScanner(f)
	for s.Scan() {
		if v, ok := strings.CutPrefix(s.Text(), "oom_kill "); ok {
			n, _ := strconv.ParseUint(v, 10, 64)
			return n
		}
	}
	return 0
}

// WatchOOM calls report, on a goroutine of the watcher, each time OOMKills grows. The
// watch ends with the group.
func (c *FS) WatchOOM(group string, report func()) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.inotify == nil {
		fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
		if err != nil {
			return fmt.Errorf("watch cgroup: %w", err)
		}
		c.inotify = os.NewFile(uintptr(fd), "inotify")
		go c.readEvents(c.inotify)
	}
	raw, err := c.inotify.SyscallConn()
	if err != nil {
		return err
	}
	var wd int
	var addErr error
	err = raw.Control(func(fd uintptr) {
		wd, addErr = unix.InotifyAddWatch(int(fd), c.path(group, "memory.events"), unix.IN_MODIFY)
	})
	if err = errors.Join(err, addErr); err != nil {
		return fmt.Errorf("watch cgroup: %w", err)
	}
	c.watches[int32(wd)] = watch{group: group, report: report}
	return nil
}

// readEvents runs until the agent ends.
func (c *FS) readEvents(f *os.File) {
	b := make([]byte, 64*unix.SizeofInotifyEvent)
	for {
		n, err := f.Read(b)
		if err != nil {
			return
		}
		for rest := b[:n]; len(rest) >= unix.SizeofInotifyEvent; {
			e := (*unix.InotifyEvent)(unsafe.Pointer(&rest[0]))
			c.changed(e.Wd, e.Mask)
			rest = rest[min(len(rest), unix.SizeofInotifyEvent+int(e.Len)):]
		}
	}
}

func (c *FS) changed(wd int32, mask uint32) {
	c.mu.Lock()
	w, ok := c.watches[wd]
	switch {
	case mask&unix.IN_IGNORED != 0:
		delete(c.watches, wd)
		ok = false
	case ok:
		kills := c.OOMKills(w.group)
		ok = kills > w.last
		w.last = max(w.last, kills)
		c.watches[wd] = w
	}
	c.mu.Unlock()
	if ok {
		w.report()
	}
}
