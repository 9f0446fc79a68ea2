package hcsvm

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/containerd/errdefs"

	"github.com/porthole-run/porthole/internal/hcs"
	"github.com/porthole-run/porthole/internal/undo"
)

// make makes the compute system and begins to own it. On error nothing is left.
func (v *VM) make(ctx context.Context, from saved) (err error) {
	var u undo.Stack
	defer func() {
		if err != nil {
			err = errors.Join(err, u.Run(ctx, undoTimeout))
		}
	}()
	path, sddl, err := consolePipe(v.id)
	if err != nil {
		return err
	}
	if v.pipe, err = v.driver.ListenPipe(path, sddl); err != nil {
		return fmt.Errorf("make console: %w", err)
	}
	u.Push("close console", func(context.Context) error { return v.pipe.Close() })
	if err := v.adopt(from.disks, &u); err != nil {
		return err
	}

	ctx, cancel := context.WithTimeout(ctx, v.driver.StartTimeout)
	defer cancel()
	m := machine{
		vcpus: v.config.VCPUs, memoryMiB: v.config.MemoryMiB + v.config.MemoryMiB%2,
		kernel: v.config.Kernel, initrd: v.config.Initrd, commandLine: v.driver.CommandLine,
		console: path, ports: v.driver.Ports, restore: from.path, disks: from.disks,
	}
	if v.system, err = v.driver.Host.Create(ctx, v.id, m.document(), v.event); err != nil {
		return err
	}
	u.Push("end vm", v.discard)
	p, err := v.system.Properties(ctx)
	switch {
	case err != nil:
		return err
	case p.Stopped || p.State == "Stopped" || v.isOver():
		return fmt.Errorf("the VM ended while it was made: %s: %w", firstOf(p.ExitType, "no reason was given"), errdefs.ErrUnavailable)
	case p.RuntimeID != "" && !strings.EqualFold(p.RuntimeID, v.id):
		// Its sockets would be found by another GUID than by which we know it.
		return fmt.Errorf("%w: %s: %w", ErrOtherID, p.RuntimeID, errdefs.ErrInternal)
	}
	go v.own(context.WithoutCancel(ctx))
	return nil
}

// discard ends a VM that nobody owns yet, or lets go of it, which is its end as well.
func (v *VM) discard(ctx context.Context) error {
	err := v.system.Terminate(ctx)
	if hasEnded(err) {
		err = nil
	}
	if cerr := v.system.Close(ctx); cerr != nil {
		return errors.Join(err, cerr)
	}
	return nil // the last handle is closed
}

// Start implements sandbox.VM. When it fails the VM has ended and holds nothing.
func (v *VM) Start(ctx context.Context) error {
	v.mu.Lock()
	if v.state != created || v.asked {
		s, err := v.state, v.err
		v.mu.Unlock()
		if err != nil { // it ended before it was started
			return fmt.Errorf("start vm %s: %w", v.config.ID, err)
		}
		return fmt.Errorf("start vm %s: vm is %s: %w", v.config.ID, s, errdefs.ErrFailedPrecondition)
	}
	v.state = starting
	v.mu.Unlock()
	if err := v.launch(ctx); err != nil {
		return fmt.Errorf("start vm %s: %w", v.config.ID, err)
	}
	return nil
}

func (v *VM) launch(ctx context.Context) error {
	sctx, cancel := context.WithTimeout(ctx, v.driver.StartTimeout)
	defer cancel()
	err := v.system.Start(sctx)
	if err == nil {
		v.mu.Lock()
		defer v.mu.Unlock()
		if v.state == starting {
			v.state = running
		}
		return nil
	}
	v.mu.Lock()
	if v.cause == nil {
		v.cause = err
	}
	v.mu.Unlock()
	uctx, ucancel := context.WithTimeout(context.WithoutCancel(ctx), undoTimeout)
	defer ucancel()
	if terr := v.terminate(uctx); terr != nil {
		// Its last handle, which is closed next, ends it too.
		v.log("a VM that did not start could not be terminated", terr)
		v.setOver()
	}
	select {
	case <-v.done:
	case <-uctx.Done():
		return errors.Join(err, fmt.Errorf("end vm: %w", uctx.Err()))
	}
	return err
}

