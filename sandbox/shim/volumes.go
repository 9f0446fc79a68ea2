package shim

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/containerd/errdefs"

	"github.com/porthole-run/porthole/guest"
	"github.com/porthole-run/porthole/internal/vhd"
	"github.com/porthole-run/porthole/sandbox"
)

// volumeSet is the disks that the containers of one VM mount. A disk is attached once,
// and detached when the last container has gone. While it is attached its file is locked
// on the host: a file system that two kernels write is lost.
type volumeSet struct {
	vm disker // immutable after newVolumeSet

	mu      sync.Mutex // guards volumes and each volume's users and mounted
	volumes map[string]*volume
}

type volume struct {
	id       string // immutable
	readOnly bool   // immutable
	users    int

	// mounted: the guest uses the disk, whatever users says, until it tells otherwise.
	mounted bool

	lock lock          // held while the disk comes or goes; guards the rest
	file *os.File      // the locked disk; nil: not attached
	disk *guest.Volume // as the guest is told
}

func newVolumeSet(vm disker) *volumeSet {
	return &volumeSet{vm: vm, volumes: map[string]*volume{}}
}

// acquire attaches a disk that is not attached. On error nothing is acquired.
func (s *volumeSet) acquire(ctx context.Context, src sandbox.DiskSource, readOnly bool) (*guest.Volume, error) {
	f, root, err := openVolume(src, readOnly)
	if err != nil {
		return nil, err
	}
	v, err := s.pin(f, readOnly)
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	used, err := s.attach(ctx, v, f, root)
	if !used {
		err = errors.Join(err, f.Close())
	}
	if err == nil {
		return v.disk, nil
	}
	uctx, cancel := undoContext(ctx)
	defer cancel()
	return nil, errors.Join(err, s.release(uctx, v.id))
}

// pin finds the volume of an open disk: one for each file and way to attach it. What is
// attached for writing is read by it too.
func (s *volumeSet) pin(f *os.File, readOnly bool) (*volume, error) {
	id, err := fileName(f)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if readOnly && s.volumes[id] == nil {
		id += "-ro"
	}
	v := s.volumes[id]
	if v == nil {
		v = &volume{id: id, readOnly: readOnly, lock: newLock()}
		s.volumes[id] = v
	}
	v.users++
	return v, nil
}

// attach tells whether it took the file.
func (s *volumeSet) attach(ctx context.Context, v *volume, f *os.File, root *guest.DiskRoot) (used bool, err error) {
	if err := v.lock.acquire(ctx); err != nil {
		return false, err
	}
	defer v.lock.release()
	if v.file != nil {
		return false, nil
	}
	if err := lockFile(f, !v.readOnly); err != nil {
		return false, fmt.Errorf("disk %s is in use by another VM, or by this one in another way: %w: %w", f.Name(), err, errdefs.ErrFailedPrecondition)
	}
	format, err := diskFormat(f)
	if err != nil {
		return false, err
	}
	// By what is open and locked: a guest that is shown the folder may have put a link at
	// the name meanwhile.
	addr, err := s.vm.AttachDisk(ctx, sandbox.Disk{Path: openPath(f), Format: format, ReadOnly: v.readOnly})
	if err != nil {
		return false, fmt.Errorf("attach disk %s: %w", f.Name(), err)
	}
	v.file = f
	v.disk = &guest.Volume{
		ID: v.id, Disk: guest.DiskAddress{Controller: addr.Controller, LUN: addr.LUN},
		ReadOnly: v.readOnly, FormatBlank: !v.readOnly, NewRoot: root,
	}
	return true, nil
}

// setMounted notes that the guest has mounted the volumes.
func (s *volumeSet) setMounted(ids []string, mounted bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, id := range ids {
		if v := s.volumes[id]; v != nil { // else it is the guest's invention
			v.mounted = mounted
		}
	}
}

