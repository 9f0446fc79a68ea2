package pool

import (
	"context"
	"fmt"
	"time"

	"github.com/porthole-run/porthole/internal/filelook"
	"github.com/porthole-run/porthole/internal/logkey"
	"github.com/porthole-run/porthole/sandbox"
)

// run makes and ends spares until ctx ends.
func (p *Pool) run(ctx context.Context) {
	defer close(p.done)
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		for p.step(ctx) {
		}
		p.ask(ctx)
		for p.step(ctx) {
		}
		select {
		case <-ctx.Done():
			return
		case <-p.wake:
		case <-tick.C:
		}
	}
}

// step does one thing that is to be done, and tells whether there was one.
func (p *Pool) step(ctx context.Context) bool {
	if ctx.Err() != nil {
		return false
	}
	if p.scarce(Class{}) {
		p.shrink(ctx)
		return false
	}
	if s := p.surplus(); s != nil {
		_ = p.end(ctx, s) // it is in the log
		return true
	}
	c, wait, ok := p.next()
	if !ok || p.scarce(c) { // it would be ended again when its guest uses what it has
		return false
	}
	if wait > 0 {
		t := time.NewTimer(wait)
		defer t.Stop()
		select {
		case <-ctx.Done():
			return false
		case <-t.C:
			return true // look again
		}
	}
	p.make(ctx, c)
	return true
}

// free is the host's memory that can be had; known is false where spares do not depend on it.
func (p *Pool) free() (mib uint64, known bool) {
	if p.cfg.FreeMiB == nil || p.cfg.LeastMiB == 0 {
		return 0, false
	}
	mib, err := p.cfg.FreeMiB()
	return mib, err == nil
}

// scarce tells whether the host has too little memory for spares, or for one more of a class.
func (p *Pool) scarce(more Class) bool {
	free, known := p.free()
	return known && free < p.cfg.LeastMiB+uint64(more.MemoryMiB)
}

// shrink ends spares, the oldest first, for as long as the host has too little memory.
func (p *Pool) shrink(ctx context.Context) {
	free, _ := p.free()
	ended := 0
	for ; p.scarce(Class{}); ended++ {
		s := p.oldest()
		if s == nil {
			break
		}
		_ = p.end(ctx, s) // it is in the log
	}
	if ended > 0 {
		p.cfg.Log.Warn("spare VMs were ended: the host's memory is short", logkey.Count, ended,
			"free_mib", free, "least_mib", p.cfg.LeastMiB)
	}
}

// oldest takes the oldest spare out; nil: there is none.
func (p *Pool) oldest() *spare {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.spares) == 0 {
		return nil
	}
	s := p.spares[0]
	p.spares = p.spares[1:]
	return s
}

// surplus takes a spare out that is dead, hangs, is made from what is there no more, or is too
// many; nil: none is.
func (p *Pool) surplus() *spare {
	from, known := p.look()
	p.mu.Lock()
	defer p.mu.Unlock()
	want := p.want(time.Now())
	have := map[Class]int{}
	for _, s := range p.spares {
		have[s.class]++
	}
	for i, s := range p.spares {
		usable := known && s.usable(from)
		if !usable && !s.dead() && !s.hung {
			p.cfg.Log.Info("spare VM is made anew: what VMs are made from has changed", logkey.VMID, s.id)
		}
		if !usable || have[s.class] > want[s.class] {
			p.spares = append(p.spares[:i:i], p.spares[i+1:]...)
			return s
		}
	}
	return nil
}

// next is the class of the next spare to make, and how long to wait before.
func (p *Pool) next() (c Class, wait time.Duration, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	have := map[Class]int{}
	for _, s := range p.spares {
		have[s.class]++
	}
	for class, n := range p.want(now) {
		if have[class] < n {
			c, ok = class, true
			break
		}
	}
	return c, max(p.asked.Add(quiet).Sub(now), p.until.Sub(now)), ok
}

// want is how many spares of each class there are to be. p.mu is held.
func (p *Pool) want(now time.Time) map[Class]int {
	want := map[Class]int{}
	if p.cfg.Fixed > 0 {
		want[p.cfg.Class] = p.cfg.Fixed
	} else {
		want = p.demand.peaks(now)
	}
	left, budget := p.cfg.Max, p.cfg.BudgetMiB
	out := map[Class]int{}
	for _, c := range sortedClasses(want) { // the small ones first: more pods are served
		for range want[c] {
			if left == 0 || p.cfg.BudgetMiB > 0 && budget < c.MemoryMiB {
				return out
			}
			left--
			budget -= c.MemoryMiB
			out[c]++
		}
	}
	return out
}

// make launches and warms up one spare.
func (p *Pool) make(ctx context.Context, c Class) {
	p.mu.Lock()
	p.making++
	p.mu.Unlock()
	id := sandbox.NewID()
	begun := time.Now()
	from, err := filelook.At(p.cfg.Files...) // before: a file that changes meanwhile looks different after
	var shim sandbox.Shim
	if err == nil {
		shim, err = p.launch(ctx, id, c)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.making--
	if err != nil {
		if ctx.Err() != nil {
			return
		}
		p.counts.Failed++
		p.failed = err
		p.backoff = min(max(2*p.backoff, firstBackoff), lastBackoff)
		p.until = time.Now().Add(p.backoff)
		p.cfg.Log.Warn("make spare VM", logkey.VMID, id, logkey.Error, err)
		return
	}
	p.failed, p.backoff = nil, 0
	p.counts.Made++
	p.spares = append(p.spares, &spare{id: id, class: c, shim: shim, from: from, heard: time.Now()})
	p.cfg.Log.Debug("spare VM is ready", logkey.VMID, id, logkey.Duration, time.Since(begun))
}

// launch makes a VM and warms it up. On error nothing is left.
func (p *Pool) launch(ctx context.Context, id string, c Class) (sandbox.Shim, error) {
	mctx, cancel := context.WithTimeout(ctx, makeTimeout)
	defer cancel()
	shim, err := p.cfg.Launcher.Launch(mctx, sandbox.ShimConfig{
		ID: id, VCPUs: c.VCPUs, MemoryMiB: c.MemoryMiB, MaxVCPUs: c.VCPUs, MaxMemoryMiB: c.MemoryMiB,
	})
	if err != nil {
		return nil, err
	}
	if p.cfg.WarmUp == nil {
		return shim, nil
	}
	if err := p.cfg.WarmUp(mctx, id, shim); err != nil {
		ectx, cancel := context.WithTimeout(context.WithoutCancel(ctx), endTimeout)
		defer cancel()
		if serr := shim.Shutdown(ectx); serr != nil {
			err = fmt.Errorf("%w (and end it: %w)", err, serr)
		}
		_ = shim.Close()
		return nil, fmt.Errorf("warm up: %w", err)
	}
	return shim, nil
}
