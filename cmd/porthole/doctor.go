package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/porthole-run/porthole/cmd/porthole/config"
	"github.com/porthole-run/porthole/cmd/porthole/writers"
	guestimage "github.com/porthole-run/porthole/guest/image"
	"github.com/porthole-run/porthole/internal/memfile"
	"github.com/porthole-run/porthole/sandbox/qemuvm"
)

// finding is one line of doctor's answer.
type finding struct {
	Name   string `json:"name"`
	OK     bool   `json:"ok"`
	Needed bool   `json:"needed"` // without it pods do not run, or not as configured
	Detail string `json:"detail"`
	Fix    string `json:"fix,omitempty"` // the command that mends it
}

func (f finding) String() string {
	mark := "ok     "
	switch {
	case f.OK:
	case f.Needed:
		mark = "MISSING"
	default:
		mark = "note   "
	}
	s := fmt.Sprintf("%s  %-16s %s", mark, f.Name, oneLine(f.Detail))
	if f.Fix != "" {
		s += "\n         mend with:       " + f.Fix
	}
	return s
}

func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }

// runDoctor looks at the machine as the configuration would use it. It changes nothing
// but the remembered answer about KVM.
func runDoctor(ctx context.Context, io stdio, args []string) error {
	f := flags(io, "doctor")
	path := configFlag(f)
	asJSON := f.Bool("json", false, "print JSON")
	probe := f.Bool("probe", false, "try KVM again whatever is remembered")
	args, codes := splitCodes(args)
	rest, err := parse(f, args, 0, maxCodes)
	if err != nil {
		return err
	}
	if codes = append(codes, rest...); len(codes) > 0 {
		return explainCodes(io.out, codes, *asJSON)
	}
	c, err := config.Load(*path)
	if err != nil {
		return err
	}
	findings, err := examine(ctx, c, *probe)
	if err != nil {
		return err
	}
	if *asJSON {
		err = json.NewEncoder(io.out).Encode(findings)
	} else {
		for _, f := range findings {
			if _, err = fmt.Fprintln(io.out, f); err != nil {
				break
			}
		}
	}
	if err != nil {
		return err
	}
	for _, f := range findings {
		if f.Needed && !f.OK {
			return errMissing
		}
	}
	return nil
}

// examineQEMU makes all checks of a host that runs VMs with QEMU; those that need what an
// earlier one found missing are left out.
func examineQEMU(ctx context.Context, c config.Config, probe bool) ([]finding, error) {
	if err := supported(); err != nil {
		return nil, err
	}
	out := []finding{checkRoot()}
	qemu := qemuConfig(c, "", slog.New(slog.DiscardHandler))
	qemu.Accel = qemuvm.TCG // only the machine is looked at, which is the same for both
	qemuOK := true
	driver, err := qemuvm.New(qemu)
	if err != nil {
		return nil, err
	}
	for _, f := range driver.Check(ctx) {
		out = append(out, finding{Name: f.Name, OK: f.OK, Needed: true, Detail: f.Detail, Fix: f.Fix})
		qemuOK = qemuOK && f.OK
	}
	bundle, f := checkBundle(c)
	out = append(out, f)
	switch {
	case !out[0].OK:
		out = append(out, finding{
			Name: "accelerator", Needed: c.VM.Accel == qemuvm.KVM, Fix: out[0].Fix,
			Detail: "not checked: only root can start a guest as the user that it is to have",
		})
	case bundle != nil && qemuOK:
		accel, f := checkAccel(ctx, c, bundle, probe)
		out = append(out, f)
		if accel != "" {
			out = append(out, checkTemplates(c.VM, accel))
		}
	}
	out = append(out, checkCNI(ctx, c)...)
	out = append(out, checkWriters(c, writers.Look)...)
	out = append(out, checkMkfs(), checkForwarding(), checkSpace(c), checkSocket(ctx, c))
	out = append(out, checkKubelet(ctx, c)...)
	return out, nil
}

func checkRoot() finding {
	f := finding{Name: "root", Needed: true, OK: os.Geteuid() == 0, Detail: "runs as root"}
	if !f.OK {
		f.Detail, f.Fix = fmt.Sprintf("runs as uid %d", os.Geteuid()), "sudo porthole doctor"
	}
	return f
}

func checkBundle(c config.Config) (*guestimage.Bundle, finding) {
	f := finding{Name: "guest bundle", Needed: true, Detail: c.VM.Bundle}
	b, err := guestimage.Open(c.VM.Bundle)
	if err != nil {
		f.Detail, f.Fix = err.Error()+" (vm.bundle says where it is)", "make guest"
		return nil, f
	}
	f.OK = true
	f.Detail = fmt.Sprintf("%s, kernel %s (%s)", b.Dir(), b.Manifest().Kernel.Release, b.Manifest().Kernel.Flavour)
	return b, f
}

