package disk

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"
)

// busyWait is how long Unmount waits for the last user of a mount.
const busyWait = 2 * time.Second

func mountExt4(dev, target string, flags uintptr, data string) error {
	if err := os.MkdirAll(target, 0o755); err != nil {
		return fmt.Errorf("make mount point: %w", err)
	}
	if err := unix.Mount(dev, target, "ext4", flags, data); err != nil {
		os.Remove(target)
		return fmt.Errorf("mount %s on %s: %w", dev, target, err)
	}
	return nil
}

// Requests of linux/fs.h that x/sys has not.
const (
	fsFreeze = 0xc0045877 // FIFREEZE
	fsThaw   = 0xc0045878 // FITHAW
)

// settle has the file system at target written to its disk, to the last block: a frozen one
// has nothing left to write, and thawing writes no more than the superblock, at once.
func settle(target string) error {
	f, err := os.Open(target)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := unix.IoctlSetInt(int(f.Fd()), fsFreeze, 0); err != nil {
		return fmt.Errorf("freeze %s: %w", target, err)
	}
	if err := unix.IoctlSetInt(int(f.Fd()), fsThaw, 0); err != nil {
		return fmt.Errorf("thaw %s: %w", target, err)
	}
	return nil
}

// Move mounts what is mounted at source at target instead, which is made.
func (d *Disks) Move(source, target string) error {
	if err := os.MkdirAll(target, 0o755); err != nil {
		return fmt.Errorf("make mount point: %w", err)
	}
	if err := unix.Mount(source, target, "", unix.MS_MOVE, ""); err != nil {
		os.Remove(target)
		return fmt.Errorf("move mount %s to %s: %w", source, target, err)
	}
	if err := os.Remove(source); err != nil {
		return fmt.Errorf("remove mount point: %w", err)
	}
	return nil
}

// MountOverlay stacks layers, bottom first, below a writable upper folder. All folders
// but target's must be there.
func (d *Disks) MountOverlay(target string, layers []string, upper, work string) error {
	// volatile: what is synced here would not outlive the VM anyhow.
	return mountOverlay(target, layers, 0, fmt.Sprintf(",upperdir=%s,workdir=%s,volatile", upper, work))
}

// mountOverlay stacks layers, bottom first. more are further options, each after a comma.
func mountOverlay(target string, layers []string, flags uintptr, more string) error {
	topFirst := slices.Clone(layers) // as overlayfs names them
	slices.Reverse(topFirst)
	options := "lowerdir=" + strings.Join(topFirst, ":") + more
	if len(options) >= os.Getpagesize() {
		return fmt.Errorf("overlay of %d layers: options of %d bytes are too long: %w", len(layers), len(options), errdefs.ErrResourceExhausted)
	}
	if err := os.MkdirAll(target, 0o755); err != nil {
		return fmt.Errorf("make mount point: %w", err)
	}
	if err := unix.Mount("overlay", target, "overlay", flags, options); err != nil {
		os.Remove(target)
		return fmt.Errorf("mount overlay of %d layers: %w", len(layers), err)
	}
	return nil
}

// MountShm mounts the memory that a pod's containers share at /dev/shm.
func (d *Disks) MountShm(target string, size uint64) error {
	if err := os.MkdirAll(target, 0o755); err != nil {
		return fmt.Errorf("make mount point: %w", err)
	}
	if err := unix.Mount("shm", target, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, fmt.Sprintf("mode=1777,size=%d", size)); err != nil {
		os.Remove(target)
		return fmt.Errorf("mount shm of %d bytes: %w", size, err)
	}
	return nil
}

// Unmount unmounts target and removes the mount point. It waits shortly for users, such
// as a container that is starting and holds a copy of every mount, and then detaches the
// mount. A target that is not mounted, or not there, is not an error.
func (d *Disks) Unmount(ctx context.Context, target string) error {
	retry := time.NewTicker(5 * time.Millisecond)
	defer retry.Stop()
	deadline := time.Now().Add(busyWait)
	err := unix.Unmount(target, unix.UMOUNT_NOFOLLOW)
	for errors.Is(err, unix.EBUSY) {
		flags := unix.UMOUNT_NOFOLLOW
		select {
		case <-retry.C:
		case <-ctx.Done():
			flags |= unix.MNT_DETACH
		}
		if time.Now().After(deadline) {
			flags |= unix.MNT_DETACH
		}
		err = unix.Unmount(target, flags)
	}
	if err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("unmount %s: %w", target, err)
	}
	if err := os.Remove(target); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("remove mount point: %w", err)
	}
	return nil
}
