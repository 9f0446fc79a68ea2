package qemuvm

import (
	"fmt"
	"slices"
	"strings"

	"github.com/porthole-run/porthole/guest/api"
)

// guestMAC is what every guest's NIC of a number has until the agent sets the pod's: VMs of
// one size must not differ.
func guestMAC(n int) string { return fmt.Sprintf("02:70:68:00:00:%02x", n+1) }

// origin is what a VM begins with.
type origin int

const (
	booted   origin = iota // a kernel, in memory of its own
	saved                  // a kernel, in memory that clones are to share: a template
	cloned                 // what a template was when it was saved
	restored               // what a VM was when it was saved
)

// machine is all that QEMU's argument list depends on.
type machine struct {
	origin      origin
	accel       string
	vcpus       int
	memoryMiB   int
	commandLine string // of the bundle
	tscKHz      int    // of the host's time stamp counter; 0: not known

	// Descriptors in QEMU.
	kernelFD, initrdFD, qmpFD, consoleFD, muxFD, tapFD int
	memoryFD                                           int // of templates and clones
	furtherTapFDs                                      []int

	saved savedDetail // of restored ones
}

// args is QEMU's argument list. It is pure: the same machine gives the same list. The
// devices of a clone are those of its template, in the same order.
func (m machine) args() []string {
	a := []string{
		"-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
		"-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny",
		// Nothing runs until the management connection is up and hears all events.
		"-S",
		// No PIT and PIC: the guest then idles without a periodic tick. The RTC stays:
		// kernels wait 2 s for one that is not there.
		"-machine", "microvm,accel=" + m.accel + ",pit=off,pic=off,rtc=on,usb=off,mem-merge=off,dump-guest-core=off" + m.memoryBackend(),
		"-cpu", m.cpu(),
		"-smp", fmt.Sprint(m.vcpus),
		"-m", fmt.Sprintf("%dM", m.memoryMiB),
	}
	switch m.origin {
	case saved:
		a = append(a, m.memory("on")...)
	case cloned:
		// A private mapping: what the guest writes, it writes to a copy of the page.
		a = append(a, m.memory("off")...)
		a = append(a, "-incoming", "defer")
	case restored:
		if id := m.saved.Memory; id != "" {
			a = append(a, "-object", fmt.Sprintf("memory-backend-ram,id=%s,size=%dM", id, m.memoryMiB))
		}
		a = append(a, "-incoming", "defer")
	}
	if m.origin == booted || m.origin == saved { // the memory has the kernel, and no clone boots again
		a = append(a, "-kernel", fdPath(m.kernelFD), "-initrd", fdPath(m.initrdFD), "-append", m.kernelArgs())
	}
	a = append(a,
		"-chardev", fmt.Sprintf("socket,id=qmp,fd=%d", m.qmpFD),
		"-mon", "chardev=qmp,mode=control",
		"-chardev", fmt.Sprintf("socket,id=console,fd=%d", m.consoleFD),
		"-serial", "chardev:console",

		"-device", fmt.Sprintf("virtio-serial-device,max_ports=%d", maxPorts),
		"-chardev", m.mux(),
		"-device", "virtserialport,id="+muxDevice+",chardev=mux,name="+api.SerialPort,
		"-device", "virtio-scsi-device,id=scsi0",
	)
	a = append(a, nicArgs(0, m.tapFD)...)
	a = append(a,
		"-object", "rng-builtin,id=rng0",
		"-device", "virtio-rng-device,rng=rng0",
	)
	if m.origin == booted || m.origin == restored && m.saved.Balloon {
		// QEMU gives pages that the guest has freed back by punching holes into the file
		// that memory is in. That is refused for a template's, which is sealed.
		a = append(a, "-device", "virtio-balloon-device,free-page-reporting=on")
	}
	// At the end, so that the other devices are where they are in a VM with one NIC.
	for i, fd := range m.furtherTapFDs {
		a = append(a, nicArgs(i+1, fd)...)
	}
	return a
}

// nicArgs make the NIC of a number, which waits on the tap with that descriptor.
func nicArgs(n, fd int) []string {
	return []string{
		"-netdev", fmt.Sprintf("tap,id=net%d,fd=%d,vhost=off", n, fd),
		"-device", fmt.Sprintf("virtio-net-device,id=%s,netdev=net%d,mac=%s", nicDevice(n), n, guestMAC(n)),
	}
}

// mux is where the guest's control port goes. That of a restored VM is closed at first: so
// the guest is told that the host it knew is gone (reopenMux).
func (m machine) mux() string {
	if m.origin == restored {
		return "null,id=mux"
	}
	return fmt.Sprintf("socket,id=mux,fd=%d", m.muxFD)
}

// memoryID names the memory of a template. It is in the saved state too.
const memoryID = "memory0"

// memory puts the guest's memory in a file.
func (m machine) memory(share string) []string {
	return []string{"-object", fmt.Sprintf("memory-backend-file,id=%s,size=%dM,mem-path=%s,share=%s",
		memoryID, m.memoryMiB, fdPath(m.memoryFD), share)}
}

func (m machine) memoryBackend() string {
	if m.origin == booted || m.origin == restored && m.saved.Memory == "" {
		return ""
	}
	return ",memory-backend=" + memoryID
}

// cpu is all that the accelerator can do. TCG, though, runs string instructions byte by
// byte: without ERMS and FSRM the guest's kernel clears and copies memory in words, which
// takes a tenth off a boot.
func (m machine) cpu() string {
	if m.accel == TCG {
		return "max,-erms,-fsrm"
	}
	return "max"
}

// Ids of devices that later commands and events name.
const muxDevice = "mux0"

func nicDevice(n int) string { return fmt.Sprintf("nic%d", n) }

// kernelArgs is the kernel command line: the bundle's, then what this machine needs.
func (m machine) kernelArgs() string {
	var a []string
	if m.commandLine != "" {
		a = append(a, m.commandLine)
	}
	// Death must end QEMU: a panic reboots at once, a reboot is a triple fault, and
	// -no-reboot makes that an exit.
	for _, need := range []string{"console=ttyS0", "panic=-1", "reboot=t"} {
		if !slices.Contains(strings.Fields(m.commandLine), need) {
			a = append(a, need)
		}
	}
	if m.accel == TCG && m.tscKHz > 0 {
		// Without it the kernel measures the counter against a timer, which fails for
		// ever when the host is busy. KVM guests ask the hypervisor instead.
		// And the kernel must believe it: else it checks the counter against ticks,
		// which are late on a busy host, and falls back to a clock made of ticks, with
		// which an idle guest wakes up for every one of them.
		a = append(a, fmt.Sprintf("tsc_early_khz=%d", m.tscKHz), "tsc=reliable")
	}
	return strings.Join(a, " ")
}

// fdPath is a path by which QEMU opens a descriptor that it was given.
func fdPath(fd int) string { return fmt.Sprintf("/proc/self/fd/%d", fd) }
