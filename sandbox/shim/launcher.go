package shim

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/containerd/errdefs"

	"github.com/porthole-run/porthole/internal/appendfile"
	"github.com/porthole-run/porthole/internal/localsock"
	"github.com/porthole-run/porthole/internal/offspring"
	"github.com/porthole-run/porthole/internal/privatedir"
	"github.com/porthole-run/porthole/internal/undo"
	"github.com/porthole-run/porthole/sandbox"
	"github.com/porthole-run/porthole/sandbox/template"
)

// LauncherConfig is what a Launcher is made from.
type LauncherConfig struct {
	// StateDir holds one folder a shim, named by its id. It is made when missing. Its
	// path has to be short: sockets lie below it.
	StateDir string
	// Executable and Args start a shim when "--dir" and its folder are added to them, and
	// Executable and TemplateArgs the maker of a template (MakeTemplate).
	Executable         string
	Args, TemplateArgs []string
	// DriverConfig is handed to the shim's driver as it is.
	DriverConfig   json.RawMessage
	Kernel, Initrd string        // the guest bundle's
	StartTimeout   time.Duration // for a VM's start until the agent answers; 0: 60 s
	LogLevel       slog.Level    // of shim.log
	Version        string        // this build, for handshakes
	Templates      Templates     // nil: each VM boots
}

// Templates has what VMs can be cloned from. Package template implements it.
type Templates interface {
	// Await returns a template for a VM of a size, or nil when there is none and none will
	// be there soon, or ctx ends: the VM boots. The lease is closed by the caller, who
	// reports what became of the clone when that was the template's doing. It is safe for
	// concurrent use.
	Await(ctx context.Context, s template.Size) *template.Lease
}

// Launcher starts shims and finds them again. It implements sandbox.Launcher.
type Launcher struct {
	config LauncherConfig // immutable after NewLauncher

	mu        sync.Mutex // guards launching
	launching map[string]struct{}
}

var _ sandbox.Launcher = (*Launcher)(nil)

// NewLauncher makes the state folder.
func NewLauncher(c LauncherConfig) (*Launcher, error) {
	if !filepath.IsAbs(c.StateDir) || !filepath.IsAbs(c.Executable) {
		return nil, fmt.Errorf("make launcher: state folder %q and executable %q have to be absolute paths: %w",
			c.StateDir, c.Executable, errdefs.ErrInvalidArgument)
	}
	if len(c.DriverConfig) == 0 {
		c.DriverConfig = json.RawMessage("{}")
	}
	if err := privatedir.Make(c.StateDir, 0o700); err != nil {
		return nil, fmt.Errorf("make launcher: %w", err)
	}
	return &Launcher{config: c, launching: map[string]struct{}{}}, nil
}

func (l *Launcher) folder(id string) (folder, error) {
	if err := checkDirName(id); err != nil {
		return "", err
	}
	return folder(filepath.Join(l.config.StateDir, id)), nil
}

// Launch implements sandbox.Launcher.
func (l *Launcher) Launch(ctx context.Context, c sandbox.ShimConfig) (sandbox.Shim, error) {
	client, err := l.launch(ctx, c)
	if err != nil {
		return nil, err
	}
	return client, nil
}

