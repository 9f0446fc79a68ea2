package crun

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"

	"github.com/porthole-run/porthole/guest/agent/reap"
)

// Runtime runs crun.
type Runtime struct {
	Path   string // of the program
	Root   string // folder of its state
	Reaper *reap.Reaper
}

// Spawn says what a new process gets.
type Spawn struct {
	ID  string // the container
	Dir string // a folder for this call's files: of the container or the exec alone
	// Command is the process's first argument, for errors.
	Command string
	// Files are stdin, stdout and stderr; nil ones are /dev/null. Not used with Terminal.
	Files    [3]*os.File
	Terminal bool
}

// Create creates the container of the bundle in s.Dir. Its process waits for Start. With
// a terminal the second result is its other side. On error nothing is left.
func (r *Runtime) Create(ctx context.Context, s Spawn) (*reap.Process, *os.File, error) {
	p, tty, err := r.spawn(ctx, s, "create", []string{"--bundle", s.Dir}, []string{s.ID})
	if err != nil {
		err = errors.Join(err, r.Delete(context.WithoutCancel(ctx), s.ID))
	}
	return p, tty, err
}

// Exec starts the process that s.Dir/process.json describes in a running container.
func (r *Runtime) Exec(ctx context.Context, s Spawn) (*reap.Process, *os.File, error) {
	return r.spawn(ctx, s, "exec", []string{"--detach", "--process", filepath.Join(s.Dir, "process.json")}, []string{s.ID})
}

// Start lets a created container's process run.
func (r *Runtime) Start(ctx context.Context, id, dir, command string) error {
	return r.run(ctx, "start", command, filepath.Join(dir, "start.log"), nil, id)
}

// Update changes a container's limits to those in a file of OCI LinuxResources.
func (r *Runtime) Update(ctx context.Context, id, dir, file string) error {
	return r.run(ctx, "update", "", filepath.Join(dir, "update.log"), nil, "--resources", file, id)
}

// Delete kills a container if need be and removes what crun keeps of it. A container
// that is gone is not an error.
func (r *Runtime) Delete(ctx context.Context, id string) error {
	if _, err := os.Stat(filepath.Join(r.Root, id)); errors.Is(err, os.ErrNotExist) {
		return nil
	}
	log := filepath.Join(r.Root, id+".delete.log")
	defer os.Remove(log)
	err := r.run(ctx, "delete", "", log, nil, "--force", id)
	if _, statErr := os.Stat(filepath.Join(r.Root, id)); errors.Is(statErr, os.ErrNotExist) {
		return nil
	}
	return err
}

// spawn runs a call that leaves a process behind.
func (r *Runtime) spawn(ctx context.Context, s Spawn, call string, flags, args []string) (_ *reap.Process, tty *os.File, err error) {
	pidFile := filepath.Join(s.Dir, "pid")
	flags = append(flags, "--pid-file", pidFile)
	var console *consoleSocket
	if s.Terminal {
		if console, err = listenConsole(); err != nil {
			return nil, nil, err
		}
		defer console.close()
		flags = append(flags, "--console-socket", console.path)
		if call == "exec" {
			flags = append(flags, "--tty")
		}
	}
	w := r.Reaper.Open()
	defer w.Close()
	if err := r.run(ctx, call, s.Command, filepath.Join(s.Dir, call+".log"), s.Files[:], append(flags, args...)...); err != nil {
		return nil, nil, err
	}
	b, err := os.ReadFile(pidFile)
	if err != nil {
		return nil, nil, fmt.Errorf("crun %s: read its pid file: %w", call, err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil || pid <= 1 {
		return nil, nil, fmt.Errorf("crun %s: pid file holds %q: %w", call, b, errdefs.ErrInternal)
	}
	p := w.Claim(pid)
	if console == nil {
		return p, nil, nil
	}
	if tty, err = console.receive(); err != nil {
		p.Signal(unix.SIGKILL)
		return nil, nil, fmt.Errorf("crun %s: receive the terminal: %w", call, err)
	}
	return p, tty, nil
}

var environ = []string{"PATH=/bin:/sbin"}

// run runs one call and makes an error of its log when it fails.
func (r *Runtime) run(ctx context.Context, call, command, log string, files []*os.File, args ...string) error {
	all := append([]string{"crun", "--root", r.Root, "--cgroup-manager", "cgroupfs", "--log", "file:" + log, "--log-format", "json", call}, args...)
	null, err := os.OpenFile("/dev/null", os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer null.Close()
	std := []*os.File{null, null, null}
	for i, f := range files {
		if f != nil {
			std[i] = f
		}
	}
	exit, err := r.Reaper.RunChild(ctx, r.Path, all, &os.ProcAttr{Dir: "/", Env: environ, Files: std})
	if err != nil {
		return fmt.Errorf("crun %s: %w", call, err)
	}
	if exit.Code == 0 {
		return nil
	}
	f, err := os.Open(log)
	if err != nil {
		return logError(call, command, exit.Code, nil)
	}
	defer f.Close()
	b, _ := io.ReadAll(io.LimitReader(f, maxLog))
	return logError(call, command, exit.Code, b)
}
