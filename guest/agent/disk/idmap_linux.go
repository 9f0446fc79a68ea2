package disk

import (
	"errors"
	"fmt"
	"os"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"
)

// MapIDs shows the folder source at target with owners as a user namespace, given by its
// path, has them: what belongs to id 0 of the disk belongs to the namespace's root. The
// file system must be one that can: ext4 does, FUSE does not before Linux 6.12.
func (d *Disks) MapIDs(source, target, users string) error {
	ns, err := unix.Open(users, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open user namespace: %w", err)
	}
	defer unix.Close(ns)
	tree, err := unix.OpenTree(unix.AT_FDCWD, source, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)
	if err != nil {
		return fmt.Errorf("clone mount of %s: %w", source, err)
	}
	defer unix.Close(tree)
	err = unix.MountSetattr(tree, "", unix.AT_EMPTY_PATH, &unix.MountAttr{Attr_set: unix.MOUNT_ATTR_IDMAP, Userns_fd: uint64(ns)})
	if errors.Is(err, unix.EINVAL) {
		return fmt.Errorf("map owners of %s: the kernel cannot for its file system: %w: %w", source, err, errdefs.ErrNotImplemented)
	}
	if err != nil {
		return fmt.Errorf("map owners of %s: %w", source, err)
	}
	if err := os.MkdirAll(target, 0o755); err != nil {
		return fmt.Errorf("make mount point: %w", err)
	}
	if err := unix.MoveMount(tree, "", unix.AT_FDCWD, target, unix.MOVE_MOUNT_F_EMPTY_PATH); err != nil {
		os.Remove(target)
		return fmt.Errorf("mount %s on %s: %w", source, target, err)
	}
	return nil
}
