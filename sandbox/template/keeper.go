package template

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/porthole-run/porthole/internal/logkey"
)

const (
	// maxClasses bounds the templates, each of which holds its guest's memory. One that was
	// asked for longest ago makes room, but for those that are always kept.
	maxClasses = 6
	// maxWantedMiB bounds the classes that are not kept from the start: a guest's kernel
	// describes each page of its memory in 64 bytes, which a template holds for good.
	maxWantedMiB = 8 << 10
	// A class that failed is tried again at once, and if it fails again, after firstRetry,
	// then after twice that and so on, up to lastRetry.
	firstRetry = 10 * time.Second
	lastRetry  = time.Hour
)

// Config is what a Keeper is made from.
type Config struct {
	// Classes are kept from the start on; others once they are asked for.
	Classes []Class
	// Build boots a VM of the class to an idle agent, saves it to the files, and returns
	// when the VM has ended. Memory has the VM's size, and all are blank.
	Build func(ctx context.Context, c Class, f Files) error
	// ScratchBytes is the size of the disk that a template has mounted; 0: it has none.
	ScratchBytes int64
	// Files are the paths of what templates are made from, and Facts is all else that
	// they depend on.
	Files []string
	Facts string
	Log   *slog.Logger
	Now   func() time.Time // nil: time.Now
}

// Keeper keeps templates.
type Keeper struct {
	config Config             // immutable after New
	wake   chan struct{}      // of capacity 1: there may be something to build
	stop   context.CancelFunc // set by Start
	done   chan struct{}      // closed when the builder has ended

	mu      sync.Mutex // guards the rest
	inputs  inputs     // what the templates are made from
	classes map[Class]*class
	counts  Counts
	closed  bool
	started bool
	making  Class         // what is being built; zero: nothing
	begun   time.Time     // when that was begun
	took    time.Duration // the last one that was built; zero: there was none
}

// class is one class with what is known of it.
type class struct {
	kept     bool // from the start
	built    *built
	failures int           // in a row
	err      error         // the last one's
	retry    time.Time     // not built before; zero: at once
	asked    time.Time     // last
	settled  chan struct{} // of those who wait: closed when it is built, or was tried; nil: nobody waits
}

// built is a template.
type built struct {
	id       string
	files    Files
	stateSum string
	at       time.Time
	bytes    int64 // of memory that it holds
}

// New returns a Keeper that has nothing yet. Close it.
func New(c Config) *Keeper {
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	k := &Keeper{config: c, wake: make(chan struct{}, 1), done: make(chan struct{}), classes: map[Class]*class{}}
	for _, size := range distinct(c.Classes) {
		k.classes[size] = &class{kept: true}
	}
	return k
}

// Start begins to build, until ctx ends or Close is called. It is called once.
func (k *Keeper) Start(ctx context.Context) {
	ctx, k.stop = context.WithCancel(ctx)
	k.mu.Lock()
	k.started = true
	k.mu.Unlock()
	k.signal()
	go func() {
		defer close(k.done)
		for {
			select {
			case <-ctx.Done():
				return
			case <-k.wake:
			}
			for k.buildNext(ctx) {
			}
		}
	}()
}