// own waits for all that belongs to the VM and closes done.
func (v *VM) own(ctx context.Context) {
	go func() {
		v.readConsole()
		close(v.read)
	}()
	<-v.over

	v.mu.Lock()
	lost := v.lost && !v.hasExited()
	v.closing = true
	v.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, serviceGrace)
	defer cancel()
	var leftover error
	if lost {
		leftover = v.endLost(ctx)
	}
	v.closeConsole()
	settled := waitFor(ctx, &v.calls)
	if !settled { // those who wait for them hear that the VM has ended
		v.log("changes of an ended VM go on", ctx.Err())
	}
	v.disks.revokeAll(v, settled)
	if err := v.system.Close(ctx); err != nil {
		v.log("a compute system was not closed yet", err)
	}
	err := v.verdict(leftover)
	v.mu.Lock()
	v.state, v.err = ended, err
	v.mu.Unlock()
	close(v.done)
}

// endLost ends a VM whose handle is dead, by another one, as soon as the service answers again.
func (v *VM) endLost(ctx context.Context) error {
	retry := time.NewTicker(200 * time.Millisecond)
	defer retry.Stop()
	var last error
	for {
		switch err := endSystem(ctx, v.driver.Host, v.id); {
		case err == nil:
			return nil
		case ctx.Err() != nil && last != nil:
			return last // what the service said tells more than that time is up
		case !errdefs.IsUnavailable(err):
			return err
		default:
			last = err
		}
		select {
		case <-retry.C:
		case <-ctx.Done():
			return last
		}
	}
}

// waitFor returns true when all of wg has ended, false when ctx ends first.
func waitFor(ctx context.Context, wg *sync.WaitGroup) bool {
	ended := make(chan struct{})
	go func() { // ends with wg
		wg.Wait()
		close(ended)
	}()
	select {
	case <-ended:
		return true
	case <-ctx.Done():
		return false
	}
}

// readConsole keeps what the VM's worker writes to the console's pipe, one connection
// after the other, until the pipe is closed.
func (v *VM) readConsole() {
	for {
		c, err := v.pipe.Accept()
		if err != nil {
			return
		}
		v.mu.Lock()
		v.output = c
		if v.closing {
			_ = c.SetReadDeadline(time.Now().Add(exitGrace))
		}
		v.mu.Unlock()
		_, _ = io.Copy(v.console, c)
		_ = c.Close()
	}
}

// closeConsole ends the pipe and waits for what was written to it. Its writer ends with
// the VM, but that is not ours to rely on.
func (v *VM) closeConsole() {
	if err := v.pipe.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
		v.log("a console was not closed well", err)
	}
	v.mu.Lock()
	if v.output != nil {
		_ = v.output.SetReadDeadline(time.Now().Add(exitGrace))
	}
	v.mu.Unlock()
	<-v.read
}

// change runs what changes a device of the running VM on a goroutine of its own, and
// returns what came of it. When ctx or the VM ends before, the change goes on, and late, if
// any, is called when it has succeeded after all.
func (v *VM) change(ctx context.Context, do func(context.Context) error, late func(context.Context)) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	v.mu.Lock()
	switch {
	case v.state == ended || v.closing:
		v.mu.Unlock()
		<-v.done
		return v.goneError()
	case v.state != running:
		s := v.state
		v.mu.Unlock()
		return fmt.Errorf("vm is %s: %w", s, errdefs.ErrFailedPrecondition)
	}
	result, left := make(chan error), make(chan struct{})
	v.calls.Go(func() {
		ctx := context.WithoutCancel(ctx)
		err := do(ctx)
		select {
		case result <- err:
		case <-left:
			if err == nil && late != nil {
				late(ctx)
			}
		}
	})
	v.mu.Unlock()
	select {
	case err := <-result:
		return v.orGone(err)
	case <-v.done:
		close(left)
		return v.goneError()
	case <-ctx.Done():
		close(left)
		return ctx.Err()
	}
}

// orGone prefers the VM's own end over what that did to a call.
func (v *VM) orGone(err error) error {
	if err == nil {
		return nil
	}
	if hasEnded(err) || hcs.HasCode(err, hcs.ServiceDisconnect) || v.isOver() {
		// The event that tells of it is on its way.
		timer := time.NewTimer(exitGrace)
		defer timer.Stop()
		select {
		case <-v.over:
			<-v.done
			return v.goneError()
		case <-timer.C:
		}
	}
	return err
}
