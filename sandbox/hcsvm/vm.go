package hcsvm

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/containerd/errdefs"

	"github.com/porthole-run/porthole/internal/console"
	"github.com/porthole-run/porthole/internal/hcs"
	"github.com/porthole-run/porthole/internal/hvsock"
	"github.com/porthole-run/porthole/internal/logkey"
	"github.com/porthole-run/porthole/internal/tame"
	"github.com/porthole-run/porthole/sandbox"
)

// state is where a VM is in its life; doc.go draws it.
type state int

const (
	created state = iota
	starting
	running
	ended
)

func (s state) String() string {
	return [...]string{"created", "starting", "running", "ended"}[s]
}

// Time limits inside of the driver.
const (
	// undoTimeout bounds the undoing of a step whose context has ended.
	undoTimeout = 10 * time.Second
	// exitGrace is how long the exit's event may come after the call that ended the VM,
	// and the console's last words after the exit.
	exitGrace = 2 * time.Second
	// serviceGrace is how long a service that went away has to come back, so that the VM
	// can be ended.
	serviceGrace = 20 * time.Second
	// Pauses between two dials of a guest that does not listen.
	firstPause = 5 * time.Millisecond
	lastPause  = 100 * time.Millisecond
)

// VM is one utility VM.
type VM struct {
	driver Config           // immutable after Create
	config sandbox.VMConfig // immutable after Create
	id     string           // in HCS; immutable after Create
	system *hcs.System      // immutable once made
	pipe   net.Listener     // of the console; immutable once made

	console *console.Ring  // has its own lock
	read    chan struct{}  // closed when the console's pipe is read no more
	calls   sync.WaitGroup // what changes devices

	exited chan struct{} // closed when HCS said that the VM has exited
	over   chan struct{} // closed when the VM is known to have ended, or to be out of reach
	done   chan struct{} // closed when all has ended

	disks disks // hot-added disks; has its own lock
	nics  nics  // hot-added NICs; has its own lock

	mu      sync.Mutex // guards the fields below
	state   state
	closing bool           // no further device is changed
	output  net.Conn       // the last connection of the console's pipe
	asked   bool           // Stop was called
	cause   error          // why we ended it, when we did
	exit    hcs.ExitStatus // set before exited closes
	crash   string         // the guest's panic, as Hyper-V reported it
	lost    bool           // the service went away
	err     error          // set before done closes
}

var _ sandbox.VM = (*VM)(nil)

func newVM(driver Config, c sandbox.VMConfig) *VM {
	return &VM{
		driver:  driver,
		config:  c,
		id:      systemID(c.ID),
		console: console.NewRing(console.Bytes),
		read:    make(chan struct{}),
		exited:  make(chan struct{}),
		over:    make(chan struct{}),
		done:    make(chan struct{}),
		disks:   disks{luns: map[sandbox.DiskAddress]*disk{}},
		nics:    nics{byName: map[string]*nic{}},
	}
}

// Dial implements sandbox.VM.
func (v *VM) Dial(ctx context.Context, port uint32) (net.Conn, error) {
	conn, err := v.dial(ctx, port)
	if err != nil {
		return nil, fmt.Errorf("dial port %d of vm %s: %w", port, v.config.ID, err)
	}
	return conn, nil
}

func (v *VM) dial(ctx context.Context, port uint32) (net.Conn, error) {
	if s := v.currentState(); s == created {
		return nil, fmt.Errorf("vm is %s: %w", s, errdefs.ErrFailedPrecondition)
	}
	dctx, release := v.within(ctx)
	defer release()
	for pause := firstPause; ; pause = min(2*pause, lastPause) {
		select {
		case <-v.done:
			return nil, v.goneError()
		default:
		}
		conn, err := v.driver.Dial(dctx, v.id, port)
		if err == nil {
			return conn, nil
		}
		timer := time.NewTimer(pause)
		select {
		case <-v.over:
			timer.Stop()
			<-v.done
			return nil, v.goneError()
		case <-ctx.Done():
			timer.Stop()
			return nil, fmt.Errorf("agent does not answer: %w\n%s", ctx.Err(), console.Tail(v.Console()))
		case <-timer.C:
		}
		if !errors.Is(err, hvsock.ErrRefused) {
			return nil, err
		}
	}
}

// within returns ctx as it ends with the VM, too, and what lets go of it.
func (v *VM) within(ctx context.Context) (context.Context, func()) {
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	wg.Go(func() {
		select {
		case <-v.over:
			cancel()
		case <-ctx.Done():
		}
	})
	return ctx, func() {
		cancel()
		wg.Wait()
	}
}

