// Package winsvc makes a program a Windows service: it installs and removes the service,
// runs the program's work under the Service Control Manager (SCM), and writes life-cycle
// events to the Event Log.
//
// It is not for what the work is, nor for its log. The hand-shake with the SCM is portable
// (handshake.go); what calls Windows is in winsvc_windows.go, and elsewhere returns
// errors.ErrUnsupported.
//
// Functions are safe for concurrent use; one process runs one service, once.
package winsvc

import (
	"context"
	"time"
)

// Service describes a service to install.
type Service struct {
	Name        string // of letters, as in the registry: "porthole"
	DisplayName string
	Description string
	Executable  string   // absolute path
	Args        []string // that the SCM starts the executable with
}

// State is what the SCM says of a service.
type State struct {
	Installed bool
	Status    string // "running", "stopped", "start pending" …
	PID       uint32 // 0: it does not run
	ExitCode  uint32 // of the last run
	Automatic bool   // it starts with the system
	Disabled  bool   // it cannot be started
	Command   string // what the SCM starts
}

// Recovery is what the SCM does when the service ends unasked: it starts it again, after
// these delays, the last of them from then on; a day without an end forgets the count.
var Recovery = []time.Duration{5 * time.Second, 15 * time.Second, time.Minute}

// Install makes the service, to start with the system as LocalSystem, with Recovery, and
// registers its source of events. AlreadyExists is fs.ErrExist, want of rights
// fs.ErrPermission.
func Install(s Service) error { return install(s) }

// Repoint lets the service run another program from its next start on. One that is not
// installed is fs.ErrNotExist.
func Repoint(name, executable string, args []string) error { return repoint(name, executable, args) }

// Uninstall stops the service, waits for its end until ctx does, and removes it with its
// source of events. One that is not installed is fs.ErrNotExist.
func Uninstall(ctx context.Context, name string) error { return uninstall(ctx, name) }

// Start starts the service and waits until it runs or ctx ends.
func Start(ctx context.Context, name string) error { return start(ctx, name) }

// Stop stops the service and waits for its end until ctx does. One that does not run is
// no error.
func Stop(ctx context.Context, name string) error { return stop(ctx, name) }

// Query returns the state of the service; one that is not installed is no error.
func Query(name string) (State, error) { return query(name) }

// Run runs work as the service that the SCM started this process for, and returns when
// work has ended. Work's context ends when the SCM asks for a stop or the system shuts
// down; it calls ready when it serves. What work returns becomes the service's exit code
// by exitCode. Outside of the SCM it returns an error that says so.
func Run(ctx context.Context, name string, exitCode func(error) int, work func(ctx context.Context, ready func()) error) error {
	return runService(ctx, name, exitCode, work)
}

// Events is a source of events in the Event Log's Application log.
type Events interface {
	// Info, Warning and Error write an event. Ids are from 1 to 1000.
	Info(id uint32, text string) error
	Warning(id uint32, text string) error
	Error(id uint32, text string) error
	// Close ends the use of the source.
	Close() error
}

// OpenEvents opens the source that Install registered.
func OpenEvents(name string) (Events, error) { return openEvents(name) }
