package disk

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"
)

// blankBytes is how much of a disk's begin has to be zero for it to be blank: more than
// what partition tables, file systems and volume managers are known by.
const blankBytes = 1 << 20

// VolumeOptions say how a volume's disk is mounted.
type VolumeOptions struct {
	ReadOnly    bool
	FormatBlank bool  // a disk that holds nothing gets a file system
	Root        *Root // of a new file system; nil: root's, 0755
}

// Root is the owner and the permissions of a new file system's root.
type Root struct{ Mode, UID, GID uint32 }

// MountVolume mounts the ext4 file system of a disk that outlives the VM. A disk that
// holds something else is a FailedPrecondition error, and not touched. Target is made.
func (d *Disks) MountVolume(ctx context.Context, a Address, target string, o VolumeOptions) error {
	flags := unix.O_RDWR
	if o.ReadOnly {
		flags = unix.O_RDONLY
	}
	dev, f, err := d.open(ctx, a, flags)
	if err != nil {
		return err
	}
	defer f.Close()
	noFS, err := isBlank(f)
	if err != nil {
		return fmt.Errorf("read disk %v: %w", a, err)
	}
	if noFS {
		empty, err := isZero(f)
		switch {
		case err != nil:
			return fmt.Errorf("read disk %v: %w", a, err)
		case !empty:
			return fmt.Errorf("the disk holds no ext4 file system, and something else: %w", errdefs.ErrFailedPrecondition)
		case o.ReadOnly || !o.FormatBlank:
			return fmt.Errorf("the disk is blank: %w", errdefs.ErrFailedPrecondition)
		}
		if err := d.makeVolume(ctx, dev, o.Root); err != nil {
			return fmt.Errorf("make a file system on disk %v: %w", a, err)
		}
	}
	if o.ReadOnly {
		return mountExt4(dev, target, unix.MS_RDONLY|unix.MS_NODEV, "noload")
	}
	if err := mountExt4(dev, target, unix.MS_NODEV, "errors=remount-ro"); err != nil {
		return err
	}
	if !noFS {
		return nil
	}
	if err := settleRoot(target, o.Root); err != nil {
		return errors.Join(err, d.Unmount(context.WithoutCancel(ctx), target))
	}
	return nil
}

// makeVolume makes a file system with a journal.
func (d *Disks) makeVolume(ctx context.Context, dev string, r *Root) error {
	extended := "lazy_itable_init=1,nodiscard"
	if r != nil {
		extended += fmt.Sprintf(",root_owner=%d:%d", r.UID, r.GID)
	}
	exit, err := d.Reaper.RunChild(ctx, d.Mkfs, []string{"mke2fs", "-q", "-F", "-t", "ext4", "-m", "0", "-E", extended, dev},
		&os.ProcAttr{Files: []*os.File{nil, os.Stderr, os.Stderr}})
	if err != nil {
		return err
	}
	if exit.Code != 0 {
		return fmt.Errorf("mke2fs exited with %d", exit.Code)
	}
	return nil
}

// settleRoot makes a new file system's root what a new folder is: empty, with the mode
// asked for. Programs refuse a folder of data that has a lost+found; e2fsck makes it
// again when it needs one.
func settleRoot(target string, r *Root) error {
	if err := os.Remove(filepath.Join(target, "lost+found")); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("empty the new file system: %w", err)
	}
	if r == nil {
		return nil
	}
	if err := unix.Chmod(target, r.Mode&0o7777); err != nil {
		return fmt.Errorf("set the mode of the new file system's root: %w", err)
	}
	return nil
}

// isZero says whether the begin of a disk is all zero.
func isZero(f *os.File) (bool, error) {
	b := make([]byte, blankBytes)
	n, err := f.ReadAt(b, 0)
	if err != nil && err != io.EOF {
		return false, err
	}
	return len(bytes.Trim(b[:n], "\x00")) == 0, nil
}

// MountStack mounts two or more layers, bottom first, on each other, read-only.
func (d *Disks) MountStack(target string, layers []string) error {
	return mountOverlay(target, layers, unix.MS_RDONLY|unix.MS_NODEV, "")
}

// Bind shows what is at sub below root at target, a folder or a file. Links in sub are
// followed as if root were the root, so that none leads out of it. A sub that is not
// there is an InvalidArgument error.
func (d *Disks) Bind(root, sub, target string) error {
	fd, err := openBeneath(root, sub)
	if err != nil {
		return fmt.Errorf("sub path %s: %w: %w", sub, err, errdefs.ErrInvalidArgument)
	}
	defer unix.Close(fd)
	if err := makeTarget(fd, target); err != nil {
		return fmt.Errorf("make mount point: %w", err)
	}
	if err := unix.Mount(fmt.Sprintf("/proc/self/fd/%d", fd), target, "", unix.MS_BIND, ""); err != nil {
		os.Remove(target)
		return fmt.Errorf("bind sub path %s: %w", sub, err)
	}
	return nil
}

func openBeneath(root, sub string) (int, error) {
	dir, err := unix.Open(root, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	defer unix.Close(dir)
	return unix.Openat2(dir, sub, &unix.OpenHow{
		Flags:   unix.O_PATH | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS,
	})
}

// makeTarget makes a mount point of the type of what fd is.
func makeTarget(fd int, target string) error {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return err
	}
	if st.Mode&unix.S_IFMT == unix.S_IFDIR {
		return os.MkdirAll(target, 0o755)
	}
	if err := os.MkdirAll(filepath.Dir(target), 0o755); err != nil {
		return err
	}
	return os.WriteFile(target, nil, 0o600)
}