// Close ends what is being built, waits for that, and lets go of all templates. Clones
// and leases are not touched. Take returns nil from then on.
func (k *Keeper) Close() {
	if k.stop != nil {
		k.stop()
		<-k.done
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.closed = true
	for _, c := range k.classes {
		c.drop()
		c.settle()
	}
}

func (k *Keeper) signal() {
	select {
	case k.wake <- struct{}{}:
	default:
	}
}

// Take returns a template for a VM of size s, the smallest there is; nil when there is
// none now. Then one is made, for those who ask later. The caller reports on the lease,
// unless that says nothing, and closes it.
func (k *Keeper) Take(s Size) *Lease {
	k.mu.Lock()
	defer k.mu.Unlock()
	l := k.take(s)
	if l == nil {
		k.counts.Boots++
	}
	return l
}

func (k *Keeper) take(s Size) *Lease {
	if k.closed || s.VCPUs < 1 || s.MemoryMiB < 1 {
		return nil
	}
	now := k.config.Now()
	var best Class
	coming := false
	for c, is := range k.classes {
		if !s.holds(c) {
			continue
		}
		is.asked = now
		if is.built == nil {
			k.signal() // its time to be tried again may have come
			coming = true
			continue
		}
		if best == (Class{}) || smallestFirst(c, best) < 0 {
			best = c
		}
	}
	if best == (Class{}) {
		if !coming {
			k.want(s.class(), now)
		}
		return nil
	}
	if !k.config.current(k.inputs) {
		k.signal()
		return nil
	}
	l, err := k.classes[best].built.lease(k, best)
	if err != nil {
		k.config.Log.Warn("template cannot be used", "class", best.String(), logkey.Error, err)
		return nil
	}
	return l
}

// want adds a class, in the place of another when there are many. A very large one is not
// added: such VMs boot.
func (k *Keeper) want(c Class, now time.Time) {
	if c.MemoryMiB > maxWantedMiB {
		return
	}
	if k.classes[c] == nil {
		if len(k.classes) >= maxClasses && !k.makeRoom() {
			return
		}
		k.classes[c] = &class{}
	}
	k.classes[c].asked = now
	k.signal()
}

// makeRoom drops the class that was asked for longest ago.
func (k *Keeper) makeRoom() bool {
	var oldest Class
	for c, is := range k.classes {
		if !is.kept && (oldest == (Class{}) || is.asked.Before(k.classes[oldest].asked)) {
			oldest = c
		}
	}
	if oldest == (Class{}) {
		return false
	}
	k.classes[oldest].drop()
	k.classes[oldest].settle()
	delete(k.classes, oldest)
	return true
}

func (c *class) drop() {
	if c.built != nil {
		_ = c.built.files.close()
		c.built = nil
	}
}

// fail notes that a class has no template and why.
func (c *class) fail(err error, now time.Time) {
	c.drop()
	c.failures++
	c.err, c.retry = err, time.Time{}
	if c.failures > 1 {
		wait := lastRetry
		if n := c.failures - 2; n < 16 {
			wait = min(firstRetry<<n, lastRetry)
		}
		c.retry = now.Add(wait)
	}
}

// report takes what became of a clone.
func (k *Keeper) report(l *Lease, err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if err == nil {
		k.counts.Clones++
	} else {
		k.counts.Fallbacks++
	}
	c := k.classes[l.Class]
	if c == nil || c.built == nil || c.built.id != l.ID {
		return // it is gone already
	}
	if err == nil {
		c.failures, c.err = 0, nil
		return
	}
	k.config.Log.Warn("template does not work and is made anew", "class", l.Class.String(), "template", l.ID, logkey.Error, err)
	c.fail(err, k.config.Now())
	k.signal()
}

// buildNext builds one template that is missing; false when none is or ctx has ended.
func (k *Keeper) buildNext(ctx context.Context) bool {
	if ctx.Err() != nil || !k.refresh(ctx) {
		return false
	}
	c, ok := k.missing()
	if !ok {
		return false
	}
	begin := k.config.Now()
	k.mu.Lock()
	k.making, k.begun = c, begin
	k.mu.Unlock()
	t, err := k.build(ctx, c)
	k.mu.Lock()
	defer k.mu.Unlock()
	k.making = Class{}
	is := k.classes[c]
	if is != nil {
		defer is.settle()
	}
	switch {
	case ctx.Err() != nil || is == nil: // nobody wants it any more
		if err == nil {
			(&class{built: t}).drop()
		}
	case err != nil:
		k.config.Log.Warn("template was not made: VMs boot", "class", c.String(), logkey.Error, err)
		is.fail(err, k.config.Now())
	default:
		is.built, is.err = t, nil
		k.took = t.at.Sub(begin)
		k.config.Log.Info("template is ready", "class", c.String(), "template", t.id,
			"bytes", t.bytes, logkey.Duration, t.at.Sub(begin))
	}
	return true
}

// refresh drops all templates when what they are made from has changed. It returns false
// when nothing can be made.
func (k *Keeper) refresh(ctx context.Context) bool {
	k.mu.Lock()
	was := k.inputs
	k.mu.Unlock()
	if k.config.current(was) {
		return true
	}
	now, err := k.config.examine(ctx)
	k.mu.Lock()
	defer k.mu.Unlock()
	if err == nil && now.digest == was.digest {
		k.inputs = now // another file of the same content
		return true
	}
	k.inputs = now // nothing, after an error: it is looked at again when one is asked for
	for _, c := range k.classes {
		c.drop()
		c.failures, c.retry = 0, time.Time{}
		c.err = err
		if err != nil {
			c.settle()
		}
	}
	if err != nil && ctx.Err() == nil {
		k.config.Log.Warn("templates cannot be made: VMs boot", logkey.Error, err)
	}
	return err == nil
}

// missing is the class to build next: kept ones first, then the smallest.
func (k *Keeper) missing() (Class, bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	var best Class
	now := k.config.Now()
	for c, is := range k.classes {
		if is.built != nil || now.Before(is.retry) {
			continue
		}
		if best == (Class{}) || is.kept && !k.classes[best].kept ||
			is.kept == k.classes[best].kept && smallestFirst(c, best) < 0 {
			best = c
		}
	}
	return best, best != (Class{})
}

// build makes a template.
func (k *Keeper) build(ctx context.Context, c Class) (_ *built, err error) {
	t := &built{}
	if t.files, err = newFiles(c, k.config.ScratchBytes); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, t.files.close())
		}
	}()
	if err := k.config.Build(ctx, c, t.files); err != nil {
		return nil, err
	}
	if err := t.files.dropEmpty(); err != nil {
		return nil, err
	}
	if err := t.files.seal(); err != nil {
		return nil, err
	}
	var scratchSum string
	if t.stateSum, scratchSum, err = t.files.sums(ctx); err != nil {
		return nil, err
	}
	if t.bytes, err = t.files.allocated(); err != nil {
		return nil, err
	}
	t.at = k.config.Now()
	k.mu.Lock()
	defer k.mu.Unlock()
	id := sha256.Sum256(fmt.Appendf(nil, "%s %v %s %s", k.inputs.digest, c, t.stateSum, scratchSum))
	t.id = hex.EncodeToString(id[:8])
	return t, nil
}
