package pool

import (
	"context"
	"sync"
	"time"

	"github.com/porthole-run/porthole/internal/filelook"
	"github.com/porthole-run/porthole/internal/logkey"
	"github.com/porthole-run/porthole/sandbox"
)

const (
	// askEvery is after how long a spare is asked whether it still answers, and answerWithin
	// what it has for that. A VM that hangs runs for the host, and only so is it found.
	askEvery     = 30 * time.Second
	answerWithin = 5 * time.Second
)

// ask asks the spares that were not heard of for a while, all at the same time, and marks those
// that do not answer as hung. It leaves them alone while pods are asking: those need the CPUs,
// and ask the spares that they get.
func (p *Pool) ask(ctx context.Context) {
	now := time.Now()
	var due []*spare
	p.mu.Lock()
	if now.Sub(p.asked) >= quiet {
		for _, s := range p.spares {
			if now.Sub(s.heard) >= askEvery && !s.dead() {
				due = append(due, s)
			}
		}
	}
	p.mu.Unlock()
	var wg sync.WaitGroup
	for _, s := range due {
		wg.Go(func() {
			actx, cancel := context.WithTimeout(ctx, answerWithin)
			defer cancel()
			err := sandbox.AskShim(actx, s.shim)
			if ctx.Err() != nil {
				return
			}
			p.mu.Lock()
			defer p.mu.Unlock()
			if s.heard = time.Now(); err != nil && p.has(s) && !s.dead() {
				s.hung = true
				p.cfg.Log.Warn("spare VM does not answer and is made anew", logkey.VMID, s.id, logkey.Error, err)
			}
		})
	}
	wg.Wait()
}

// has tells whether nobody has taken a spare. p.mu is held.
func (p *Pool) has(s *spare) bool {
	for _, have := range p.spares {
		if have == s {
			return true
		}
	}
	return false
}

// look looks at what VMs are made from now. Without one of the files there is no telling, and
// no spare is as good as a VM that is made now.
func (p *Pool) look() (filelook.Look, bool) {
	l, err := filelook.At(p.cfg.Files...)
	return l, err == nil
}
