package selftest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/porthole-run/porthole/guest"
	"github.com/porthole-run/porthole/internal/hcs"
	"github.com/porthole-run/porthole/sandbox/hcsvm"
)

func checkDocument(ctx context.Context, b *bench) verdict {
	g, err := b.booted(ctx)
	switch {
	case err != nil:
		return notRun("%v", err)
	case g.createErr != nil && !errors.Is(g.createErr, hcsvm.ErrOtherID):
		return fails("%v", g.createErr)
	}
	return holds("made in %v: %d CPUs, %d MiB", round(g.create), g.config.VCPUs, g.config.MemoryMiB)
}

func checkID(ctx context.Context, b *bench) verdict {
	g, err := b.booted(ctx)
	switch {
	case err != nil:
		return notRun("%v", err)
	case errors.Is(g.createErr, hcsvm.ErrOtherID):
		return fails("%v", g.createErr)
	case g.createErr != nil:
		return notRun("%v", g.err())
	}
	return holds("the VM has the id that it was given")
}

// stringRounds is enough for a wrong allocator to show, at some 10 strings each.
const stringRounds = 300

func checkStrings(ctx context.Context, b *bench) verdict {
	if b.lab.Host == nil {
		return notRun("%v", errMissing(b.lab.HostErr, "Host Compute Service"))
	}
	for range stringRounds {
		if _, err := b.lab.Host.Schema(); err != nil {
			return fails("%v", err)
		}
		if _, err := b.lab.Host.List(ctx, hcsvm.Owner); err != nil {
			return fails("%v", err)
		}
	}
	return holds("%d answers were freed, and the process goes on", 2*stringRounds)
}

// noInit is for a guest that panics as soon as its kernel has booted.
const noInit = "rdinit=/selftest-has-none root=/dev/selftest-has-none"

func checkEarlyEnd(ctx context.Context, b *bench) verdict {
	begin := time.Now()
	g, err := b.boot(ctx, DriverOptions{CommandLine: noInit}, nil)
	if err != nil {
		return notRun("%v", err)
	}
	defer g.end(context.WithoutCancel(ctx))
	if err := g.err(); err != nil {
		return notRun("%v", err)
	}
	ctx, cancel := context.WithTimeout(ctx, b.lab.Times.Boot)
	defer cancel()
	var panicked time.Time
	ticks := time.NewTicker(sampleEvery)
	defer ticks.Stop()
	for {
		select {
		case <-g.vm.Done():
			err := g.vm.Err()
			if err == nil || !strings.Contains(err.Error(), "panic") {
				return fails("the end of a guest that panicked was told as: %v", err)
			}
			if late := time.Since(panicked); !panicked.IsZero() && late > 10*b.lab.Times.Prompt {
				return fails("the end was told %v after the panic", round(late))
			}
			return holds("the guest ended %v after it was made, and its panic was told", round(time.Since(begin)))
		case <-ticks.C:
			if panicked.IsZero() && bytes.Contains(g.vm.Console(), []byte("Kernel panic")) {
				panicked = time.Now()
			}
		case <-ctx.Done():
			if panicked.IsZero() {
				return unclear("the guest was to panic and did not in %v", b.lab.Times.Boot)
			}
			return fails("the guest panicked, and no end was told within %v", round(time.Since(panicked)))
		}
	}
}

func checkExitEvent(ctx context.Context, b *bench) verdict {
	var took [2]time.Duration
	for i, start := range []bool{false, true} {
		c, err := b.config()
		if err != nil {
			return notRun("%v", err)
		}
		d, err := b.lab.Driver(DriverOptions{})
		if err != nil {
			return notRun("%v", err)
		}
		vm, err := d.Create(ctx, c)
		if err != nil {
			return notRun("the VM was not made: %v", err)
		}
		b.undo.Push("end VM "+c.ID, vm.Stop)
		if start {
			if err := vm.Start(ctx); err != nil {
				return notRun("the VM did not start: %v", err)
			}
		}
		begin := time.Now()
		if err := vm.Stop(ctx); err != nil {
			return fails("%v", err)
		}
		took[i] = time.Since(begin)
	}
	text := fmt.Sprintf("ended in %v without a start, %v with one", round(took[0]), round(took[1]))
	if max(took[0], took[1]) > b.lab.Times.Prompt {
		return fails("%s: no event came", text)
	}
	return holds("%s", text)
}

func checkLastHandle(ctx context.Context, b *bench) verdict {
	c, err := b.config()
	if err != nil {
		return notRun("%v", err)
	}
	d, err := b.lab.Driver(DriverOptions{})
	if err != nil {
		return notRun("%v", err)
	}
	id, doc, err := d.Document(c)
	if err != nil {
		return notRun("%v", err)
	}
	vm, err := d.Create(ctx, c) // the files are granted with it
	if err != nil {
		return notRun("the VM was not made: %v", err)
	}
	b.undo.Push("end VM "+c.ID, vm.Stop)
	given, cancel := context.WithCancel(ctx)
	cancel()
	startErr := vm.Start(given)
	if err := vm.Stop(ctx); err != nil {
		return fails("a VM whose start was given up (%v) does not end: %v", startErr, err)
	}
	if gone, err := b.gone(ctx, id); err != nil || !gone {
		return fails("a VM whose start was given up is there after Terminate: %v", err)
	}
	s, err := b.lab.Host.Create(ctx, id, doc, func(hcs.Event) {})
	if err != nil {
		return notRun("the VM was not made again: %v", err)
	}
	if err := s.Close(ctx); err != nil {
		return fails("close the last handle: %v", err)
	}
	begin := time.Now()
	if gone, err := b.gone(ctx, id); err != nil || !gone {
		if left, oerr := b.lab.Host.Open(ctx, id, func(hcs.Event) {}); oerr == nil {
			err = errors.Join(err, left.Terminate(ctx), left.Close(ctx))
		}
		return fails("a VM is there %v after its last handle was closed: %v", round(time.Since(begin)), err)
	}
	return holds("both are gone, the second %v after its last handle", round(time.Since(begin)))
}

