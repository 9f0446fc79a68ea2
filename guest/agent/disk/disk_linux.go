package disk

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"

	"github.com/porthole-run/porthole/guest/agent/reap"
)

// appear bounds the wait for a disk.
const appear = 10 * time.Second

// Address is where a disk is: the n-th controller of the VM, and the LUN.
type Address struct{ Controller, LUN uint32 }

func (a Address) String() string { return fmt.Sprintf("%d:%d", a.Controller, a.LUN) }

// Disks finds and mounts disks.
type Disks struct {
	Mkfs   string       // path of mke2fs
	Reaper *reap.Reaper // waits for it

	bus bus
}

// MountLayer mounts the ext4 image on a disk, read-only. Target is made.
func (d *Disks) MountLayer(ctx context.Context, a Address, target string) error {
	dev, f, err := d.open(ctx, a, unix.O_RDONLY)
	if err != nil {
		return err
	}
	defer f.Close()
	return mountExt4(dev, target, unix.MS_RDONLY|unix.MS_NODEV, "noload")
}

// Features of a scratch disk's file system. It has no journal: it is worth nothing after
// the VM.
const (
	scratchFeatures = "^has_journal"
	countFeatures   = scratchFeatures + ",quota,project" // it counts what each project takes (SetProject)

	scratchOptions = "lazy_itable_init=1,nodiscard"
	countOptions   = scratchOptions + ",quotatype=prjquota"
)

// MountScratch mounts a disk for writing, and makes its file system when it holds none.
// What is on it is worth nothing yet: where the kernel cannot mount a file system that
// counts what projects take, one is made that does not. Target is made.
func (d *Disks) MountScratch(ctx context.Context, a Address, target string) error {
	dev, f, err := d.open(ctx, a, unix.O_RDWR)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := d.mountScratch(ctx, f, dev, target, ""); err != nil {
		return fmt.Errorf("scratch disk %v: %w", a, err)
	}
	return nil
}

// MountScratchAhead is MountScratch for a disk that a template has. When it returns the disk
// has all that the file system was told, and nothing is written until that is used: the disk
// is sparse, so that its tables of inodes are zero, and the kernel need not write zeros there.
func (d *Disks) MountScratchAhead(ctx context.Context, a Address, target string) error {
	dev, f, err := d.open(ctx, a, unix.O_RDWR)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := d.mountScratch(ctx, f, dev, target, "noinit_itable"); err != nil {
		return fmt.Errorf("scratch disk %v: %w", a, err)
	}
	err = d.useOnce(target)
	if err == nil {
		err = settle(target)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("scratch disk %v: %w", a, err), d.Unmount(ctx, target))
	}
	return nil
}

// useOnce makes what a container's folders are made of, and removes it: the kernel then has
// read what it needs to know of the disk for that.
func (d *Disks) useOnce(target string) error {
	dir := filepath.Join(target, "first")
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	if err := d.SetProject(dir, 1); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, "file"), []byte{0}, 0o600); err != nil {
		return err
	}
	return os.RemoveAll(dir)
}

// mountScratch is MountScratch for a disk that is there, and open as f.
func (d *Disks) mountScratch(ctx context.Context, f *os.File, dev, target, options string) error {
	blank, err := isBlank(f)
	if err != nil {
		return fmt.Errorf("read %s: %w", dev, err)
	}
	if blank {
		if err := d.makeScratch(ctx, dev, countFeatures, countOptions); err != nil {
			return err
		}
	}
	err = mountExt4(dev, target, 0, options)
	if err == nil {
		return nil
	}
	if counts, readErr := wantsProjects(f); readErr != nil || !counts {
		return errors.Join(err, readErr)
	}
	if err := d.makeScratch(ctx, dev, scratchFeatures, scratchOptions); err != nil {
		return err
	}
	return mountExt4(dev, target, 0, options)
}

func (d *Disks) makeScratch(ctx context.Context, dev, features, options string) error {
	exit, err := d.Reaper.RunChild(ctx, d.Mkfs, []string{"mke2fs", "-q", "-F", "-t", "ext4", "-m", "0", "-I", "256", "-O", features, "-E", options, dev},
		&os.ProcAttr{Env: []string{"MKE2FS_SYNC=0"}, Files: []*os.File{nil, os.Stderr, os.Stderr}})
	if err != nil {
		return fmt.Errorf("make a file system on %s: %w", dev, err)
	}
	if exit.Code != 0 {
		return fmt.Errorf("make a file system on %s: mke2fs exited with %d", dev, exit.Code)
	}
	return nil
}

// Eject makes the kernel forget a disk whose host side is going, so that the next disk at
// that address is not taken for it. A disk that is gone is not an error.
func (d *Disks) Eject(a Address) error {
	dir, err := d.bus.dir(a)
	if errdefs.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, "delete"), []byte("1"), 0); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("eject disk %v: %w", a, err)
	}
	return nil
}

// isBlank says whether a disk holds no ext file system.
func isBlank(f *os.File) (bool, error) {
	b := make([]byte, 2)
	if _, err := f.ReadAt(b, 1024+56); err != nil { // s_magic of the superblock
		return false, err
	}
	return binary.LittleEndian.Uint16(b) != 0xEF53, nil
}

// wantsProjects says whether a disk's ext file system has quota or project features.
func wantsProjects(f *os.File) (bool, error) {
	b := make([]byte, 4)
	if _, err := f.ReadAt(b, 1024+100); err != nil { // s_feature_ro_compat
		return false, err
	}
	return binary.LittleEndian.Uint32(b)&(0x100|0x2000) != 0, nil
}

// open waits until a disk can be opened and read.
func (d *Disks) open(ctx context.Context, a Address, flags int) (dev string, f *os.File, err error) {
	ctx, cancel := context.WithTimeout(ctx, appear)
	defer cancel()
	retry := time.NewTicker(2 * time.Millisecond)
	defer retry.Stop()
	for n := 0; ; n++ {
		dev, err = d.bus.find(a)
		if err == nil {
			if f, err = os.OpenFile(dev, flags|unix.O_CLOEXEC, 0); err == nil {
				if size, seekErr := f.Seek(0, 2); seekErr == nil && size > 0 {
					return dev, f, nil
				}
				f.Close()
				err = fmt.Errorf("disk %v is empty: %w", a, errdefs.ErrUnavailable)
			}
		} else if n%50 == 0 {
			// The kernel does not search, the notice of a hot-added disk can be lost, and a disk that
			// was ejected and never detached gives none.
			if d.bus.scan(a) {
				continue // it may be there now
			}
		}
		select {
		case <-retry.C:
		case <-ctx.Done():
			return "", nil, fmt.Errorf("wait for disk %v: %w: %w", a, err, ctx.Err())
		}
	}
}
