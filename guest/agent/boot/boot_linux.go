package boot

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Platform is the hypervisor the guest runs on, as far as the agent cares.
type Platform int

const (
	// Virtio has virtio devices: the host is reached over a virtio-serial port.
	Virtio Platform = iota
	// HyperV has VMBus devices: the host is reached over AF_VSOCK.
	HyperV
)

func (p Platform) String() string {
	if p == HyperV {
		return "hyperv"
	}
	return "virtio"
}

// openFiles is the limit on open files, soft and hard, that containers start with.
const openFiles = 1 << 20

// mounts are made in this order.
var mounts = []struct {
	source, target, fstype string
	flags                  uintptr
	data                   string
}{
	{"proc", "/proc", "proc", unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC, ""},
	{"sysfs", "/sys", "sysfs", unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC, ""},
	{"dev", "/dev", "devtmpfs", unix.MS_NOSUID, "mode=0755"},
	{"devpts", "/dev/pts", "devpts", unix.MS_NOSUID | unix.MS_NOEXEC, "newinstance,ptmxmode=0666,mode=0620,gid=5"},
	{"run", "/run", "tmpfs", unix.MS_NOSUID | unix.MS_NODEV, "mode=0755"},
	{"tmp", "/tmp", "tmpfs", unix.MS_NOSUID | unix.MS_NODEV, "mode=1777"},
	{"cgroup2", "/sys/fs/cgroup", "cgroup2", unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC, "nsdelegate,memory_recursiveprot"},
}

// sysctls are the guest's own, with the values that container hosts commonly use.
var sysctls = map[string]string{
	"kernel/pid_max":                "4194304", // a pid comes again only after a long while
	"fs/inotify/max_user_instances": "8192",
	"fs/inotify/max_user_watches":   "524288",
	"vm/overcommit_memory":          "1",
	"kernel/modprobe":               "/init", // LoadWanted answers it
}

// Init sets the guest up and says what it runs on.
func Init() (Platform, error) {
	if err := leaveRootfs(); err != nil {
		return 0, err
	}
	for _, m := range mounts {
		if err := os.MkdirAll(m.target, 0o755); err != nil {
			return 0, fmt.Errorf("make mount point: %w", err)
		}
		if err := unix.Mount(m.source, m.target, m.fstype, m.flags, m.data); err != nil {
			return 0, fmt.Errorf("mount %s: %w", m.target, err)
		}
	}
	for name, target := range map[string]string{"fd": "/proc/self/fd", "stdin": "/proc/self/fd/0", "stdout": "/proc/self/fd/1", "stderr": "/proc/self/fd/2"} {
		if err := os.Symlink(target, "/dev/"+name); err != nil {
			return 0, fmt.Errorf("link in /dev: %w", err)
		}
	}
	for name, value := range sysctls {
		// A kernel without one of them still runs containers.
		if err := os.WriteFile("/proc/sys/"+name, []byte(value), 0); err != nil && !errors.Is(err, os.ErrNotExist) {
			return 0, fmt.Errorf("set sysctl: %w", err)
		}
	}
	// syscall's Setrlimit, unlike x/sys', makes children keep the limit.
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &syscall.Rlimit{Cur: openFiles, Max: openFiles}); err != nil {
		return 0, fmt.Errorf("raise the limit on open files: %w", err)
	}
	unix.Umask(0o022)
	if err := delegateCgroups("/sys/fs/cgroup", "pods"); err != nil {
		return 0, err
	}
	platform, err := loadModules()
	if err != nil {
		return 0, err
	}
	lo, err := netlink.LinkByName("lo")
	if err == nil {
		err = netlink.LinkSetUp(lo)
	}
	if err != nil {
		return 0, fmt.Errorf("set lo up: %w", err)
	}
	return platform, nil
}

// leaveRootfs moves the root from the kernel's rootfs to a bind mount of it. The rootfs
// mount has no parent, and pivot_root, which crun calls for each container, refuses to
// leave such a mount.
func leaveRootfs() error {
	const dir = "/.root"
	if err := os.Mkdir(dir, 0o700); err != nil {
		return fmt.Errorf("leave the rootfs: %w", err)
	}
	if err := unix.Mount("/", dir, "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("leave the rootfs: bind: %w", err)
	}
	if err := unix.Chdir(dir); err != nil {
		return fmt.Errorf("leave the rootfs: %w", err)
	}
	if err := unix.Mount(".", "/", "", unix.MS_MOVE, ""); err != nil {
		return fmt.Errorf("leave the rootfs: move: %w", err)
	}
	if err := unix.Chroot("."); err != nil {
		return fmt.Errorf("leave the rootfs: chroot: %w", err)
	}
	return unix.Chdir("/")
}

// delegateCgroups enables every controller for the children of root and of root/name.
func delegateCgroups(root, name string) error {
	b, err := os.ReadFile(filepath.Join(root, "cgroup.controllers"))
	if err != nil {
		return fmt.Errorf("read cgroup controllers: %w", err)
	}
	if err := os.Mkdir(filepath.Join(root, name), 0o755); err != nil {
		return fmt.Errorf("make cgroup: %w", err)
	}
	for _, dir := range []string{root, filepath.Join(root, name)} {
		for c := range strings.FieldsSeq(string(b)) {
			if err := os.WriteFile(filepath.Join(dir, "cgroup.subtree_control"), []byte("+"+c), 0); err != nil {
				return fmt.Errorf("enable cgroup controller %s: %w", c, err)
			}
		}
	}
	return nil
}

// Halt ends the VM. It does not return.
func Halt(p Platform) {
	unix.Sync()
	// A virtio VM may have no ACPI to power off with; its host starts it so that a
	// restart ends it. Hyper-V would truly restart it.
	how := unix.LINUX_REBOOT_CMD_RESTART
	if p == HyperV {
		how = unix.LINUX_REBOOT_CMD_POWER_OFF
	}
	unix.Reboot(how)
	os.Exit(1) // the end of PID 1 is a kernel panic, which restarts as well
}