// gone waits until HCS does not list a VM any more.
func (b *bench) gone(ctx context.Context, id string) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, b.lab.Times.Notice)
	defer cancel()
	ticks := time.NewTicker(sampleEvery)
	defer ticks.Stop()
	for {
		all, err := b.lab.Host.List(ctx, hcsvm.Owner)
		if err != nil {
			return false, err
		}
		if !contains(all, id) {
			return true, nil
		}
		select {
		case <-ticks.C:
		case <-ctx.Done():
			return false, nil
		}
	}
}

func checkDial(ctx context.Context, b *bench) verdict {
	g, err := b.booted(ctx)
	if err != nil {
		return notRun("%v", err)
	}
	if g.dials == nil {
		return notRun("%v", g.err())
	}
	if err := g.dials.failed(); err != nil {
		return fails("%v", err)
	}
	if g.connectErr != nil {
		return fails("%v", g.connectErr)
	}
	return holds("dialled until the guest listened, %v after its start", round(g.connect))
}

const roundTrips = 50

func checkSocket(ctx context.Context, b *bench) verdict {
	g, err := b.booted(ctx)
	if err != nil {
		return notRun("%v", err)
	}
	if g.connectErr != nil {
		return fails("%v", g.connectErr)
	}
	if err := g.err(); err != nil {
		return notRun("%v", err)
	}
	begin := time.Now()
	for range roundTrips {
		if _, _, err := g.client.ClockOffset(ctx); err != nil {
			return fails("%v", err)
		}
	}
	return holds("%d questions and answers, %v each", roundTrips, round(time.Since(begin)/roundTrips))
}

func checkConsole(ctx context.Context, b *bench) verdict {
	g, err := b.booted(ctx)
	switch {
	case err != nil:
		return notRun("%v", err)
	case g.createErr != nil || g.startErr != nil:
		return notRun("%v", g.err())
	}
	if n := len(g.vm.Console()); n > 0 {
		return holds("%d bytes of the console were read", n)
	}
	return fails("the console is empty")
}

func checkKernel(ctx context.Context, b *bench) verdict {
	g, err := b.booted(ctx)
	switch {
	case err != nil:
		return notRun("%v", err)
	case g.createErr != nil || g.startErr != nil:
		return notRun("%v", g.err())
	case g.connectErr != nil:
		return fails("the agent does not answer; the console has %d bytes", len(g.vm.Console()))
	case len(g.vm.Console()) == 0: // a quiet kernel has little to say there, and not nothing
		return fails("the agent answers, and the console is empty")
	}
	info := g.client.Info()
	return holds("kernel %s, %d MiB, agent %s; it answered %v after the start", info.KernelRelease, info.MemoryBytes>>20, info.AgentVersion, round(g.connect))
}

func checkResize(ctx context.Context, b *bench) verdict {
	g, err := b.answering(ctx)
	if err != nil {
		return notRun("%v", err)
	}
	r, ok := g.vm.(resizer)
	if !ok {
		return notRun("this driver does not resize")
	}
	if err := r.SetCPU(ctx, 500, 100); err != nil {
		return fails("%v", err)
	}
	if err := r.SetMemory(ctx, vmMemory/2); err != nil {
		return fails("%v", err)
	}
	if _, _, err := g.client.ClockOffset(ctx); err != nil {
		return fails("the guest does not answer any more: %v", err)
	}
	return holds("half a CPU, %d MiB of %d", vmMemory/2, vmMemory)
}

func checkServiceRestart(ctx context.Context, b *bench) verdict {
	g, err := b.boot(ctx, DriverOptions{}, guest.Connect)
	if err == nil {
		err = g.err()
	}
	if err != nil {
		return notRun("%v", err)
	}
	begin := time.Now()
	if err := b.lab.Restart(ctx, "vmcompute"); err != nil {
		return notRun("restart vmcompute: %v", err)
	}
	select {
	case <-g.vm.Done():
	case <-time.After(3 * b.lab.Times.Notice):
		return fails("no event in %v: the VM counts as running", round(time.Since(begin)))
	case <-ctx.Done():
		return notRun("%v", ctx.Err())
	}
	told := g.vm.Err()
	again, err := b.boot(ctx, DriverOptions{}, guest.Connect)
	if err == nil {
		err = again.err()
	}
	if err != nil {
		return fails("no VM runs after the restart: %v", err)
	}
	return holds("the VM's end was told as %v; a new VM answered %v after its start", firstLine(told), round(again.connect))
}

func contains(all []hcs.Properties, id string) bool {
	for _, p := range all {
		if strings.EqualFold(p.ID, id) {
			return true
		}
	}
	return false
}
