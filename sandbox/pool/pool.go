package pool

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/porthole-run/porthole/internal/filelook"
	"github.com/porthole-run/porthole/internal/logkey"
	"github.com/porthole-run/porthole/sandbox"
)

// Class is a size of VM.
type Class struct {
	VCPUs     int `json:"vcpus"`
	MemoryMiB int `json:"memoryMiB"`
}

// Config is what a Pool is made from.
type Config struct {
	Launcher sandbox.Launcher
	// Class is the size that pods without limits get. With Fixed there are that many spares
	// of it; else, of each size, as many as demand says.
	Class     Class
	Fixed     int
	Max       int                    // spares of all sizes; 0: 8
	BudgetMiB int                    // memory that the guests of all spares may have; 0: no bound
	FreeMiB   func() (uint64, error) // the host's memory that can be had without harm; nil: not looked at
	LeastMiB  uint64                 // with less free there are no spares
	// WarmUp lets a new VM do once what a pod will ask of it, and leaves nothing; nil: nothing
	// is done. A VM whose warm-up fails is ended.
	WarmUp func(ctx context.Context, id string, s sandbox.Shim) error
	// Files are the paths of what VMs are made from. Spares from others than are there now
	// are ended, and not given away.
	Files []string
	Log   *slog.Logger
}

const (
	defaultMax = 8
	// quiet is for how long no pod may have asked before a spare is launched: pods that
	// start need the CPUs more.
	quiet = 500 * time.Millisecond
	// lookEvery is how often dead spares, demand, files and free memory are looked at.
	lookEvery = time.Second
	// makeTimeout bounds the making of one spare, endTimeout its end.
	makeTimeout = 2 * time.Minute
	endTimeout  = 30 * time.Second
	// After a failure nothing is launched for a while, which doubles with each.
	firstBackoff = 5 * time.Second
	lastBackoff  = 5 * time.Minute
)

// Counts are what a Pool has done since it was made.
type Counts struct {
	Hits   uint64 `json:"hits"`   // pods that got a spare
	Misses uint64 `json:"misses"` // pods that found none
	Made   uint64 `json:"made"`
	Failed uint64 `json:"failed"` // launches and warm-ups
	Ended  uint64 `json:"ended"`  // spares that nobody took, whatever ended them
}

// Status is a Pool at a moment.
type Status struct {
	Ready  map[Class]int `json:"-"`
	Making int           `json:"making"`
	Spares int           `json:"spares"`
	Counts Counts        `json:"counts"`
	Error  string        `json:"error,omitempty"` // why the last one could not be made
}

// Pool keeps spares. New makes one.
type Pool struct {
	cfg Config // immutable

	wake chan struct{} // something has changed
	stop context.CancelFunc
	done chan struct{} // closed when the goroutine has ended

	mu      sync.Mutex // guards the rest
	spares  []*spare   // the oldest first
	demand  demand
	asked   time.Time // when a pod asked last
	making  int
	counts  Counts
	failed  error
	backoff time.Duration
	until   time.Time // nothing is launched before
	closed  bool
}

// spare is a VM that is ready.
type spare struct {
	id    string
	class Class
	shim  sandbox.Shim
	from  filelook.Look // what it was made from

	// Guarded by the pool's mu.
	heard time.Time // when it answered last
	hung  bool      // it does not answer
}

// usable tells whether a pod may have it, when VMs are made from now.
func (s *spare) usable(now filelook.Look) bool { return !s.dead() && !s.hung && s.from.Same(now) }

func (s *spare) dead() bool {
	select {
	case <-s.shim.Done():
		return true
	default:
		return false
	}
}

// New makes a Pool that has no spares until Start.
func New(c Config) *Pool {
	c.Max = cmp.Or(c.Max, defaultMax)
	return &Pool{cfg: c, wake: make(chan struct{}, 1)}
}

// Start begins to make spares. ctx's values go to what is launched. It is called once.
func (p *Pool) Start(ctx context.Context) {
	ctx, p.stop = context.WithCancel(context.WithoutCancel(ctx))
	p.done = make(chan struct{})
	go p.run(ctx)
}

// Close ends all spares and waits for that. Later, Take finds none. ctx bounds the wait.
func (p *Pool) Close(ctx context.Context) error {
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	if p.stop != nil {
		p.stop()
		<-p.done
	}
	p.mu.Lock()
	left := p.spares
	p.spares = nil
	p.mu.Unlock()
	var errs []error
	for _, s := range left {
		errs = append(errs, p.end(ctx, s))
	}
	return errors.Join(errs...)
}

// Take implements sandbox.Spares.
func (p *Pool) Take(c sandbox.ShimConfig) (id string, s sandbox.Shim, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	p.asked = now
	p.demand.add(Class{c.VCPUs, c.MemoryMiB}, now)
	defer p.signal()
	best := -1
	from, known := p.look()
	for i, s := range p.spares {
		if fits(s.class, c) && known && s.usable(from) && (best < 0 || s.class.MemoryMiB < p.spares[best].class.MemoryMiB) {
			best = i
		}
	}
	if best < 0 {
		p.counts.Misses++
		return "", nil, false
	}
	got := p.spares[best]
	p.spares = append(p.spares[:best:best], p.spares[best+1:]...)
	p.counts.Hits++
	return got.id, got.shim, true
}

// fits tells whether a VM of a class is one that was asked for.
func fits(have Class, want sandbox.ShimConfig) bool {
	return have.VCPUs >= want.VCPUs && have.MemoryMiB >= want.MemoryMiB &&
		(want.MaxVCPUs == 0 || have.VCPUs <= want.MaxVCPUs) &&
		(want.MaxMemoryMiB == 0 || have.MemoryMiB <= want.MaxMemoryMiB) &&
		// A VM that is far too large is better kept for who needs it.
		have.MemoryMiB <= 2*want.MemoryMiB
}

// Status tells how things are.
func (p *Pool) Status() Status {
	p.mu.Lock()
	defer p.mu.Unlock()
	st := Status{Ready: map[Class]int{}, Making: p.making, Spares: len(p.spares), Counts: p.counts}
	for _, s := range p.spares {
		st.Ready[s.class]++
	}
	if p.failed != nil {
		st.Error = p.failed.Error()
	}
	return st
}

func (p *Pool) signal() {
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// end ends a spare that nobody took.
func (p *Pool) end(ctx context.Context, s *spare) error {
	ctx, cancel := context.WithTimeout(ctx, endTimeout)
	defer cancel()
	err := errors.Join(s.shim.Shutdown(ctx), s.shim.Close())
	if err != nil {
		p.cfg.Log.Warn("end spare VM", logkey.VMID, s.id, logkey.Error, err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.counts.Ended++
	return err
}