func (l *Launcher) launch(ctx context.Context, c sandbox.ShimConfig) (_ *Client, err error) {
	f, err := l.folder(c.ID)
	if err != nil {
		return nil, err
	}
	if err := localsock.CheckPath(f.control()); err != nil {
		return nil, fmt.Errorf("%w: %w", err, errdefs.ErrInvalidArgument)
	}
	if !l.reserve(c.ID) {
		return nil, fmt.Errorf("shim %s is being launched: %w", c.ID, errdefs.ErrAlreadyExists)
	}
	defer l.unreserve(c.ID)
	if err := f.makeFresh(ctx); err != nil {
		return nil, err
	}
	var p *process
	defer func() {
		if err == nil {
			return
		}
		uctx, cancel := undoContext(ctx)
		defer cancel()
		err = undo.Failed(err, p.discard(uctx, f))
	}()
	cfg := l.vmConfig(c.ID, c.VCPUs, c.MemoryMiB)
	cfg.Pods = c.Pods
	cfg.Cgroups = c.Cgroups
	var lease *template.Lease
	if cfg.Restore = c.Restore; cfg.Restore == nil {
		lease = l.takeTemplate(ctx, c)
	} else if err := l.checkBundle(c.Restore.Saved); err != nil {
		return nil, err
	}
	var files []*os.File
	if lease != nil {
		defer lease.Close()
		cfg.VCPUs, cfg.MemoryMiB = lease.Class.VCPUs, lease.Class.MemoryMiB
		cfg.Template = &templateConfig{ID: lease.ID, StateSHA256: lease.StateSHA256, Scratch: lease.Scratch != nil}
		files = passFiles(lease.Files)
	}
	if err := writeJSON(f.config(), cfg); err != nil {
		return nil, err
	}
	if p, err = l.start(f, files); err != nil {
		return nil, err
	}
	if err := p.awaitReady(ctx, f); err != nil {
		return nil, err
	}
	client, err := connect(ctx, f, l.config.Version)
	if err == nil && lease != nil {
		reportTemplate(lease, client.Info())
	}
	return client, err
}

// vmConfig is what a shim is told of a VM that boots.
func (l *Launcher) vmConfig(id string, vcpus, memoryMiB int) config {
	return config{
		Version:      configVersion,
		ID:           id,
		VCPUs:        vcpus,
		MemoryMiB:    memoryMiB,
		Kernel:       l.config.Kernel,
		Initrd:       l.config.Initrd,
		Driver:       l.config.DriverConfig,
		StartTimeout: l.config.StartTimeout,
		LogLevel:     l.config.LogLevel,
		Build:        l.config.Version,
	}
}

func (l *Launcher) reserve(id string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, ok := l.launching[id]; ok {
		return false
	}
	l.launching[id] = struct{}{}
	return true
}

func (l *Launcher) unreserve(id string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.launching, id)
}

func (l *Launcher) isLaunching(id string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	_, ok := l.launching[id]
	return ok
}

// makeFresh makes the folder, in place of what a shim that is gone has left.
func (f folder) makeFresh(ctx context.Context) error {
	err := os.Mkdir(string(f), 0o700)
	if !errors.Is(err, os.ErrExist) {
		return err
	}
	if p, err := f.readProcesses(); err == nil && p.Shim.alive() {
		return fmt.Errorf("its process %d runs: %w", p.Shim.PID, errdefs.ErrAlreadyExists)
	}
	if err := f.end(ctx, processRecord{}, true); err != nil {
		return err
	}
	return os.Mkdir(string(f), 0o700)
}

// process is a shim that this daemon started. A goroutine reaps it whenever it ends,
// which may be after the daemon has ended: nobody waits for that goroutine.
type process struct {
	id    processID
	ready *os.File      // the reading end of the readiness pipe
	done  chan struct{} // closed when the process was reaped
	state error         // how it ended; set before done is closed
}

// openLog opens the shim's log such that a daemon can remove the folder on Windows too while
// the shim has it: one that was started a moment before its daemon died has not
// recorded itself yet, and finds its folder gone.
func (f folder) openLog() (*os.File, error) { return appendfile.Open(f.log(), 0o600) }

