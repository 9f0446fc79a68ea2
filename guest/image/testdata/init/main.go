//go:build linux

// Init is PID 1 of the boot test: it loads the modules as the agent would,
// tries the programs, prints what it sees on the console and restarts the
// machine, which ends QEMU.
package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/porthole-run/porthole/guest/image/modlist"
	"golang.org/x/sys/unix"
)

func main() {
	// Whatever goes wrong, the machine must end: a PID 1 that stays would
	// leave the test to its time limit.
	defer unix.Reboot(unix.LINUX_REBOOT_CMD_RESTART)
	if err := run(); err != nil {
		say("error %v", err)
		return
	}
	say("end")
}

func say(format string, args ...any) { fmt.Printf("init: "+format+"\n", args...) }

func run() error {
	for _, m := range [][2]string{{"proc", "/proc"}, {"sysfs", "/sys"}, {"devtmpfs", "/dev"}, {"tmpfs", "/run"}} {
		if err := unix.Mount(m[0], m[1], m[0], 0, ""); err != nil && !errors.Is(err, unix.EBUSY) {
			return fmt.Errorf("mount %s: %w", m[1], err)
		}
	}
	release, err := os.ReadFile("/proc/sys/kernel/osrelease")
	if err != nil {
		return err
	}
	say("start %s", strings.TrimSpace(string(release)))
	if err := loadModules(); err != nil {
		return err
	}
	types, err := os.ReadFile("/proc/filesystems")
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(types)) {
		f := strings.Fields(line)
		say("filesystem %s", f[len(f)-1])
	}
	if err := findPort(); err != nil {
		return err
	}
	crun, err := exec.Command("/bin/crun", "--version").CombinedOutput()
	if err != nil {
		return fmt.Errorf("crun: %w: %s", err, crun)
	}
	say("%s", crun)
	if err := makeFileSystem(); err != nil {
		return err
	}
	return tryPause()
}

func loadModules() error {
	f, err := os.Open(modlist.Path)
	if err != nil {
		return err
	}
	defer f.Close()
	list, err := modlist.Parse(f)
	if err != nil {
		return err
	}
	loaded := map[string]bool{}
	for _, want := range list {
		// The lazy ones too, to see that all load; but Hyper-V's drivers only
		// where another module needs them.
		if want.Group == modlist.HyperV {
			continue
		}
		all, err := modlist.Closure(list, want.Name)
		if err != nil {
			return err
		}
		for _, m := range all {
			if loaded[m.Name] {
				continue
			}
			if err := load(m.Path); err != nil {
				return fmt.Errorf("load %s: %w", m.Name, err)
			}
			loaded[m.Name] = true
		}
	}
	return nil
}

func load(name string) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	return unix.FinitModule(int(f.Fd()), "", 0)
}

// findPort waits for the port's name: the device comes up on its own time.
func findPort() error {
	return poll("virtio port", func() bool {
		names, _ := filepath.Glob("/sys/class/virtio-ports/*/name")
		for _, n := range names {
			if text, err := os.ReadFile(n); err == nil && strings.TrimSpace(string(text)) != "" {
				say("port %s", strings.TrimSpace(string(text)))
				return true
			}
		}
		return false
	})
}

// poll waits for something that the kernel has no event for.
func poll(what string, done func() bool) error {
	limit := time.After(20 * time.Second)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !done() {
		select {
		case <-tick.C:
		case <-limit:
			return fmt.Errorf("wait for %s: time is over", what)
		}
	}
	return nil
}

func makeFileSystem() error {
	const disk = "/run/disk"
	if err := os.WriteFile(disk, nil, 0o600); err != nil {
		return err
	}
	if err := os.Truncate(disk, 16<<20); err != nil {
		return err
	}
	for _, args := range [][]string{{"/sbin/mke2fs", "-q", "-t", "ext4", disk, "8M"}, {"/sbin/resize2fs", disk}} {
		if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
			return fmt.Errorf("%s: %w: %s", args[0], err, out)
		}
	}
	say("mke2fs made a file system")
	return nil
}

// tryPause runs pause as the first process of a namespace, where it must
// still end when asked to.
func tryPause() error {
	cmd := exec.Command("/bin/pause")
	cmd.SysProcAttr = &unix.SysProcAttr{Cloneflags: unix.CLONE_NEWPID}
	if err := cmd.Start(); err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	var result error
	// A signal that comes before pause has blocked it is lost, as it is for
	// any first process of a namespace; so ask more than once.
	err := poll("pause to end", func() bool {
		select {
		case result = <-ended:
			return true
		default:
			_ = cmd.Process.Signal(unix.SIGTERM) // it may have ended just now
			return false
		}
	})
	if err == nil {
		err = result
	}
	if err != nil {
		return fmt.Errorf("pause: %w", err)
	}
	return nil
}
