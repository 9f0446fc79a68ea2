package disk

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"

	"github.com/porthole-run/porthole/guest/agent/reap"
	"github.com/porthole-run/porthole/guest/api"
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
}

// MountLayer mounts the ext4 image on a disk, read-only. Target is made.
func (d *Disks) MountLayer(ctx context.Context, a Address, target string) error {
	dev, f, err := open(ctx, a, unix.O_RDONLY)
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
	dev, f, err := open(ctx, a, unix.O_RDWR)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := d.mountScratch(ctx, f, dev, target); err != nil {
		return fmt.Errorf("scratch disk %v: %w", a, err)
	}
	return nil
}

// mountScratch is MountScratch for a disk that is there, and open as f.
func (d *Disks) mountScratch(ctx context.Context, f *os.File, dev, target string) error {
	blank, err := isBlank(f)
	if err != nil {
		return fmt.Errorf("read %s: %w", dev, err)
	}
	if blank {
		if err := d.makeScratch(ctx, dev, countFeatures, countOptions); err != nil {
			return err
		}
	}
	err = mountExt4(dev, target, 0, "")
	if err == nil {
		return nil
	}
	if counts, readErr := wantsProjects(f); readErr != nil || !counts {
		return errors.Join(err, readErr)
	}
	if err := d.makeScratch(ctx, dev, scratchFeatures, scratchOptions); err != nil {
		return err
	}
	return mountExt4(dev, target, 0, "")
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
	dir, err := sysfsDir("/sys", a)
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
func open(ctx context.Context, a Address, flags int) (dev string, f *os.File, err error) {
	ctx, cancel := context.WithTimeout(ctx, appear)
	defer cancel()
	retry := time.NewTicker(2 * time.Millisecond)
	defer retry.Stop()
	for n := 1; ; n++ {
		dev, err = find("/sys", a)
		if err == nil {
			if f, err = os.OpenFile(dev, flags|unix.O_CLOEXEC, 0); err == nil {
				if size, seekErr := f.Seek(0, 2); seekErr == nil && size > 0 {
					return dev, f, nil
				}
				f.Close()
				err = fmt.Errorf("disk %v is empty: %w", a, errdefs.ErrUnavailable)
			}
		} else if n%50 == 25 {
			// The notice of a hot-added disk can be lost, and a disk that was ejected and
			// never detached gives none.
			scan("/sys", a)
		}
		select {
		case <-retry.C:
		case <-ctx.Done():
			return "", nil, fmt.Errorf("wait for disk %v: %w: %w", a, err, ctx.Err())
		}
	}
}

// find returns the device node of a disk.
func find(sys string, a Address) (string, error) {
	dir, err := sysfsDir(sys, a)
	if err != nil {
		return "", err
	}
	blocks, err := filepath.Glob(filepath.Join(dir, "block", "*"))
	if err != nil || len(blocks) == 0 {
		return "", fmt.Errorf("disk %v has no block device: %w", a, errdefs.ErrNotFound)
	}
	return "/dev/" + filepath.Base(blocks[0]), nil
}

// sysfsDir returns a disk's folder in sysfs.
func sysfsDir(sys string, a Address) (string, error) {
	host, err := controller(sys, a.Controller)
	if err != nil {
		return "", err
	}
	// LUNs above 255 are addressed flat, which sysfs shows as it is on the wire.
	for _, lun := range []uint32{a.LUN, a.LUN | 0x4000} {
		dir := filepath.Join(sys, "bus/scsi/devices", fmt.Sprintf("%d:0:0:%d", host, lun))
		if _, err := os.Stat(dir); err == nil {
			return dir, nil
		}
	}
	return "", fmt.Errorf("no disk %v: %w", a, errdefs.ErrNotFound)
}

// controller returns the kernel's number of the n-th SCSI controller that takes
// hot-added disks: on Hyper-V that with the n-th of the instance ids that host and guest have agreed
// on, for there the kernel finds them in any order, else the n-th that the kernel found.
func controller(sys string, n uint32) (int, error) {
	if int(n) < len(api.SCSIControllers) {
		dirs, err := filepath.Glob(filepath.Join(sys, "bus/vmbus/devices", api.SCSIControllers[n], "host*"))
		if err != nil {
			return 0, err
		}
		for _, dir := range dirs {
			if i, err := strconv.Atoi(strings.TrimPrefix(filepath.Base(dir), "host")); err == nil {
				return i, nil
			}
		}
	}
	dirs, err := filepath.Glob(filepath.Join(sys, "class/scsi_host/host*"))
	if err != nil {
		return 0, err
	}
	var hosts []int
	for _, dir := range dirs {
		b, _ := os.ReadFile(filepath.Join(dir, "proc_name"))
		switch strings.TrimSpace(string(b)) {
		case "virtio_scsi":
			if i, err := strconv.Atoi(strings.TrimPrefix(filepath.Base(dir), "host")); err == nil {
				hosts = append(hosts, i)
			}
		}
	}
	slices.Sort(hosts)
	if int(n) >= len(hosts) {
		return 0, fmt.Errorf("no SCSI controller %d among %d: %w", n, len(hosts), errdefs.ErrNotFound)
	}
	return hosts[n], nil
}

// scan asks a controller for the disk. What goes wrong shows as the disk's absence.
func scan(sys string, a Address) {
	if host, err := controller(sys, a.Controller); err == nil {
		os.WriteFile(filepath.Join(sys, "class/scsi_host", fmt.Sprintf("host%d", host), "scan"), fmt.Appendf(nil, "0 0 %d", a.LUN), 0)
	}
}
