package hcsemu

import (
	"fmt"
	"slices"
	"strings"

	"github.com/porthole-run/porthole/guest/api"
)

// How many NICs a VM has that wait to be plugged in: one that is a pod's own, and one in which
// any pods may come to be.
const (
	ownNICs   = 2
	otherNICs = 6
)

// machineArgs is what QEMU's argument list depends on. Descriptors are QEMU's.
type machineArgs struct {
	id                                string
	megabytes, processors             string
	kernel, initrd, commandLine       string
	tscKHz                            int
	qmpFD, consoleFD, muxFD, firstTap int
	nics                              int
}

// args is QEMU's argument list: a microvm, as sandbox/qemuvm has it, but with the four
// controllers of the document and NICs that wait.
func (m machineArgs) args() []string {
	a := []string{
		"-name", strings.ReplaceAll(m.id, "-", ""), "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot", "-S",
		"-machine", "microvm,accel=tcg,pit=off,pic=off,rtc=on,usb=off,mem-merge=off,dump-guest-core=off",
		"-cpu", "max,-erms,-fsrm", "-smp", m.processors, "-m", m.megabytes + "M",
		"-kernel", m.kernel, "-append", kernelArgs(m.commandLine, m.tscKHz),
	}
	if m.initrd != "" {
		a = append(a, "-initrd", m.initrd)
	}
	a = append(a,
		"-chardev", fmt.Sprintf("socket,id=qmp,fd=%d", m.qmpFD), "-mon", "chardev=qmp,mode=control",
		"-chardev", fmt.Sprintf("socket,id=console,fd=%d", m.consoleFD), "-serial", "chardev:console",
		"-device", "virtio-serial-device", "-chardev", fmt.Sprintf("socket,id=mux,fd=%d", m.muxFD),
		"-device", "virtserialport,id=mux0,chardev=mux,name="+api.SerialPort,
	)
	for i := range api.SCSIControllers {
		a = append(a, "-device", fmt.Sprintf("virtio-scsi-device,id=scsi%d", i))
	}
	for i := range m.nics {
		a = append(a, "-netdev", fmt.Sprintf("tap,id=net%d,fd=%d,vhost=off", i, m.firstTap+i),
			"-device", fmt.Sprintf("virtio-net-device,id=nic%d,netdev=net%d,mac=%s", i, i, strings.ReplaceAll(NICAddress(m.id, i), "-", ":")))
	}
	return append(a, "-object", "rng-builtin,id=rng0", "-device", "virtio-rng-device,rng=rng0",
		"-device", "virtio-balloon-device,id=balloon0,free-page-reporting=on")
}

// kernelArgs is the document's command line, and what QEMU's microvm needs: a reset by triple
// fault, which is the only one that it has, and under emulation a clock that is not
// measured. All else stays as the document has it.
func kernelArgs(document string, tscKHz int) string {
	words := strings.Fields(document)
	if !slices.Contains(words, "reboot=t") {
		words = append(words, "reboot=t")
	}
	if tscKHz > 0 {
		words = append(words, fmt.Sprintf("tsc_early_khz=%d", tscKHz), "tsc=reliable")
	}
	return strings.Join(words, " ")
}
