package shim

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"time"

	"github.com/containerd/errdefs"

	"github.com/porthole-run/porthole/internal/busyfile"
)

// How long a shim has to end after being asked, after SIGTERM, and after SIGKILL.
const (
	askedWait      = settleTimeout + stopTimeout + 5*time.Second
	terminatedWait = settleTimeout + stopTimeout
	killedWait     = 5 * time.Second
)

// readProcesses reads process.json.
func (f folder) readProcesses() (processRecord, error) {
	var r processRecord
	b, err := readBounded(f.process(), maxConfigBytes)
	if err == nil {
		err = json.Unmarshal(b, &r)
	}
	if err != nil {
		return r, fmt.Errorf("read process record: %w", err)
	}
	return r, nil
}

// end makes sure that a folder's processes are gone, and removes it. asked says that
// the shim knows that it is to end. Each step has its own time limit; when ctx ends, the
// gentle ones are cut short, but what is left is killed all the same.
func (f folder) end(ctx context.Context, p processRecord, asked bool) error {
	if latest, err := f.readProcesses(); err == nil {
		p = latest // the VM may have begun since
	}
	if !asked || !waitFor(ctx, p.Shim, askedWait) {
		if err := p.Shim.signal(terminate); err != nil {
			return fmt.Errorf("end shim process %d: %w", p.Shim.PID, err)
		}
	}
	if !waitFor(ctx, p.Shim, terminatedWait) {
		if err := kill(ctx, p.Shim); err != nil {
			return fmt.Errorf("kill shim process %d: %w", p.Shim.PID, err)
		}
	}
	if latest, err := f.readProcesses(); err == nil {
		p = latest
	}
	// The VM ends with its shim; a moment later at most.
	if !waitFor(context.WithoutCancel(ctx), p.VM, killedWait) {
		if err := kill(ctx, p.VM); err != nil {
			return fmt.Errorf("kill process %d of VM: %w", p.VM.PID, err)
		}
	}
	return busyfile.Retry(func() error { return os.RemoveAll(string(f)) })
}

// End implements sandbox.Launcher: SIGTERM, which lets a shim that still works end its VM
// in order, then SIGKILL.
func (l *Launcher) End(ctx context.Context, id string) error {
	f, err := l.folder(id)
	if err != nil {
		return err
	}
	if l.isLaunching(id) {
		return fmt.Errorf("end shim %s: it is being launched: %w", id, errdefs.ErrUnavailable)
	}
	if err := f.end(ctx, processRecord{}, false); err != nil {
		return fmt.Errorf("end shim %s: %w", id, err)
	}
	return nil
}

func waitFor(ctx context.Context, p processID, limit time.Duration) bool {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	return p.wait(ctx)
}

func kill(ctx context.Context, p processID) error {
	if err := p.signal(os.Kill); err != nil {
		return err
	}
	if !waitFor(context.WithoutCancel(ctx), p, killedWait) {
		return fmt.Errorf("it is still there after %s: %w", killedWait, errdefs.ErrUnavailable)
	}
	return nil
}
