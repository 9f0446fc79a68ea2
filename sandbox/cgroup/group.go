package cgroup

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/containerd/errdefs"

	"github.com/porthole-run/porthole/sandbox"
)

var _ sandbox.Cgroups = (*FS)(nil)

// prefix begins the names of pods' groups.
const prefix = "porthole-"

// Make implements sandbox.Cgroups.
func (f *FS) Make(ctx context.Context, podID, parent string) (sandbox.Cgroup, error) {
	none := sandbox.Cgroup{}
	at, err := Clean(parent)
	if err != nil {
		return none, err
	}
	group := path.Join(at, prefix+podID)
	out := sandbox.Cgroup{MemoryLimit: -1}
	for _, h := range f.hierarchies {
		if err := f.makeIn(h, group); err != nil {
			err = fmt.Errorf("make control group %s: %w", group, err)
			return none, errors.Join(err, f.Remove(ctx, podID, parent))
		}
		out.Dirs = append(out.Dirs, filepath.Join(h.dir, filepath.FromSlash(group)))
		if limit := h.memoryLimit(filepath.Join(h.dir, filepath.FromSlash(at))); limit >= 0 {
			out.MemoryLimit = limit
		}
	}
	return out, nil
}

// makeIn makes a group and those above it that are not there, which it marks.
func (f *FS) makeIn(h hierarchy, group string) error {
	dir := h.dir
	for name := range strings.SplitSeq(strings.TrimPrefix(group, "/"), "/") {
		above := dir
		dir = filepath.Join(dir, name)
		err := os.Mkdir(dir, 0o755)
		switch {
		case err == nil:
			if err := f.kernel.mark(dir); err != nil {
				return fmt.Errorf("mark %s: %w", dir, err)
			}
		case !errors.Is(err, fs.ErrExist):
			return fmt.Errorf("%w: %w", errdefs.ErrFailedPrecondition, err)
		}
		if st, err := os.Stat(dir); err != nil {
			return err
		} else if !st.IsDir() {
			return fmt.Errorf("%s is a file of the kernel's: %w", dir, errdefs.ErrInvalidArgument)
		}
		if h.has("cpuset") {
			if err := inherit(above, dir); err != nil {
				return err
			}
		}
	}
	return nil
}

// inherit gives a group of cgroup v1 the CPUs and memory nodes of the one above it where it
// has none: until then no process can be in it.
func inherit(above, dir string) error {
	for _, file := range []string{"cpuset.cpus", "cpuset.mems"} {
		have, err := os.ReadFile(filepath.Join(dir, file))
		if err != nil {
			return err
		}
		if strings.TrimSpace(string(have)) != "" {
			continue
		}
		from, err := os.ReadFile(filepath.Join(above, file))
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, file), from, 0); err != nil {
			return err
		}
	}
	return nil
}

// memoryLimit is the limit of a group in bytes; -1: none, or not of this hierarchy.
func (h hierarchy) memoryLimit(dir string) int64 {
	file := "memory.max"
	if h.version == 1 {
		if !h.has("memory") {
			return -1
		}
		file = "memory.limit_in_bytes"
	}
	b, err := os.ReadFile(filepath.Join(dir, file))
	if err != nil {
		return -1 // a root of v2 has none
	}
	n, err := strconv.ParseInt(strings.TrimSpace(string(b)), 10, 64)
	if err != nil || n >= noLimit { // "max"
		return -1
	}
	return n
}

// noLimit is more than any host has: cgroup v1 shows no limit as the largest number of
// pages that there can be.
const noLimit = 1 << 60

// Enter implements sandbox.Cgroups. What the processes have of memory by then stays counted
// where they were.
func (f *FS) Enter(_ context.Context, g sandbox.Cgroup, pids []int) error {
	for _, dir := range g.Dirs {
		for _, pid := range pids {
			if err := os.WriteFile(filepath.Join(dir, procsFile), []byte(strconv.Itoa(pid)), 0); err != nil {
				return fmt.Errorf("move process %d to its control group: %w", pid, err)
			}
		}
	}
	return nil
}

// Remove implements sandbox.Cgroups.
func (f *FS) Remove(ctx context.Context, podID, parent string) error {
	var errs []error
	for _, h := range f.hierarchies {
		dir, ok := h.find(podID, parent)
		if !ok {
			continue
		}
		if err := f.removeEmpty(ctx, dir); err != nil {
			errs = append(errs, err)
			continue
		}
		f.removeOurs(h, filepath.Dir(dir))
	}
	return errors.Join(errs...)
}

// find is the folder of a pod's group. Without a parent it is looked for.
func (h hierarchy) find(podID, parent string) (dir string, ok bool) {
	if parent == "" {
		err := filepath.WalkDir(h.dir, func(p string, d fs.DirEntry, err error) error {
			if err == nil && d.IsDir() && d.Name() == prefix+podID {
				dir = p
				return fs.SkipAll
			}
			return nil // groups come and go
		})
		return dir, err == nil && dir != ""
	}
	at, err := Clean(parent)
	if err != nil {
		return "", false // no group was made for it
	}
	return filepath.Join(h.dir, filepath.FromSlash(path.Join(at, prefix+podID))), true
}

// removeOurs removes the groups from dir up that are ours and in which nobody is. Who uses
// one now has it; who uses it last removes it.
func (f *FS) removeOurs(h hierarchy, dir string) {
	for ; len(dir) > len(h.dir); dir = filepath.Dir(dir) {
		if _, err := os.Lstat(dir); errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if !f.kernel.marked(dir) || f.kernel.remove(dir) != nil {
			return
		}
	}
}

// removePause is how long after a removal that came too early the next one is tried:
// processes leave their groups a moment after they have ended.
const removePause = 10 * time.Millisecond

// removeEmpty removes a group once its processes have gone; it waits for that until ctx
// ends. Gone is not an error.
func (f *FS) removeEmpty(ctx context.Context, dir string) error {
	for {
		err := f.kernel.remove(dir)
		if err == nil || errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if !errors.Is(err, syscall.EBUSY) && !errors.Is(err, syscall.ENOTEMPTY) {
			return fmt.Errorf("remove control group: %w", err)
		}
		timer := time.NewTimer(removePause)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			procs, _ := os.ReadFile(filepath.Join(dir, procsFile)) // for people
			return fmt.Errorf("remove control group: %w: %w (still in it: %s)", ctx.Err(), err, strings.Join(strings.Fields(string(procs)), " "))
		}
	}
}