// Stop implements sandbox.VM. When HCS does not end the VM, the error says why, and Stop
// may be tried again.
func (v *VM) Stop(ctx context.Context) error {
	v.mu.Lock()
	over := v.state == ended
	v.asked = v.asked || !over && !v.isOver() && !v.hasExited()
	v.mu.Unlock()
	if !over {
		if err := v.terminate(ctx); err != nil {
			return fmt.Errorf("stop vm %s: %w", v.config.ID, err)
		}
	}
	select {
	case <-v.done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("stop vm %s: %w", v.config.ID, ctx.Err())
	}
}

// terminate has HCS end the VM; nil when it has ended.
func (v *VM) terminate(ctx context.Context) error {
	select {
	case <-v.over:
		return nil
	default:
	}
	err := v.system.Terminate(ctx)
	select {
	case <-v.over: // meanwhile, by itself
		return nil
	default:
	}
	if err != nil && !hasEnded(err) {
		return err
	}
	// Its exit is told by an event of its own, and not for ever waited for.
	timer := time.NewTimer(exitGrace)
	defer timer.Stop()
	select {
	case <-v.exited:
	case <-timer.C:
	}
	v.setOver()
	return nil
}

// Done implements sandbox.VM.
func (v *VM) Done() <-chan struct{} { return v.done }

// Err implements sandbox.VM.
func (v *VM) Err() error {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.err
}

// Console implements sandbox.VM.
func (v *VM) Console() []byte { return v.console.Bytes() }

// Accelerator is how the guest is run.
func (v *VM) Accelerator() string { return "hyperv" }

func (v *VM) currentState() state {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.state
}

// hasExited tells whether HCS has told the VM's exit.
func (v *VM) hasExited() bool {
	select {
	case <-v.exited:
		return true
	default:
		return false
	}
}

// isOver tells whether the VM is known to need no ending any more.
func (v *VM) isOver() bool {
	select {
	case <-v.over:
		return true
	default:
		return false
	}
}

// setOver notes, once, that the VM needs no ending any more.
func (v *VM) setOver() {
	v.mu.Lock()
	defer v.mu.Unlock()
	select {
	case <-v.over:
	default:
		close(v.over)
	}
}

// goneError is what calls on an ended VM return.
func (v *VM) goneError() error {
	if err := v.Err(); err != nil {
		return err
	}
	return fmt.Errorf("vm was stopped: %w", errdefs.ErrUnavailable)
}

// event takes what HCS tells of the VM, one event at a time.
func (v *VM) event(e hcs.Event) {
	switch e.Type {
	case hcs.SystemExited:
		v.mu.Lock()
		if !v.hasExited() {
			v.exit = e.Exit()
			close(v.exited)
		}
		v.mu.Unlock()
		v.setOver()
	case hcs.SystemCrashReport:
		v.mu.Lock()
		v.crash = e.CrashLog()
		v.mu.Unlock()
	case hcs.ServiceDisconnected:
		v.mu.Lock()
		v.lost = true
		v.mu.Unlock()
		v.setOver()
	}
}

// verdict says why the VM ended. It is called once it has, and the console too.
func (v *VM) verdict(leftover error) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.asked {
		return nil
	}
	out := v.console.Bytes()
	var why string
	switch panicked := firstOf(console.PanicLine(out), console.PanicLine([]byte(v.crash))); {
	case panicked != "":
		why = "guest panicked: " + panicked
	case v.crash != "":
		why = "guest crashed: " + tame.Line(v.crash, console.Columns)
	case v.cause != nil:
		why = v.cause.Error()
	case v.lost:
		why = "the Host Compute Service (vmcompute) went away"
		if leftover != nil {
			why += ", and the VM may run on until Porthole starts again: " + leftover.Error()
		}
	case v.exit.Code().Failed():
		why = v.exit.Code().String()
	default:
		why = "guest ended the vm: " + firstOf(tame.Line(v.exit.ExitType, 40), "no reason was given")
	}
	return fmt.Errorf("the VM ended: %s: %w\n%s", why, errdefs.ErrUnavailable, console.Tail(out))
}

func firstOf(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

// log notes what no caller is told.
func (v *VM) log(message string, err error) {
	v.driver.Log.Warn(message, logkey.VMID, v.config.ID, logkey.Error, err)
}