// release gives back what acquire took: once for each acquire. A disk that the guest
// still has mounted, or that cannot be detached, stays, locked, and serves the next
// container that wants it.
func (s *volumeSet) release(ctx context.Context, id string) error {
	s.mu.Lock()
	v := s.volumes[id]
	s.mu.Unlock()
	if v == nil {
		return nil
	}
	err := v.lock.acquire(ctx)
	if err == nil {
		defer v.lock.release()
	}
	s.mu.Lock()
	v.users--
	last := v.users == 0 && !v.mounted
	s.mu.Unlock()
	if err != nil || !last {
		return err
	}
	if v.file != nil {
		if err := s.vm.DetachDisk(ctx, sandbox.DiskAddress{Controller: v.disk.Disk.Controller, LUN: v.disk.Disk.LUN}); err != nil {
			return fmt.Errorf("detach disk %s: %w", v.file.Name(), err)
		}
		v.file.Close() // and its lock with it
		v.file = nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if v.users == 0 && s.volumes[id] == v {
		delete(s.volumes, id)
	}
	return nil
}

// openVolume opens a disk's file, and makes that of a scratch disk when it is not there.
// root is how the root of a new file system is to be.
func openVolume(src sandbox.DiskSource, readOnly bool) (_ *os.File, root *guest.DiskRoot, err error) {
	if src.ScratchBytes == 0 {
		flags := volumeFlags
		if readOnly {
			flags = os.O_RDONLY
		}
		f, err := os.OpenFile(src.Path, flags, 0)
		if err != nil {
			return nil, nil, fmt.Errorf("open disk: %w: %w", err, errdefs.ErrFailedPrecondition)
		}
		return f, nil, nil
	}
	// The folder's content may be of a pod, whose links are not to be followed.
	dir, err := os.OpenRoot(src.Path)
	if err != nil {
		return nil, nil, fmt.Errorf("open folder of scratch disk: %w: %w", err, errdefs.ErrFailedPrecondition)
	}
	defer dir.Close()
	info, err := dir.Stat(".")
	if err != nil {
		return nil, nil, err
	}
	root = rootOf(info)
	f, err := openScratch(dir, scratchVolume, src.ScratchBytes)
	return f, root, err
}

// openScratch opens a scratch disk of a folder, and makes it when it is not there.
func openScratch(dir *os.Root, name string, size int64) (_ *os.File, err error) {
	f, err := dir.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open scratch disk: %w", err)
	}
	defer func() {
		if err != nil {
			f.Close()
		}
	}()
	if err := sizeScratch(f, size); err != nil {
		return nil, fmt.Errorf("size scratch disk: %w", err)
	}
	if volumeFlags == os.O_RDWR {
		return f, nil
	}
	if err := f.Close(); err != nil {
		return nil, fmt.Errorf("size scratch disk: %w", err)
	}
	if f, err = dir.OpenFile(name, volumeFlags, 0); err != nil {
		return nil, fmt.Errorf("open scratch disk: %w", err)
	}
	return f, nil
}

// sizeScratch gives a new disk its size. One that is there keeps its own: its file
// system has that. By its name it is a fixed VHD, or the disk's bytes alone.
func sizeScratch(f *os.File, size int64) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("%s is not a regular file: %w", f.Name(), errdefs.ErrFailedPrecondition)
	}
	if info.Size() > 0 {
		return nil
	}
	if filepath.Ext(f.Name()) != ".vhd" {
		return f.Truncate(size)
	}
	size = (size + vhd.Sector - 1) / vhd.Sector * vhd.Sector
	if _, err := f.WriteAt(vhd.Footer(size, rand.Text()), size); err != nil { // whole, or taken for no disk
		return errors.Join(err, f.Truncate(0))
	}
	return nil
}

// diskFormat tells a disk's format from its file's name, which is the host's. What the
// disk holds may be a guest's, which could have it taken for another format.
func diskFormat(f *os.File) (sandbox.DiskFormat, error) {
	switch strings.ToLower(filepath.Ext(f.Name())) {
	case ".vhdx":
		return sandbox.DiskVHDX, nil
	case ".vhd":
		return sandbox.DiskVHD, checkVHD(f)
	}
	return sandbox.DiskRaw, nil
}

// checkVHD refuses what is no VHD of a fixed size.
func checkVHD(f *os.File) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	const diskType = 60 // offset in the footer; 2 is fixed
	foot := make([]byte, vhd.FooterSize)
	if info.Size() > vhd.FooterSize {
		if _, err := f.ReadAt(foot, info.Size()-vhd.FooterSize); err != nil {
			return err
		}
	}
	switch {
	case string(foot[:8]) != "conectix":
		return fmt.Errorf("disk %s is no VHD: %w", f.Name(), errdefs.ErrInvalidArgument)
	case foot[diskType+3] != 2:
		return fmt.Errorf("disk %s is a VHD that is not of a fixed size: %w", f.Name(), errdefs.ErrNotImplemented)
	}
	return nil
}
