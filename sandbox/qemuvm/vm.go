package qemuvm

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"time"

	"github.com/containerd/errdefs"

	"github.com/porthole-run/porthole/internal/console"
	"github.com/porthole-run/porthole/network/tapnet"
	"github.com/porthole-run/porthole/sandbox"
	"github.com/porthole-run/porthole/sandbox/qemuvm/mux"
	"github.com/porthole-run/porthole/sandbox/qemuvm/qmp"
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
	undoTimeout = 5 * time.Second
	// lostGrace is how long a guest that closed its control port has to end by
	// itself, so that its last words are told and not our kill.
	lostGrace = 2 * time.Second
)

// VM is one utility VM.
type VM struct {
	driver Config           // immutable after Create
	config sandbox.VMConfig // immutable after Create
	source source           // Start's alone, but for its origin, which is immutable

	console   *console.Ring // has its own lock
	portOpen  chan struct{} // closed when the guest opened its control port
	portLost  chan struct{} // closed when it closed it again
	linkReady chan struct{} // closed when link is set and the agent has answered
	migrated  chan string   // of capacity 1: how saving or loading the state ended
	done      chan struct{} // closed when all has ended

	disks   disks   // hot-added disks; has its own lock
	waiting waiting // disk that a clone came with; has its own lock

	nics nics // what the NICs are attached as; has its own lock

	channels channels // hot-added serial ports; has its own lock

	still sync.RWMutex // held for writing while the VM is saved, for reading while devices come and go

	mu       sync.Mutex // guards the fields below
	state    state
	res      resources
	proc     *process    // set once running
	monitor  *qmp.Client // set once running
	link     *mux.Client // set before linkReady closes
	asked    bool        // Stop was called
	hungUp   bool        // Save has ended the link
	cause    error       // why we killed it, when we did
	shutdown string      // the reason that QEMU gave for its end
	err      error       // set before done closes
}

var _ sandbox.VM = (*VM)(nil)

// resources are what Create made for Start to use.
type resources struct {
	kernel, initrd    *os.File
	qmp, console, mux pair
	taps              []*tapnet.Tap // one a NIC
	user              user
}

func newVM(driver Config, c sandbox.VMConfig) *VM {
	return &VM{
		driver:    driver,
		config:    c,
		console:   console.NewRing(console.Bytes),
		portOpen:  make(chan struct{}),
		portLost:  make(chan struct{}),
		linkReady: make(chan struct{}),
		migrated:  make(chan string, 1),
		done:      make(chan struct{}),
	}
}

// closeGuestEnds closes what QEMU has copies of, so that its end is seen here; but the mux's
// when QEMU is to get that later.
func (r *resources) closeGuestEnds(keepMux bool) {
	files := []*os.File{r.kernel, r.initrd, r.qmp.guest, r.console.guest}
	if !keepMux {
		files = append(files, r.mux.guest)
	}
	for _, f := range files {
		if f != nil {
			_ = f.Close()
		}
	}
	for _, tap := range r.taps {
		_ = tap.CloseFile()
	}
}

// release frees what Create made. Closing twice is harmless for each part.
func (v *VM) release() error {
	defer v.res.user.giveBack()
	v.res.closeGuestEnds(false)
	if v.source.file != nil {
		_ = v.source.file.Close()
	}
	_ = v.dropWaiting()
	for _, c := range []*net.UnixConn{v.res.qmp.host, v.res.console.host, v.res.mux.host} {
		if c != nil {
			_ = c.Close()
		}
	}
	var errs []error
	for _, tap := range v.res.taps {
		errs = append(errs, tap.Remove())
	}
	return errors.Join(errs...)
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
	select {
	case <-v.linkReady:
	case <-v.done:
		return nil, v.goneError()
	case <-ctx.Done():
		return nil, fmt.Errorf("agent does not answer: %w\n%s", ctx.Err(), console.Tail(v.Console()))
	}
	v.mu.Lock()
	link := v.link
	v.mu.Unlock()
	conn, err := link.Dial(ctx, port)
	if err == nil {
		return conn, nil
	}
	if ctx.Err() == nil {
		// The mux ended: the VM follows, and knows why.
		select {
		case <-v.done:
			return nil, v.goneError()
		case <-ctx.Done():
		}
	}
	return nil, fmt.Errorf("%w\n%s", err, console.Tail(v.Console()))
}

// Stop implements sandbox.VM.
func (v *VM) Stop(ctx context.Context) error {
	v.mu.Lock()
	switch v.state {
	case created:
		v.state, v.asked = ended, true
		err := v.release()
		close(v.done)
		v.mu.Unlock()
		return err
	case starting, running:
		v.asked = true
		if v.proc != nil {
			v.proc.kill()
		}
	case ended:
	}
	v.mu.Unlock()
	select {
	case <-v.done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("stop vm %s: %w", v.config.ID, ctx.Err())
	}
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

// PID is the process id of QEMU; 0 when it does not run.
func (v *VM) PID() int {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.proc == nil || v.state == ended {
		return 0
	}
	return v.proc.pid
}

// Accelerator is how the guest is run: KVM or TCG.
func (v *VM) Accelerator() string { return v.driver.Accel }

func (v *VM) currentState() state {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.state
}

// goneError is what calls on an ended VM return.
func (v *VM) goneError() error {
	if err := v.Err(); err != nil {
		return err
	}
	return fmt.Errorf("vm was stopped: %w", errdefs.ErrUnavailable)
}

// client returns the management connection of a running VM.
func (v *VM) client() (*qmp.Client, error) {
	v.mu.Lock()
	s, c := v.state, v.monitor
	v.mu.Unlock()
	switch s {
	case running:
		return c, nil
	case ended:
		return nil, v.goneError()
	}
	return nil, fmt.Errorf("vm is %s: %w", s, errdefs.ErrFailedPrecondition)
}

// kill ends QEMU because of cause. The first cause is the one that is told.
func (v *VM) kill(cause error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.cause == nil {
		v.cause = cause
	}
	if v.proc != nil {
		v.proc.kill()
	}
}

// verdict says why QEMU ended. It is called once QEMU and the console have.
func (v *VM) verdict() error {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.asked {
		return nil
	}
	out := v.console.Bytes()
	var why string
	switch panicked := console.PanicLine(out); {
	case panicked != "":
		why = "guest panicked: " + panicked
	case v.cause != nil:
		why = v.cause.Error()
	case v.shutdown != "":
		why = "guest ended the vm: " + v.shutdown
	default:
		why = v.proc.how()
		if words := tailOf(v.proc.stderr.Bytes(), 5); words != "" {
			why += ": " + words
		}
	}
	return fmt.Errorf("the VM ended: %s: %w\n%s", why, errdefs.ErrUnavailable, console.Tail(out))
}

var errNotDisk = errors.New("neither a regular file nor a block device")
