package disk

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/containerd/errdefs"

	"github.com/porthole-run/porthole/guest/api"
)

// bus is what the kernel shows of SCSI disks. Each look at it is a system call or two: a
// container may wait for twenty disks, on a processor that is emulated and busy with adding them.
type bus struct {
	sys string // where sysfs is; empty: /sys

	mu    sync.Mutex // guards hosts
	hosts map[uint32]int
}

func (b *bus) path(elem ...string) string {
	root := b.sys
	if root == "" {
		root = "/sys"
	}
	return filepath.Join(root, filepath.Join(elem...))
}

// find returns the device node of a disk.
func (b *bus) find(a Address) (string, error) {
	dir, err := b.disk(a)
	if err != nil {
		return "", err
	}
	blocks, err := os.ReadDir(filepath.Join(dir, "block"))
	if err != nil || len(blocks) == 0 {
		return "", fmt.Errorf("disk %v has no block device: %w", a, errdefs.ErrNotFound)
	}
	return "/dev/" + blocks[0].Name(), nil
}

// dir returns a disk's folder in sysfs. It is there.
func (b *bus) dir(a Address) (string, error) {
	dir, err := b.disk(a)
	if err != nil {
		return "", err
	}
	if _, err := os.Stat(dir); err != nil {
		return "", fmt.Errorf("no disk %v: %w", a, errdefs.ErrNotFound)
	}
	return dir, nil
}

// disk is where a disk's folder is once the kernel knows it.
func (b *bus) disk(a Address) (string, error) {
	host, err := b.controller(a.Controller)
	if err != nil {
		return "", err
	}
	lun := a.LUN
	if lun > 255 {
		lun |= 0x4000 // addressed flat, which sysfs shows as it is on the wire
	}
	return b.path("bus/scsi/devices", fmt.Sprintf("%d:0:0:%d", host, lun)), nil
}

// scan asks a controller for the disk, and says whether it did. The kernel has the disk when it
// returns, if there is one, and goes on to make its block device. What goes wrong shows as the
// disk's absence.
func (b *bus) scan(a Address) bool {
	host, err := b.controller(a.Controller)
	if err != nil {
		return false
	}
	return os.WriteFile(b.path("class/scsi_host", fmt.Sprintf("host%d", host), "scan"), fmt.Appendf(nil, "0 0 %d", a.LUN), 0) == nil
}

// controller is findController's answer, which stays the same while the VM lives.
func (b *bus) controller(n uint32) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if host, ok := b.hosts[n]; ok {
		return host, nil
	}
	host, err := b.findController(n)
	if err != nil {
		return 0, err
	}
	if b.hosts == nil {
		b.hosts = map[uint32]int{}
	}
	b.hosts[n] = host
	return host, nil
}

// findController returns the kernel's number of the n-th SCSI controller that takes
// hot-added disks: on Hyper-V that with the n-th of the instance ids that host and guest have agreed
// on, for there the kernel finds them in any order, else the n-th that the kernel found.
func (b *bus) findController(n uint32) (int, error) {
	if int(n) < len(api.SCSIControllers) {
		dirs, err := filepath.Glob(b.path("bus/vmbus/devices", api.SCSIControllers[n], "host*"))
		if err != nil {
			return 0, err
		}
		for _, dir := range dirs {
			if i, err := strconv.Atoi(strings.TrimPrefix(filepath.Base(dir), "host")); err == nil {
				return i, nil
			}
		}
	}
	dirs, err := filepath.Glob(b.path("class/scsi_host/host*"))
	if err != nil {
		return 0, err
	}
	var hosts []int
	for _, dir := range dirs {
		name, _ := os.ReadFile(filepath.Join(dir, "proc_name"))
		if strings.TrimSpace(string(name)) != "virtio_scsi" {
			continue
		}
		if i, err := strconv.Atoi(strings.TrimPrefix(filepath.Base(dir), "host")); err == nil {
			hosts = append(hosts, i)
		}
	}
	slices.Sort(hosts)
	if int(n) >= len(hosts) {
		return 0, fmt.Errorf("no SCSI controller %d among %d: %w", n, len(hosts), errdefs.ErrNotFound)
	}
	return hosts[n], nil
}
