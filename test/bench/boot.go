package main

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	guestimage "github.com/porthole-run/porthole/guest/image"
	"github.com/porthole-run/porthole/sandbox/qemuvm"
)

// Rows of boots. They have no peer.
const (
	stepBoot     = "QEMU starts to agent ready: small kernel on microvm"
	stepBootPeer = "QEMU starts to agent ready: Debian's kernel on q35"
)

// readyLine is in what the agent prints once it takes calls, before it opens its port.
// Debian's bundle has no driver for the ports of q35, so that none could ask the agent there.
const readyLine = "agent ready"

// bootTime bounds one boot, far above what a busy machine needs.
const bootTime = 2 * time.Minute

// pc is a machine to boot a guest on: what QEMU is told of it, and how its virtio devices
// are called there.
type pc struct {
	row, bundle, machine, cpu, bus string
	kernelArgs                     []string
}

// boots takes the CPU time of boots, from QEMU's start until the agent is ready. Both
// machines are started here, alike: the driver knows microvm only. Without the bundle of
// the small kernel there is nothing to compare.
func (b *bench) boots(ctx context.Context) error {
	if _, err := os.Stat(filepath.Join(b.small, "manifest.json")); err != nil {
		return nil
	}
	tsc, err := qemuvm.HostTSC()
	if err != nil {
		return err
	}
	machines := []pc{
		{stepBoot, b.small, "microvm,pit=off,pic=off,rtc=on", "max,-erms,-fsrm", "device",
			append(guestimage.MicroVMArgs(tsc), "tsc=reliable")},
		{stepBootPeer, b.debian, "q35", "max", "pci", nil},
	}
	for i := range b.n + 1 {
		say("boot %d of %d", i, b.n)
		for _, m := range machines {
			took, cpu, err := m.boot(ctx)
			if err != nil {
				return err
			}
			if i > 0 { // the first warms the host's page cache
				b.report.boots.add(m.row, milliseconds, portholeName, float64(took)/1e6)
				b.report.boots.addCPU(m.row, milliseconds, portholeName, cpu.Seconds())
			}
		}
	}
	return nil
}

// boot starts a VM, waits until its agent is ready, ends it, and returns the time and QEMU's CPU time
// until then.
func (m pc) boot(ctx context.Context) (took, cpu time.Duration, err error) {
	ctx, cancel := context.WithTimeout(ctx, bootTime)
	defer cancel()
	bundle, err := guestimage.Open(m.bundle)
	if err != nil {
		return 0, 0, err
	}
	kernelArgs := append(guestimage.KernelArgs(bundle.Manifest().Kernel.Flavour), "console=ttyS0")
	qemu := exec.CommandContext(ctx, "qemu-system-x86_64",
		"-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
		"-machine", m.machine+",accel=tcg", "-cpu", m.cpu, "-smp", "1", "-m", "256M",
		"-kernel", bundle.Kernel(), "-initrd", bundle.Initrd(),
		"-append", strings.Join(append(kernelArgs, m.kernelArgs...), " "),
		"-serial", "stdio",
		"-device", "virtio-serial-"+m.bus, "-device", "virtio-scsi-"+m.bus,
		"-object", "rng-builtin,id=rng0", "-device", "virtio-rng-"+m.bus+",rng=rng0",
	)
	var said strings.Builder
	qemu.Stderr = &said
	console, err := qemu.StdoutPipe()
	if err != nil {
		return 0, 0, err
	}
	begin := time.Now()
	if err := qemu.Start(); err != nil {
		return 0, 0, err
	}
	ready := false
	var lines []string
	for in := bufio.NewScanner(console); !ready && in.Scan(); {
		lines = append(lines, in.Text())
		ready = strings.Contains(in.Text(), readyLine)
	}
	took = time.Since(begin)
	_ = qemu.Process.Kill()
	_ = qemu.Wait() // it was killed
	if !ready {
		return 0, 0, fmt.Errorf("boot %s on %s: the agent is not ready: %w\n%s\n%s", m.bundle, m.machine, ctx.Err(), said.String(), strings.Join(lines, "\n"))
	}
	return took, qemu.ProcessState.UserTime() + qemu.ProcessState.SystemTime(), nil
}