func (l *Launcher) start(f folder, files []*os.File) (*process, error) {
	log, err := f.openLog()
	if err != nil {
		return nil, err
	}
	defer log.Close()
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer w.Close()
	proc, err := offspring.Command{
		Path: l.config.Executable, Args: slices.Concat(l.config.Args, []string{"--dir", string(f)}),
		Dir: string(filepath.Separator), Stdout: w, Stderr: log, Files: files,
	}.Start()
	if err != nil {
		r.Close()
		return nil, err
	}
	p := &process{ready: r, done: make(chan struct{})}
	// Not yet reaped, the number is still its own; a zombie is as good as gone.
	if p.id, err = identify(proc.Pid); err != nil {
		p.id = processID{PID: proc.Pid}
	}
	go func() {
		state, err := proc.Wait()
		if err == nil && !state.Success() {
			err = &exec.ExitError{ProcessState: state}
		}
		p.state = err
		close(p.done)
	}()
	return p, nil
}

// awaitReady returns when the shim serves. A shim that ends instead has left the reason.
func (p *process) awaitReady(ctx context.Context, f folder) error {
	defer p.ready.Close()
	stop := context.AfterFunc(ctx, func() {
		if p.ready.SetReadDeadline(time.Unix(1, 0)) != nil { // pipes of Windows have none
			_ = p.id.signal(os.Kill) // who fails to launch does so anyway, and the pipe ends with its writer
		}
	})
	defer stop()
	line, err := bufio.NewReader(io.LimitReader(p.ready, 64)).ReadString('\n')
	if err == nil && line == readyLine+"\n" {
		return nil
	}
	if ctx.Err() != nil {
		return fmt.Errorf("wait for shim: %w", context.Cause(ctx))
	}
	timer := time.NewTimer(killedWait)
	defer timer.Stop()
	select {
	case <-p.done:
	case <-timer.C:
		return fmt.Errorf("shim closed its readiness pipe: %w", errdefs.ErrInternal)
	}
	if err := f.reason(); err != nil {
		return err
	}
	return fmt.Errorf("shim ended (%w) before it was ready: %w", p.state, errdefs.ErrUnavailable)
}

// discard ends a shim whose launch has failed and removes its folder. p may be nil.
func (p *process) discard(ctx context.Context, f folder) error {
	var record processRecord
	if p != nil {
		record.Shim = p.id
	}
	return f.end(ctx, record, false)
}

// Open implements sandbox.Launcher. The NotFound error of a shim that is gone tells why,
// and the folder that it has left is removed.
func (l *Launcher) Open(ctx context.Context, id string) (sandbox.Shim, error) {
	f, err := l.folder(id)
	if err != nil {
		return nil, err
	}
	if l.isLaunching(id) {
		return nil, fmt.Errorf("open shim %s: it is being launched: %w", id, errdefs.ErrUnavailable)
	}
	if _, err := os.Stat(string(f)); errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("open shim %s: %w", id, errdefs.ErrNotFound)
	}
	p, err := f.readProcesses()
	if err == nil && p.Shim.alive() {
		c, err := connect(ctx, f, l.config.Version)
		if err == nil {
			return c, nil
		}
		if p.Shim.alive() {
			return nil, fmt.Errorf("open shim %s: %w", id, err)
		}
	}
	reason := f.reason()
	if err := f.end(ctx, p, true); err != nil {
		return nil, fmt.Errorf("open shim %s: remove what is left of it: %w", id, err)
	}
	if reason == nil {
		return nil, fmt.Errorf("open shim %s: it has ended: %w", id, errdefs.ErrNotFound)
	}
	return nil, fmt.Errorf("open shim %s: %w: %v", id, errdefs.ErrNotFound, reason)
}

// List implements sandbox.Launcher. It names those too that are gone but have left their
// folders: Open tells why, and removes them.
func (l *Launcher) List(context.Context) ([]string, error) {
	entries, err := os.ReadDir(l.config.StateDir)
	if err != nil {
		return nil, fmt.Errorf("list shims: %w", err)
	}
	var out []string
	for _, e := range entries {
		if e.IsDir() && checkDirName(e.Name()) == nil && !l.isLaunching(e.Name()) {
			out = append(out, e.Name())
		}
	}
	return out, nil
}
