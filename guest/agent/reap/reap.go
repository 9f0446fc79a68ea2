//go:build linux

package reap

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"
)

// Exit is how a process ended.
type Exit struct {
	Code uint32 // 128+n when signal n ended it
	At   time.Time
}

// Process is a child whose exit was asked for.
type Process struct {
	pid    int
	reaper *Reaper
	done   chan struct{}
	exit   Exit // set before done is closed
}

// PID is the process's id in the agent's PID namespace.
func (p *Process) PID() int { return p.pid }

// Done is closed when the process has exited.
func (p *Process) Done() <-chan struct{} { return p.done }

// Exit is how the process ended. It may be called only after Done is closed.
func (p *Process) Exit() Exit { return p.exit }

// Signal sends sig to the process. It is a FailedPrecondition when it has exited: the
// pid can not be another process's, as the pid is kept until the reaper has it.
func (p *Process) Signal(sig syscall.Signal) error {
	p.reaper.mu.Lock()
	defer p.reaper.mu.Unlock()
	select {
	case <-p.done:
		return fmt.Errorf("process %d has exited: %w", p.pid, errdefs.ErrFailedPrecondition)
	default:
	}
	if err := unix.Kill(p.pid, sig); err != nil {
		return fmt.Errorf("signal process %d: %w", p.pid, err)
	}
	return nil
}

// Reaper waits for children.
type Reaper struct {
	mu      sync.Mutex // guards the rest, and the moment of reaping
	waiting map[int]*Process
	kept    map[int]Exit // exits that nobody asked for, while a Window is open
	windows int
}

// New returns a reaper that reaps once Run is called.
func New() *Reaper {
	return &Reaper{waiting: map[int]*Process{}, kept: map[int]Exit{}}
}

// Run reaps until ctx ends. It may be called once.
func (r *Reaper) Run(ctx context.Context) {
	c := make(chan os.Signal, 1)
	signal.Notify(c, unix.SIGCHLD)
	defer signal.Stop(c)
	for {
		r.reap() // first for what ended before Notify
		select {
		case <-ctx.Done():
			return
		case <-c:
		}
	}
}

// reap collects all children that have exited.
func (r *Reaper) reap() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for {
		var ws unix.WaitStatus
		pid, err := unix.Wait4(-1, &ws, unix.WNOHANG, nil)
		if err == unix.EINTR {
			continue
		}
		if err != nil || pid <= 0 {
			return
		}
		e := Exit{Code: uint32(ws.ExitStatus()), At: time.Now()}
		if ws.Signaled() {
			e.Code = 128 + uint32(ws.Signal())
		}
		if p := r.waiting[pid]; p != nil {
			delete(r.waiting, pid)
			p.exit = e
			close(p.done)
		} else if r.windows > 0 {
			r.kept[pid] = e
		}
	}
}

// A Window keeps exits of processes whose pids are not known yet. It must be opened
// before they can start, and closed when their pids were claimed.
type Window struct{ r *Reaper }

// Open opens a window.
func (r *Reaper) Open() Window {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.windows++
	return Window{r}
}

// Claim asks for the exit of a process that started while the window was open.
func (w Window) Claim(pid int) *Process {
	w.r.mu.Lock()
	defer w.r.mu.Unlock()
	p := &Process{pid: pid, reaper: w.r, done: make(chan struct{})}
	if e, ok := w.r.kept[pid]; ok {
		delete(w.r.kept, pid)
		p.exit = e
		close(p.done)
		return p
	}
	w.r.waiting[pid] = p
	return p
}

// Close closes the window. The last one to close forgets the exits nobody claimed.
func (w Window) Close() {
	w.r.mu.Lock()
	defer w.r.mu.Unlock()
	if w.r.windows--; w.r.windows == 0 {
		clear(w.r.kept)
	}
}

// Start starts a child. Its exit comes through the Process, never through package os.
func (r *Reaper) Start(path string, args []string, attr *os.ProcAttr) (*Process, error) {
	w := r.Open()
	defer w.Close()
	p, err := os.StartProcess(path, args, attr)
	if err != nil {
		return nil, err
	}
	proc := w.Claim(p.Pid)
	p.Release()
	return proc, nil
}

// RunChild starts a child and waits for its exit. When ctx ends first the child is killed
// and waited for.
func (r *Reaper) RunChild(ctx context.Context, path string, args []string, attr *os.ProcAttr) (Exit, error) {
	p, err := r.Start(path, args, attr)
	if err != nil {
		return Exit{}, err
	}
	select {
	case <-p.Done():
		return p.Exit(), nil
	case <-ctx.Done():
	}
	p.Signal(unix.SIGKILL) // gone already is as good
	<-p.Done()
	return Exit{}, fmt.Errorf("run %s: %w", path, ctx.Err())
}