// checkAccel is never missing: guests run without KVM, slower.
func checkAccel(ctx context.Context, c config.Config, b *guestimage.Bundle, force bool) (accel string, _ finding) {
	f := finding{Name: "accelerator", Needed: c.VM.Accel == qemuvm.KVM}
	a, err := accelerator(ctx, c, b, force, slog.New(slog.DiscardHandler))
	if err != nil {
		f.Detail = err.Error()
		return "", f
	}
	f.Detail = fmt.Sprintf("%s: %s", a.Accel, a.Reason)
	f.Fix = accelFix(c.VM, a.Accel, kvmDevice())
	f.OK = f.Fix == ""
	return a.Accel, f
}

// checkTemplates says whether VMs are cloned, and looks that what templates are kept in
// can be made. Whether they work, the daemon finds out: crictl info has it.
func checkTemplates(vm config.VM, accel string) finding {
	f := finding{Name: "templates", OK: true}
	use, why := useTemplates(vm, accel)
	if !use {
		f.Detail = "not used: " + why
		return f
	}
	f.Detail = "used: " + why
	file, err := memfile.New("porthole doctor", 1)
	if err == nil {
		err = errors.Join(memfile.Seal(file), file.Close())
	}
	if err != nil {
		f.OK, f.Detail = false, "each VM boots: "+err.Error()
	}
	return f
}

// device is what the host has of KVM's device.
type device struct {
	present bool
	usable  bool // by a group that is not root's, which QEMU can be given
}

// accelFix is the command that lets guests use KVM; empty where there is nothing to mend.
func accelFix(vm config.VM, accel string, d device) string {
	if accel == qemuvm.KVM && vm.Accel == "auto" || vm.Accel == qemuvm.TCG || !d.present || d.usable {
		return ""
	}
	return "chgrp kvm /dev/kvm && chmod 660 /dev/kvm && porthole doctor --probe"
}

// checkCNI looks for plugins and a configuration that names only plugins that are there.
func checkCNI(ctx context.Context, c config.Config) []finding {
	plugins := finding{Name: "cni plugins", Needed: true, Fix: "apt-get install containernetworking-plugins"}
	for _, dir := range c.Network.PluginDirs {
		if _, err := os.Stat(filepath.Join(dir, "bridge")); err == nil {
			plugins.OK, plugins.Detail, plugins.Fix = true, dir, ""
			break
		}
	}
	if !plugins.OK {
		plugins.Detail = "none in " + strings.Join(c.Network.PluginDirs, ", ")
	}
	conf := finding{Name: "cni conf", Needed: true, OK: true, Detail: c.Network.ConfDir}
	if err := networkReady(ctx, c); err != nil {
		conf.OK, conf.Detail = false, err.Error()
		conf.Fix = fmt.Sprintf("cp deploy/cni/10-porthole.conflist %s/", c.Network.ConfDir)
	}
	return []finding{plugins, conf}
}

// checkMkfs is never missing: without it the guest makes the file system.
func checkMkfs() finding {
	f := finding{Name: "mkfs.ext4"}
	path, err := exec.LookPath("mkfs.ext4")
	if err != nil {
		f.Detail, f.Fix = "not found: pods start slower, as the guest makes their file system", "apt-get install e2fsprogs"
		return f
	}
	f.OK, f.Detail = true, path
	return f
}

func checkForwarding() finding {
	// Not missing: the bridge plugin turns it on with the first pod. Others may not.
	f := finding{Name: "ip forwarding", OK: true, Detail: "net.ipv4.ip_forward is 1"}
	b, err := os.ReadFile("/proc/sys/net/ipv4/ip_forward")
	if err == nil && strings.TrimSpace(string(b)) != "0" {
		return f
	}
	f.OK, f.Detail, f.Fix = false, "net.ipv4.ip_forward is 0: unless a CNI plugin sets it, pods reach this host only", "sysctl -w net.ipv4.ip_forward=1"
	if err != nil {
		f.Detail = err.Error()
	}
	return f
}

// minFree is what a few images and scratch disks take.
const minFree = 2 << 30

func checkSpace(c config.Config) finding {
	f := finding{Name: "disk space", Needed: true}
	dir := c.Root
	for {
		if _, err := os.Stat(dir); err == nil || dir == filepath.Dir(dir) {
			break
		}
		dir = filepath.Dir(dir)
	}
	free, err := freeBytes(dir)
	if err != nil {
		f.Detail = err.Error()
		return f
	}
	f.OK = free >= minFree
	f.Detail = fmt.Sprintf("%.1f GiB free for %s", float64(free)/(1<<30), c.Root)
	if !f.OK {
		f.Detail += fmt.Sprintf(": images and scratch disks want %d GiB at least; root may be set elsewhere", minFree>>30)
		f.Fix = "crictl rmi --prune"
	}
	return f
}

func checkSocket(ctx context.Context, c config.Config) finding {
	f := finding{Name: "socket", Detail: c.GRPC.Socket + " is served"}
	if err := answers(ctx, c.GRPC.Endpoint()); err != nil {
		f.Detail, f.Fix = "nobody serves "+c.GRPC.Socket, startCommand
		return f
	}
	f.OK = true
	return f
}
