package main

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"time"

	"github.com/porthole-run/porthole/cmd/porthole/config"
	guestimage "github.com/porthole-run/porthole/guest/image"
	"github.com/porthole-run/porthole/sandbox"
	"github.com/porthole-run/porthole/sandbox/qemuvm"
)

// driverSettings is what the daemon tells a shim about its driver. Shims are of the
// build that started them, so that both ends are the same code. Hyper-V's takes the
// command line and the time limit of it alone.
type driverSettings struct {
	Binary       string        `json:"binary"`
	Accel        string        `json:"accel"`
	UIDs         qemuvm.UIDs   `json:"uids"`
	GID          uint32        `json:"gid"`
	CommandLine  string        `json:"commandLine"`
	StartTimeout time.Duration `json:"startTimeout"`
}

// hcsDriver is Hyper-V's in the configuration.
const hcsDriver = "hcs"

// newDriver makes the driver in the shim's process.
func newDriver(settings json.RawMessage, log *slog.Logger) (sandbox.Driver, error) {
	var s driverSettings
	if err := json.Unmarshal(settings, &s); err != nil {
		return nil, fmt.Errorf("read driver settings: %w", err)
	}
	return s.driver(log)
}

// qemu makes the driver of hosts that run VMs with QEMU.
func (s driverSettings) qemu(log *slog.Logger) (sandbox.Driver, error) {
	return qemuvm.New(qemuvm.Config{
		Binary: s.Binary, Accel: s.Accel, UIDs: s.UIDs, GID: s.GID,
		CommandLine: s.CommandLine, StartTimeout: s.StartTimeout, Log: log,
	})
}

// useTemplates says whether VMs are cloned from templates, and why.
func useTemplates(c config.VM, accel string) (bool, string) {
	switch {
	case c.Driver == hcsDriver:
		return false, "VMs of Hyper-V are not cloned"
	case c.Template != "auto":
		return c.Template == "on", "the configuration says so"
	case accel == qemuvm.TCG:
		return true, "guests run without kvm"
	}
	return false, "clones are not tried with kvm; template = \"on\" uses them"
}

// commandLine is what the bundle's kernel asks for and what the configuration adds.
func commandLine(c config.VM, b *guestimage.Bundle) string {
	words := guestimage.KernelArgs(b.Manifest().Kernel.Flavour)
	return strings.Join(append(words, strings.Fields(c.ExtraCmdline)...), " ")
}

// uidLocks is the folder of the locks of VMs' users. It is the host's: daemons with state
// folders of their own take users of the same range.
const uidLocks = "/run/porthole-uids"

// qemuConfig is the driver's config but for the accelerator.
func qemuConfig(c config.Config, cmdline string, log *slog.Logger) qemuvm.Config {
	return qemuvm.Config{
		Binary: c.VM.QEMU,
		UIDs: qemuvm.UIDs{
			Base: uint32(c.VM.UIDBase), Count: uint32(c.VM.UIDCount), Locks: uidLocks,
		},
		GID: vmGroup(c.VM), CommandLine: cmdline, StartTimeout: time.Duration(c.VM.StartTimeout), Log: log,
	}
}

// vmGroup is the group that QEMU runs as: without being told, the one that may open
// KVM's device, which is all that group is for.
func vmGroup(c config.VM) uint32 {
	if c.GID != 0 {
		return uint32(c.GID)
	}
	if gid, ok := kvmGroup(); ok {
		return gid
	}
	return uint32(c.UIDBase)
}

// accelerator settles what runs guests: what the configuration says, or the answer of
// a trial, which is remembered in the state folder.
func accelerator(ctx context.Context, c config.Config, b *guestimage.Bundle, force bool, log *slog.Logger) (qemuvm.Accel, error) {
	if c.VM.Driver == hcsDriver {
		return qemuvm.Accel{Accel: "hyperv", Reason: "Hyper-V runs the guests", When: time.Now()}, nil
	}
	if c.VM.Accel != "auto" {
		return qemuvm.Accel{Accel: c.VM.Accel, Reason: "the configuration says so", When: time.Now()}, nil
	}
	return qemuvm.Probe(ctx, qemuvm.ProbeConfig{
		Driver: qemuConfig(c, commandLine(c.VM, b), log),
		Kernel: b.Kernel(), Initrd: b.Initrd(),
		Cache: filepath.Join(c.State, "accel.json"), Force: force,
	})
}
