package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	goruntime "runtime"
	"strconv"
	"strings"
	"time"

	guestimage "github.com/porthole-run/porthole/guest/image"
	"github.com/porthole-run/porthole/test/harness"
)

// notes say what the figures were measured on and how; load is that of the beginning.
func (b *bench) notes(ctx context.Context, load string) ([]string, error) {
	notes, err := machineNotes(ctx, b.options, b.server, load)
	if err != nil {
		return nil, err
	}
	containerd, err := output(ctx, "containerd", "--version")
	if err != nil {
		return nil, err
	}
	runc, err := output(ctx, "runc", "--version")
	if err != nil {
		return nil, err
	}
	return append(notes,
		fmt.Sprintf("Peer: %s, %s.", firstLine(containerd), firstLine(runc)),
		fmt.Sprintf("Samples per runtime: %d pods (%d of ExecSync), %d pulls, %d idle pods. p95 is the nearest rank, so below 20 samples it is the slowest one.",
			b.n, b.n*execs, b.options.pulls, b.pods),
		fmt.Sprintf("The pulled image: %d gzip layers, %.0f MB of tar, %.0f MB as sent, from a registry on loopback. MB are 10^6 bytes.",
			len(b.images.layers), b.images.tarMB, b.images.sentMB),
		"CPU s are CPU seconds per sample, the mean, of all processes of the run: servers, shims, QEMU, containers, and the benchmark with its registry; not of the kernel's own threads, nor of what else ran on the machine.",
	), nil
}

// machineNotes say on what machine and with which VMs a run was.
func machineNotes(ctx context.Context, o options, server *harness.Server, load string) ([]string, error) {
	notes, err := hostNotes(ctx, o, load)
	if err != nil {
		return nil, err
	}
	qemu, err := output(ctx, "qemu-system-x86_64", "--version")
	if err != nil {
		return nil, err
	}
	// It reports with its exit code too.
	doctor, _ := output(ctx, o.bin+"/porthole", "doctor", "-json", "--config", server.ConfigPath)
	accelerator, err := doctorDetail(doctor, "accelerator")
	if err != nil {
		return nil, err
	}
	templates, err := doctorDetail(doctor, "templates")
	if err != nil {
		return nil, err
	}
	guest, err := guestimage.Open(o.guest)
	if err != nil {
		return nil, err
	}
	guestKernel := guest.Manifest().Kernel
	return append(notes,
		fmt.Sprintf("VMs: %s, accelerator %s, templates %s, guest kernel %s (%s).", firstLine(qemu), accelerator, templates, guestKernel.Release, guestKernel.Flavour),
	), nil
}

// hostNotes say when and on what machine a run was, and of which build.
func hostNotes(ctx context.Context, o options, load string) ([]string, error) {
	porthole, err := output(ctx, o.bin+"/porthole", "version")
	if err != nil {
		return nil, err
	}
	kernel, err := os.ReadFile("/proc/sys/kernel/osrelease")
	if err != nil {
		return nil, err
	}
	cpuinfo, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return nil, err
	}
	meminfo, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return nil, err
	}
	memory, err := memoryTotal(string(meminfo))
	if err != nil {
		return nil, err
	}
	return []string{
		fmt.Sprintf("Measured on %s with %s.", time.Now().UTC().Format(time.DateOnly), firstLine(porthole)),
		fmt.Sprintf("Machine: %d cores (%s), %s, Linux %s; load average %s before the run and %s after it (the run itself adds to it).",
			goruntime.NumCPU(), field(string(cpuinfo), "model name"), memory, strings.TrimSpace(string(kernel)), load, loadAverage()),
	}, nil
}

// output is what a command prints, also when it fails.
func output(ctx context.Context, name string, args ...string) (string, error) {
	out, err := exec.CommandContext(ctx, name, args...).Output()
	if err != nil {
		err = fmt.Errorf("%s %s: %w", name, strings.Join(args, " "), err)
	}
	return string(out), err
}

// doctorDetail is what one check of `porthole doctor -json` found.
func doctorDetail(text, name string) (string, error) {
	var findings []struct{ Name, Detail string }
	if err := json.Unmarshal([]byte(text), &findings); err != nil {
		return "", fmt.Errorf("read what porthole doctor says: %w", err)
	}
	for _, f := range findings {
		if f.Name == name {
			return f.Detail, nil
		}
	}
	return "", fmt.Errorf("porthole doctor says nothing of %q", name)
}

func firstLine(s string) string {
	line, _, _ := strings.Cut(s, "\n")
	return strings.TrimSpace(line)
}

// memoryTotal is the machine's memory as /proc/meminfo tells it.
func memoryTotal(meminfo string) (string, error) {
	kib, err := strconv.Atoi(strings.TrimSuffix(field(meminfo, "MemTotal"), " kB"))
	if err != nil {
		return "", fmt.Errorf("read /proc/meminfo: %w", err)
	}
	return fmt.Sprintf("%.1f GiB of memory", float64(kib)/(1<<20)), nil
}

// field is the value of the first line "name: value" of a file in /proc.
func field(text, name string) string {
	for line := range strings.Lines(text) {
		key, value, ok := strings.Cut(line, ":")
		if ok && strings.TrimSpace(key) == name {
			return strings.TrimSpace(value)
		}
	}
	return "unknown"
}
