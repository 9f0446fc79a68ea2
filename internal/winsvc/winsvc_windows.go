package winsvc

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"time"
	"unsafe"

	"golang.org/x/sys/windows"
	"golang.org/x/sys/windows/svc"
	"golang.org/x/sys/windows/svc/eventlog"
	"golang.org/x/sys/windows/svc/mgr"
)

// forget is after how long without an end the SCM counts the delays of Recovery anew.
const forget = 24 * time.Hour

// poll is how often a service that changes its state is looked at.
const poll = 200 * time.Millisecond

var phaseNames = map[svc.State]string{
	svc.Stopped: "stopped", svc.StartPending: "start pending", svc.StopPending: "stop pending",
	svc.Running: "running", svc.ContinuePending: "continue pending", svc.PausePending: "pause pending", svc.Paused: "paused",
}

// open calls f with the service.
func open(name string, f func(*mgr.Service) error) error {
	m, err := mgr.Connect()
	if err != nil {
		return fmt.Errorf("connect to the service control manager: %w", kind(err))
	}
	defer m.Disconnect()
	s, err := m.OpenService(name)
	if err != nil {
		return fmt.Errorf("open service %s: %w", name, kind(err))
	}
	defer s.Close()
	return f(s)
}

// kind makes the errors that callers tell apart findable.
func kind(err error) error {
	switch {
	case errors.Is(err, windows.ERROR_SERVICE_DOES_NOT_EXIST):
		return fmt.Errorf("it is not installed: %w: %w", err, fs.ErrNotExist)
	case errors.Is(err, windows.ERROR_SERVICE_EXISTS):
		return fmt.Errorf("%w: %w", err, fs.ErrExist)
	case errors.Is(err, windows.ERROR_SERVICE_MARKED_FOR_DELETE):
		return fmt.Errorf("it is being deleted, which ends when all that have it open (services.msc, Task Manager) let go: %w: %w", err, fs.ErrExist)
	}
	return err
}

func install(s Service) (err error) {
	m, err := mgr.Connect()
	if err != nil {
		return fmt.Errorf("connect to the service control manager: %w", kind(err))
	}
	defer m.Disconnect()
	created, err := m.CreateService(s.Name, s.Executable, mgr.Config{
		StartType: mgr.StartAutomatic, ErrorControl: mgr.ErrorNormal,
		DisplayName: s.DisplayName, Description: s.Description,
	}, s.Args...)
	if err != nil {
		return fmt.Errorf("create service %s: %w", s.Name, kind(err))
	}
	defer created.Close()
	defer func() {
		if err != nil {
			err = errors.Join(err, created.Delete())
		}
	}()
	if err := setRecovery(created); err != nil {
		return fmt.Errorf("set recovery of service %s: %w", s.Name, err)
	}
	// A source of that name that was left is taken over.
	_ = eventlog.Remove(s.Name)
	if err := eventlog.InstallAsEventCreate(s.Name, eventlog.Error|eventlog.Warning|eventlog.Info); err != nil {
		return fmt.Errorf("register event source %s: %w", s.Name, err)
	}
	return nil
}

// setRecovery sets Recovery for ends by crash and by error. A system without that level
// of configuration (Wine 8; every Windows has it) starts the service with the system alone.
func setRecovery(s *mgr.Service) error {
	var actions []mgr.RecoveryAction
	for _, d := range Recovery {
		actions = append(actions, mgr.RecoveryAction{Type: mgr.ServiceRestart, Delay: d})
	}
	err := s.SetRecoveryActions(actions, uint32(forget/time.Second))
	if err == nil {
		err = s.SetRecoveryActionsOnNonCrashFailures(true)
	}
	if errors.Is(err, windows.ERROR_INVALID_LEVEL) {
		return nil
	}
	return err
}

// repoint changes nothing but the command: mgr's own call would write what it reads by levels of
// configuration that not every system has (Wine 8).
func repoint(name, executable string, args []string) error {
	command, err := windows.UTF16PtrFromString(windows.ComposeCommandLine(append([]string{executable}, args...)))
	if err != nil {
		return fmt.Errorf("change service %s: %w", name, err)
	}
	return open(name, func(s *mgr.Service) error {
		err := windows.ChangeServiceConfig(s.Handle, windows.SERVICE_NO_CHANGE, windows.SERVICE_NO_CHANGE, windows.SERVICE_NO_CHANGE,
			command, nil, nil, nil, nil, nil, nil)
		if err != nil {
			return fmt.Errorf("change service %s: %w", name, kind(err))
		}
		return nil
	})
}

func uninstall(ctx context.Context, name string) error {
	err := open(name, func(s *mgr.Service) error {
		if err := stopAndWait(ctx, s); err != nil {
			return err
		}
		if err := s.Delete(); err != nil && !errors.Is(err, windows.ERROR_SERVICE_MARKED_FOR_DELETE) {
			return fmt.Errorf("delete service %s: %w", name, err)
		}
		return nil
	})
	if err != nil {
		return err
	}
	if err := eventlog.Remove(name); err != nil && !errors.Is(err, windows.ERROR_FILE_NOT_FOUND) {
		return fmt.Errorf("remove event source %s: %w", name, err)
	}
	return nil
}

func start(ctx context.Context, name string) error {
	return open(name, func(s *mgr.Service) error {
		if err := s.Start(); err != nil && !errors.Is(err, windows.ERROR_SERVICE_ALREADY_RUNNING) {
			return fmt.Errorf("start service %s: %w", name, err)
		}
		st, err := await(ctx, s, svc.StartPending)
		if err != nil {
			return err
		}
		if st.State != svc.Running {
			return fmt.Errorf("start service %s: it is %s, exit code %d: see its log and the Event Log's Application log", name, phaseNames[st.State], exitOf(st))
		}
		return nil
	})
}

