// Command porthole-agent is PID 1 of a utility VM: it sets the guest up, waits for the
// host and serves it until the VM ends. It takes no flags; what differs between VMs
// comes over the wire. Started by the kernel as its module loader, it loads the module.
//
// When it cannot go on it writes why to the console and ends the VM.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"runtime"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/porthole-run/porthole/guest/agent"
	"github.com/porthole-run/porthole/guest/agent/boot"
	"github.com/porthole-run/porthole/guest/agent/cgroup"
	"github.com/porthole-run/porthole/guest/agent/crun"
	"github.com/porthole-run/porthole/guest/agent/device"
	"github.com/porthole-run/porthole/guest/agent/disk"
	"github.com/porthole-run/porthole/guest/agent/entropy"
	"github.com/porthole-run/porthole/guest/agent/podns"
	"github.com/porthole-run/porthole/guest/agent/reap"
	"github.com/porthole-run/porthole/guest/agent/share"
	"github.com/porthole-run/porthole/guest/agent/transport"
	"github.com/porthole-run/porthole/guest/api"
)

// version is a semantic version; the build sets it from the file VERSION.
var version = "0.0.0-unknown"

// portTime bounds the wait for the virtio-serial port at boot.
const portTime = 30 * time.Second

func init() {
	// Threads that join a pod's namespaces end with their goroutines. The main thread
	// can not end, and /proc/self shows it, so it is kept for main alone.
	runtime.LockOSThread()
}

func main() {
	if name, ok := boot.WantedModule(os.Getpid(), os.Args); ok {
		if boot.LoadWanted(name) != nil {
			os.Exit(1) // the kernel asks for much that is not there: silence
		}
		return
	}
	if os.Getpid() != 1 && len(os.Args) == 2 && os.Args[1] == "version" {
		fmt.Println(version) // mkguest asks, for the bundle's manifest
		return
	}
	if os.Getpid() != 1 {
		fmt.Fprintln(os.Stderr, "porthole-agent: runs as PID 1 of a utility VM only")
		os.Exit(2)
	}
	slog.SetDefault(slog.New(console(os.Stderr)))
	platform, err := boot.Init()
	if err == nil {
		err = run(context.Background(), platform)
	}
	slog.Error("agent ends the VM", "error", err)
	boot.Halt(platform)
}

// console writes short lines: the kernel's own carry the time, and a serial console is slow.
func console(w io.Writer) slog.Handler {
	return slog.NewTextHandler(w, &slog.HandlerOptions{ReplaceAttr: func(groups []string, a slog.Attr) slog.Attr {
		if len(groups) == 0 && a.Key == slog.TimeKey {
			return slog.Attr{}
		}
		return a
	}})
}

// run serves hosts until it cannot go on.
func run(ctx context.Context, platform boot.Platform) error {
	// The default of these would end PID 1. They are taken, not ignored, since children
	// inherit what is ignored.
	signal.Notify(make(chan os.Signal, 1), unix.SIGHUP, unix.SIGINT, unix.SIGTERM)
	reaper := reap.New()
	go reaper.Run(ctx) // for the agent's life
	system, err := system()
	if err != nil {
		return err
	}
	// Roots of pods with user namespaces are nobody here, and pass through the second to
	// what is mounted for them.
	for dir, mode := range map[string]os.FileMode{"/run/crun": 0o700, "/run/g": 0o711} {
		if err := os.MkdirAll(dir, mode); err != nil {
			return err
		}
	}
	runtime, runtimePath, err := crun.Seal("/bin/crun")
	if err != nil {
		return err
	}
	defer runtime.Close() // its path lives as long as it is open
	a := agent.New(agent.Config{
		Dir:        "/run/g",
		Version:    version,
		Disks:      &disk.Disks{Mkfs: "/sbin/mke2fs", Reaper: reaper},
		Namespaces: &podns.Namespaces{Pause: "/bin/pause", Reaper: reaper},
		Cgroups:    cgroup.New("/sys/fs/cgroup"),
		Runtime:    &crun.Runtime{Path: runtimePath, Root: "/run/crun", Reaper: reaper},
		Shares:     &share.Shares{Dir: "/run/porthole/shares", Relay: "/bin/relay", Reaper: reaper, Load: boot.LoadWanted},
		SetClock: func(t time.Time) error {
			ts := unix.NsecToTimespec(t.UnixNano())
			if err := unix.ClockSettime(unix.CLOCK_REALTIME, &ts); err != nil {
				return fmt.Errorf("set clock: %w", err)
			}
			return nil
		},
		Devices: &device.Guest{Sys: "/sys", Load: boot.LoadWanted},
		Seed:    entropy.Seed,
		BootID:  bootID,
		System:  system,
	})
	slog.Info("agent ready", "version", version, "platform", platform.String(), "kernel", system.KernelRelease)
	if platform == boot.HyperV {
		return serveVsock(ctx, a)
	}
	return serveSerial(ctx, a)
}

// serveSerial serves one host after another over the virtio-serial port.
func serveSerial(ctx context.Context, a *agent.Agent) error {
	wait, cancel := context.WithTimeout(ctx, portTime)
	defer cancel()
	port, err := transport.OpenSerial(wait, api.SerialPort)
	if err != nil {
		return err
	}
	for {
		session, err := port.Session(ctx)
		if err != nil {
			return err
		}
		if err := transport.ServeMux(ctx, session, a.Serve); err != nil {
			slog.Warn("session with the host broke", "error", err)
		}
		a.HostGone()
		slog.Info(api.HostGone)
	}
}

// serveVsock serves the agent's ports over AF_VSOCK.
func serveVsock(ctx context.Context, a *agent.Agent) error {
	ended := make(chan error)
	for _, port := range []uint32{api.PortControl, api.PortStdio, api.PortForward, api.PortShare} {
		l, err := transport.ListenVsock(port)
		if err != nil {
			return err
		}
		go func() { ended <- l.Serve(ctx, a.Serve) }() // for the agent's life
	}
	return <-ended
}

// bootID is the kernel's, made up when it is first read: so nothing may read it before the
// host has said that this is no template.
func bootID() (string, error) {
	id, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "", fmt.Errorf("read boot id: %w", err)
	}
	return strings.TrimSpace(string(id)), nil
}

// system reads what the host is told of the guest.
func system() (agent.System, error) {
	var u unix.Utsname
	var info unix.Sysinfo_t
	runtime, _ := os.ReadFile(api.RuntimeVersionFile) // the host is told what there is
	if err := errors.Join(unix.Uname(&u), unix.Sysinfo(&info)); err != nil {
		return agent.System{}, fmt.Errorf("read system facts: %w", err)
	}
	return agent.System{
		KernelRelease:  unix.ByteSliceToString(u.Release[:]),
		RuntimeVersion: strings.TrimSpace(string(runtime)),
		MemoryBytes:    info.Totalram * uint64(info.Unit),
	}, nil
}
