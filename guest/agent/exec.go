//go:build linux

package agent

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/porthole-run/porthole/guest/agent/crun"
	"github.com/porthole-run/porthole/guest/api"
	"github.com/porthole-run/porthole/internal/undo"
)

// maxExecs is how many execs of one container may be known at a time.
const maxExecs = 1024

// Exec implements the service.
func (c *control) Exec(ctx context.Context, r *api.ExecRequest) (*api.ExecResponse, error) {
	if err := checkID("exec_id", r.ExecId); err != nil {
		return nil, err
	}
	if len(r.Args) == 0 || r.Args[0] == "" || len(r.Args) > maxArgs {
		return nil, invalid("%d arguments: want 1 to %d, the first not empty", len(r.Args), maxArgs)
	}
	ct, err := c.container(r.ContainerId)
	if err != nil {
		return nil, err
	}
	p, err := c.makeExec(ctx, ct, r)
	if err != nil {
		return nil, err
	}
	resp := &api.ExecResponse{Pid: uint32(p.proc.PID())}
	if !r.Wait {
		return resp, nil
	}
	select {
	case <-p.done:
		resp.Exit = p.exit
		return resp, nil
	case <-ctx.Done():
		return nil, ctx.Err() // it runs on, as it does when a Wait ends
	}
}

// makeExec makes an exec that is known from then on.
func (a *Agent) makeExec(ctx context.Context, ct *container, r *api.ExecRequest) (*process, error) {
	ct.execing.RLock()
	defer ct.execing.RUnlock()
	spec, err := ct.reserve(r.ExecId)
	if err != nil {
		return nil, err
	}
	p, err := a.exec(ctx, ct, r, spec)
	ct.execsMu.Lock()
	defer ct.execsMu.Unlock()
	close(ct.making[r.ExecId])
	delete(ct.making, r.ExecId)
	if err != nil {
		delete(ct.execs, r.ExecId)
		return nil, err
	}
	ct.execs[r.ExecId] = p
	return p, nil
}

// reserve takes an exec id and returns a copy of the container's process to change.
func (c *container) reserve(execID string) (specs.Process, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.made || c.started == 0 || c.process.exited() {
		return specs.Process{}, fmt.Errorf("container %q does not run: %w", c.id, errdefs.ErrFailedPrecondition)
	}
	c.execsMu.Lock()
	defer c.execsMu.Unlock()
	if _, ok := c.execs[execID]; ok {
		return specs.Process{}, fmt.Errorf("exec %q of container %q: %w", execID, c.id, errdefs.ErrAlreadyExists)
	}
	if name := execName(c.id, execID); c.withdrawn.Has(name) {
		return specs.Process{}, withdrawnError(name)
	}
	if len(c.execs) > maxExecs {
		return specs.Process{}, fmt.Errorf("container %q has %d execs: %w", c.id, maxExecs, errdefs.ErrResourceExhausted)
	}
	c.execs[execID] = nil
	c.making[execID] = make(chan struct{})
	return *c.spec.Process, nil
}

// exec does the work of Exec. On error nothing is left.
func (a *Agent) exec(ctx context.Context, c *container, r *api.ExecRequest, spec specs.Process) (_ *process, err error) {
	var u undo.Stack
	defer func() {
		if err != nil {
			err = errors.Join(err, u.Run(ctx, undoTime))
		}
	}()
	pio, err := a.openIO(ctx, r.Stdio, false)
	if err != nil {
		return nil, err
	}
	u.Push("close streams", func(context.Context) error { pio.close(); return nil })
	dir := c.execDir(r.ExecId)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	u.Push("remove folder", func(context.Context) error { return os.RemoveAll(dir) })
	spec.Args, spec.CommandLine, spec.Terminal, spec.ConsoleSize = r.Args, "", pio.terminal, nil
	if w, h := r.Stdio.GetWidth(), r.Stdio.GetHeight(); pio.terminal && w != 0 && h != 0 {
		spec.ConsoleSize = &specs.Box{Width: uint(w), Height: uint(h)} // there when the program looks
	}
	if err := writeJSON(filepath.Join(dir, "process.json"), spec); err != nil {
		return nil, err
	}
	proc, tty, err := a.cfg.Runtime.Exec(ctx, crun.Spawn{
		ID: c.id, Dir: dir, Command: r.Args[0], Files: pio.child, Terminal: pio.terminal,
	})
	if err != nil {
		return nil, err
	}
	pio.start(tty, r.Stdio.GetWidth(), r.Stdio.GetHeight())
	return a.watch(c, r.ExecId, proc, pio, false), nil
}

func (c *container) execDir(execID string) string { return filepath.Join(c.dir, "e", execID) }

// execMade waits while an exec is being made. One that is not known is not made any more.
func (c *container) execMade(ctx context.Context, execID string) error {
	c.execsMu.Lock()
	making := c.making[execID]
	if _, ok := c.execs[execID]; !ok {
		c.withdrawn.Note(execName(c.id, execID))
	}
	c.execsMu.Unlock()
	if making == nil {
		return nil
	}
	select {
	case <-making:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// RemoveExec implements the service. One that is still being made, for a caller that did
// not wait for it, is removed when it has been made.
func (c *control) RemoveExec(ctx context.Context, r *api.RemoveExecRequest) (*api.RemoveExecResponse, error) {
	if err := checkID("exec_id", r.ExecId); err != nil {
		return nil, err
	}
	if ct, err := c.container(r.ContainerId); err == nil {
		if err := ct.execMade(ctx, r.ExecId); err != nil {
			return nil, err
		}
	}
	ct, p, err := c.processOf(r.ContainerId, r.ExecId)
	if errdefs.IsNotFound(err) {
		return &api.RemoveExecResponse{}, nil
	}
	if err != nil {
		return nil, err
	}
	if err := p.proc.Signal(unix.SIGKILL); err != nil && !errdefs.IsFailedPrecondition(err) && !errors.Is(err, unix.ESRCH) {
		return nil, err
	}
	select {
	case <-p.done:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	p.io.close()
	ct.execsMu.Lock()
	defer ct.execsMu.Unlock()
	delete(ct.execs, r.ExecId)
	return &api.RemoveExecResponse{}, os.RemoveAll(ct.execDir(r.ExecId))
}
