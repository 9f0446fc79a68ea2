package selftest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/porthole-run/porthole/guest"
)

// checkMemory compares the most that a VM took while it booted with what it takes after a
// while: the kernel unpacks the initrd, and frees what it came in.
func checkMemory(ctx context.Context, b *bench) verdict {
	if b.lab.Memory == nil {
		return notRun("this host does not tell what VMs take")
	}
	s := startSampler(ctx, b.lab.Memory)
	defer s.stop()
	g, err := b.boot(ctx, DriverOptions{}, guest.Connect)
	if err != nil {
		return notRun("%v", err)
	}
	defer g.end(context.WithoutCancel(ctx))
	if err := g.err(); err != nil {
		return notRun("%v", err)
	}
	initrd, err := os.Stat(g.config.Initrd)
	if err != nil {
		return notRun("%v", err)
	}
	select {
	case <-time.After(b.lab.Times.Settle):
	case <-ctx.Done():
		return notRun("%v", ctx.Err())
	}
	now, most, err := s.look()
	if err != nil {
		return unclear("%v", err)
	}
	const mib = 1 << 20
	text := fmt.Sprintf("%d MiB at most, %d MiB after %v, of %d MiB; the initrd, which is freed, has %d MiB",
		most/mib, now/mib, b.lab.Times.Settle, g.config.MemoryMiB, initrd.Size()/mib)
	switch {
	case most == 0:
		return unclear("%s: other VMs of this host hide it", text)
	case now >= uint64(g.config.MemoryMiB)*mib*9/10:
		return fails("%s: all of it is committed", text)
	case most-now < uint64(initrd.Size())/2:
		return fails("%s: less came back than was freed", text)
	}
	return holds("%s", text)
}

// sampler keeps how much more memory VMs take of the host than when it began.
type sampler struct {
	read func() (uint64, error)
	end  context.CancelFunc
	wg   sync.WaitGroup

	mu         sync.Mutex // guards what follows
	base, most uint64
	err        error
}

// sampleEvery is how often what changes by itself is looked at.
const sampleEvery = 100 * time.Millisecond

// startSampler reads until stop, or until ctx ends.
func startSampler(ctx context.Context, read func() (uint64, error)) *sampler {
	s := &sampler{read: read}
	s.base, s.err = read()
	ctx, s.end = context.WithCancel(ctx)
	s.wg.Go(func() {
		ticks := time.NewTicker(sampleEvery)
		defer ticks.Stop()
		for {
			select {
			case <-ticks.C:
				_, _, _ = s.look() // an error is kept
			case <-ctx.Done():
				return
			}
		}
	})
	return s
}

// look reads once and returns what has been taken, and the most that was.
func (s *sampler) look() (now, most uint64, err error) {
	n, err := s.read()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err = errors.Join(s.err, err); s.err != nil {
		return 0, 0, s.err
	}
	n -= min(n, s.base)
	s.most = max(s.most, n)
	return n, s.most, nil
}

func (s *sampler) stop() {
	s.end()
	s.wg.Wait()
}
