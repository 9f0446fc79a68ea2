package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime/debug"
	"time"

	"github.com/porthole-run/porthole/cmd/porthole/config"
	"github.com/porthole-run/porthole/internal/appendfile"
	"github.com/porthole-run/porthole/internal/logkey"
	"github.com/porthole-run/porthole/internal/privatedir"
	"github.com/porthole-run/porthole/internal/winsvc"
)

const (
	// serviceName is the Windows service's, and its source's in the Event Log.
	serviceName = "porthole"
	// serviceTimeout bounds the starting and the stopping of the service. Stopping lets
	// calls that run end.
	serviceTimeout = time.Minute
)

// The ids of events, which monitoring can count on.
const (
	eventStarts uint32 = iota + 1
	eventServes
	eventEnds
	eventFails
)

// runServiceInstall makes the service, with a configuration that is valid now.
func runServiceInstall(_ context.Context, io stdio, args []string) error {
	f := flags(io, "service install")
	path := configFlag(f)
	if _, err := parse(f, args, 0, 0); err != nil {
		return err
	}
	if _, err := config.Load(*path); err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find this program: %w", err)
	}
	s := serviceOf(self, "service", "run")
	if *path != "" {
		full, err := filepath.Abs(*path)
		if err != nil {
			return fmt.Errorf("find the configuration: %w", err)
		}
		s.Args = append(s.Args, "--config", full)
	}
	err = winsvc.Install(s)
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("%w: `porthole service uninstall` removes it", err)
	}
	return elevated(err)
}

// serviceOf is the service as it is installed.
func serviceOf(executable string, args ...string) winsvc.Service {
	return winsvc.Service{
		Name: serviceName, DisplayName: "Porthole",
		Description: "Runs Kubernetes pods in utility VMs: the container runtime that the kubelet calls.",
		Executable:  executable, Args: args,
	}
}

// runServiceUninstall removes the service; pods go on.
func runServiceUninstall(ctx context.Context, io stdio, args []string) error {
	return withService(ctx, io, "service uninstall", args, func(ctx context.Context) error {
		err := winsvc.Uninstall(ctx, serviceName)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	})
}

func runServiceStart(ctx context.Context, io stdio, args []string) error {
	return withService(ctx, io, "service start", args, func(ctx context.Context) error { return winsvc.Start(ctx, serviceName) })
}

func runServiceStop(ctx context.Context, io stdio, args []string) error {
	return withService(ctx, io, "service stop", args, func(ctx context.Context) error { return winsvc.Stop(ctx, serviceName) })
}

// withService is a command without flags that waits for the service.
func withService(ctx context.Context, io stdio, name string, args []string, do func(context.Context) error) error {
	if _, err := parse(flags(io, name), args, 0, 0); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, serviceTimeout)
	defer cancel()
	return elevated(do(ctx))
}

// elevated says what to do when rights are missing.
func elevated(err error) error {
	if errors.Is(err, fs.ErrPermission) {
		return fmt.Errorf("%w: use an elevated prompt", err)
	}
	return err
}

// serviceState is the answer of `service status`.
type serviceState struct {
	Installed bool   `json:"installed"`
	Status    string `json:"status,omitempty"`
	PID       uint32 `json:"pid,omitempty"`
	ExitCode  uint32 `json:"exit_code"`
	Automatic bool   `json:"automatic"`
	Disabled  bool   `json:"disabled,omitempty"`
	Command   string `json:"command,omitempty"`
}

func (s serviceState) String() string {
	if !s.Installed {
		return "not installed"
	}
	text := s.Status
	if s.PID != 0 {
		text += fmt.Sprintf(", process %d", s.PID)
	} else {
		text += fmt.Sprintf(", last exit code %d", s.ExitCode)
	}
	if !s.Automatic {
		text += "; it does not start with the system"
	}
	return text + "\n" + s.Command
}

func runServiceStatus(_ context.Context, io stdio, args []string) error {
	f := flags(io, "service status")
	asJSON := f.Bool("json", false, "print JSON")
	if _, err := parse(f, args, 0, 0); err != nil {
		return err
	}
	st, err := winsvc.Query(serviceName)
	if err != nil {
		return elevated(err)
	}
	if *asJSON {
		return json.NewEncoder(io.out).Encode(serviceState(st))
	}
	_, err = fmt.Fprintln(io.out, serviceState(st))
	return err
}

// runServiceRun is what the service control manager starts.
func runServiceRun(ctx context.Context, io stdio, args []string) error {
	f := flags(io, "service run")
	path := configFlag(f)
	if _, err := parse(f, args, 0, 0); err != nil {
		return err
	}
	return winsvc.Run(ctx, serviceName, exitCode, func(ctx context.Context, ready func()) error {
		events, err := winsvc.OpenEvents(serviceName)
		if err != nil {
			events = noEvents{} // pods matter more than events
		}
		defer events.Close()
		return lifeCycle(events, ready, func(ready func()) error { return serveService(ctx, *path, ready) })
	})
}

// lifeCycle tells the Event Log of serve's life. The Event Log is a help: what it does
// not take is no reason to stop.
func lifeCycle(e winsvc.Events, ready func(), serve func(ready func()) error) error {
	_ = e.Info(eventStarts, fmt.Sprintf("Porthole %s starts.", build().Version))
	err := serve(func() {
		_ = e.Info(eventServes, "Porthole serves the kubelet.")
		ready()
	})
	if err != nil {
		_ = e.Error(eventFails, "Porthole ends: "+err.Error()+"\n\nPods go on. Its log says more; `porthole doctor` looks at the machine.")
		return err
	}
	_ = e.Info(eventEnds, "Porthole ends as it was asked to. Pods go on.")
	return nil
}

// serveService is the daemon as a service: it has no standard error, so that the log is a
// file, and a panic leaves its stacks in another beside it.
func serveService(ctx context.Context, path string, ready func()) error {
	if err := supported(); err != nil {
		return err
	}
	c, err := config.Load(path)
	if err != nil {
		return err
	}
	if c.Log.File == "" {
		// The log comes before the lock of the root.
		if err := privatedir.Make(c.Root, rootMode); err != nil {
			return fmt.Errorf("make folder: %w", err)
		}
		c.Log.File = filepath.Join(c.Root, "log", "porthole.log")
	}
	log, closeLog, err := openLog(c.Log, nil)
	if err != nil {
		return err
	}
	defer closeLog()
	if err := crashesTo(filepath.Join(filepath.Dir(c.Log.File), "crash.log")); err != nil {
		log.Warn("stacks of a crash would be lost", logkey.Error, err)
	}
	return serveLogged(ctx, c, log, ready)
}

// crashesTo makes the runtime write what it prints of a crash to the file at path too.
func crashesTo(path string) error {
	f, err := appendfile.Open(path, 0o640)
	if err != nil {
		return err
	}
	defer f.Close() // the runtime has a copy
	return debug.SetCrashOutput(f, debug.CrashOptions{})
}

// noEvents drops events.
type noEvents struct{}

func (noEvents) Info(uint32, string) error    { return nil }
func (noEvents) Warning(uint32, string) error { return nil }
func (noEvents) Error(uint32, string) error   { return nil }
func (noEvents) Close() error                 { return nil }
