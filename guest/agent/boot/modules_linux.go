package boot

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/porthole-run/porthole/guest/image/modlist"
)

// loadModules loads what the machine needs at boot.
func loadModules() (Platform, error) {
	list, err := readList()
	if err != nil {
		return 0, err
	}
	if err := loadAll(inGroup(list, modlist.Base)); err != nil {
		return 0, err
	}
	if !seesVirtio() {
		// hv_vmbus answers ENODEV when there is no Hyper-V.
		if err := loadAll(inGroup(list, modlist.HyperV)); err != nil && !errors.Is(err, unix.ENODEV) {
			return 0, err
		}
		if bus, _ := filepath.Glob("/sys/bus/vmbus/devices/*"); len(bus) > 0 {
			return HyperV, nil
		}
	}
	if err := scanByHand("/sys"); err != nil {
		return 0, err
	}
	return Virtio, loadAll(inGroup(list, modlist.Virtio))
}

// scanByHand keeps the kernel from searching a virtio controller's 256 targets for disks. It
// does so when it has found the controller, and each time when disks were hot-added faster than
// it took notice, and the search takes longer than all else of twenty disks. Package disk
// asks for each disk.
func scanByHand(sys string) error {
	err := os.WriteFile(filepath.Join(sys, "module/scsi_mod/parameters/scan"), []byte("manual"), 0)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("have SCSI controllers scanned by hand: %w", err)
	}
	return nil
}

// seesVirtio says whether the machine shows virtio devices without any driver: on the
// kernel command line (virtio-mmio) or on the PCI bus.
func seesVirtio() bool {
	cmdline, _ := os.ReadFile("/proc/cmdline")
	if strings.Contains(string(cmdline), "virtio_mmio.device=") {
		return true
	}
	vendors, _ := filepath.Glob("/sys/bus/pci/devices/*/vendor")
	for _, v := range vendors {
		if b, _ := os.ReadFile(v); strings.TrimSpace(string(b)) == "0x1af4" {
			return true
		}
	}
	return false
}

func readList() ([]modlist.Module, error) {
	f, err := os.Open(modlist.Path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil // all is built in
	}
	if err != nil {
		return nil, fmt.Errorf("read module list: %w", err)
	}
	defer f.Close()
	return modlist.Parse(f)
}

func loadAll(list []modlist.Module) error {
	for _, m := range list {
		f, err := os.Open(m.Path)
		if err != nil {
			return fmt.Errorf("load module %s: %w", m.Name, err)
		}
		err = unix.FinitModule(int(f.Fd()), "", 0)
		f.Close()
		if err != nil && !errors.Is(err, unix.EEXIST) {
			return fmt.Errorf("load module %s: %w", m.Name, err)
		}
	}
	return nil
}

// WantedModule says whether the process was started by the kernel to load a module
// (kernel.modprobe is set to this program), and which.
func WantedModule(pid int, args []string) (name string, ok bool) {
	if pid == 1 || len(args) != 4 || args[1] != "-q" || args[2] != "--" {
		return "", false
	}
	return args[3], true
}

// LoadWanted loads a module by its name or an alias, and what it needs. NotFound when the
// guest has it not as a module. The kernel asks for it in a process of its own, which runs
// in the kernel's rootfs, where nothing is mounted.
func LoadWanted(name string) error {
	list, err := readList()
	if err != nil {
		return err
	}
	aliases, err := os.Open(modlist.AliasPath)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("read module aliases: %w", err)
	}
	if err == nil {
		defer aliases.Close()
		if name, err = resolveAlias(aliases, name); err != nil {
			return err
		}
	}
	need, err := modlist.Closure(list, name)
	if err != nil {
		return err
	}
	return loadAll(need)
}