func stop(ctx context.Context, name string) error {
	return open(name, func(s *mgr.Service) error { return stopAndWait(ctx, s) })
}

func stopAndWait(ctx context.Context, s *mgr.Service) error {
	switch _, err := s.Control(svc.Stop); {
	case errors.Is(err, windows.ERROR_SERVICE_NOT_ACTIVE):
		return nil
	case errors.Is(err, windows.ERROR_SERVICE_CANNOT_ACCEPT_CTRL): // it starts or stops
	case err != nil:
		return fmt.Errorf("stop service %s: %w", s.Name, err)
	}
	st, err := await(ctx, s, svc.StopPending, svc.StartPending, svc.Running)
	if err == nil && st.State != svc.Stopped {
		err = fmt.Errorf("stop service %s: it is %s", s.Name, phaseNames[st.State])
	}
	return err
}

// await waits until the service is in none of the states.
func await(ctx context.Context, s *mgr.Service, states ...svc.State) (svc.Status, error) {
	ticks := time.NewTicker(poll)
	defer ticks.Stop()
	for {
		st, err := s.Query()
		if err != nil {
			return st, fmt.Errorf("query service %s: %w", s.Name, err)
		}
		waiting := false
		for _, state := range states {
			waiting = waiting || st.State == state
		}
		if !waiting {
			return st, nil
		}
		select {
		case <-ticks.C:
		case <-ctx.Done():
			return st, fmt.Errorf("wait for service %s, which is %s: %w", s.Name, phaseNames[st.State], context.Cause(ctx))
		}
	}
}

func exitOf(st svc.Status) uint32 {
	if st.Win32ExitCode == uint32(windows.ERROR_SERVICE_SPECIFIC_ERROR) {
		return st.ServiceSpecificExitCode
	}
	return st.Win32ExitCode
}

func query(name string) (State, error) {
	var out State
	err := open(name, func(s *mgr.Service) error {
		st, err := s.Query()
		if err != nil {
			return fmt.Errorf("query service %s: %w", name, err)
		}
		out = State{Installed: true, Status: phaseNames[st.State], PID: st.ProcessId, ExitCode: exitOf(st)}
		if out.Automatic, out.Disabled, out.Command, err = startConfig(s); err != nil {
			return fmt.Errorf("read configuration of service %s: %w", name, err)
		}
		return nil
	})
	if errors.Is(err, fs.ErrNotExist) {
		return State{}, nil
	}
	return out, err
}

// startConfig tells when the service starts, and what. mgr's Config reads levels besides
// that not every system has (Wine 8).
func startConfig(s *mgr.Service) (automatic, disabled bool, command string, err error) {
	buf := make([]byte, 8<<10) // the most that the call takes
	c := (*windows.QUERY_SERVICE_CONFIG)(unsafe.Pointer(&buf[0]))
	var needed uint32
	if err := windows.QueryServiceConfig(s.Handle, c, uint32(len(buf)), &needed); err != nil {
		return false, false, "", err
	}
	return c.StartType == mgr.StartAutomatic, c.StartType == mgr.StartDisabled, windows.UTF16PtrToString(c.BinaryPathName), nil
}

func runService(ctx context.Context, name string, exitCode func(error) int, work func(context.Context, func()) error) error {
	var workErr error
	err := svc.Run(name, execute(func(requests <-chan svc.ChangeRequest, states chan<- svc.Status) (bool, uint32) {
		controls, endTranslation := translate(requests)
		workErr = handshake(ctx, controls, func(r report) { states <- status(r) }, work)
		endTranslation()
		code := exitCode(workErr)
		return code != 0, uint32(code)
	}))
	if errors.Is(err, windows.ERROR_FAILED_SERVICE_CONTROLLER_CONNECT) {
		return errors.New("this is for the service control manager to run: use `porthole service start`, or `porthole serve` by hand")
	}
	if err != nil {
		return fmt.Errorf("run service %s: %w", name, err)
	}
	return workErr
}

// execute is svc.Handler as a function.
type execute func(<-chan svc.ChangeRequest, chan<- svc.Status) (specific bool, code uint32)

// Execute implements svc.Handler.
func (f execute) Execute(_ []string, requests <-chan svc.ChangeRequest, states chan<- svc.Status) (bool, uint32) {
	return f(requests, states)
}

// translate makes controls of the SCM's requests until stop is called, which waits.
func translate(requests <-chan svc.ChangeRequest) (controls <-chan control, stop func()) {
	out := make(chan control)
	done, gone := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(gone)
		for {
			c := interrogate
			select {
			case r := <-requests:
				switch r.Cmd {
				case svc.Stop, svc.Shutdown, svc.PreShutdown:
					c = end
				}
			case <-done:
				return
			}
			select {
			case out <- c:
			case <-done:
				return
			}
		}
	}()
	return out, func() {
		close(done)
		<-gone
	}
}

func status(r report) svc.Status {
	s := svc.Status{CheckPoint: r.checkpoint, WaitHint: uint32(r.hint / time.Millisecond)}
	switch r.phase {
	case starting:
		s.State = svc.StartPending
		s.Accepts = svc.AcceptStop | svc.AcceptShutdown
	case running:
		s.State = svc.Running
		s.Accepts = svc.AcceptStop | svc.AcceptShutdown | svc.AcceptPreShutdown
	default:
		s.State = svc.StopPending
	}
	return s
}

func openEvents(name string) (Events, error) {
	l, err := eventlog.Open(name)
	if err != nil {
		return nil, fmt.Errorf("open event source %s: %w", name, err)
	}
	return l, nil
}
