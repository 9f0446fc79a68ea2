package shim

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/containerd/errdefs"

	"github.com/porthole-run/porthole/guest"
	"github.com/porthole-run/porthole/internal/logkey"
	"github.com/porthole-run/porthole/internal/phase"
	"github.com/porthole-run/porthole/internal/undo"
	"github.com/porthole-run/porthole/sandbox"
)

// exitUnknown is the code of a container whose guest told nonsense about its end.
const exitUnknown = 255

// container is one container in the VM, with what teardown has to take back.
type container struct {
	id, podID           string // immutable
	stdinOnce, terminal bool   // immutable

	lock    lock // orders the calls that change it; guards what is up to the blank line
	inGuest bool // the guest was asked to make it
	made    bool // and has made it
	layers  []sandbox.Layer
	held    held // by its mounts
	mounts  []sandbox.SavedMount
	log     Log
	streams *guest.Streams
	stop    context.CancelFunc // ends the goroutine that waits for the exit

	stdin          *input        // immutable once the container is made; nil: none
	stdout, stderr *output       // as stdin
	exited         chan struct{} // closed when exit is set
	gone           chan struct{} // closed when the container is removed
	wg             sync.WaitGroup

	mu        sync.Mutex // guards the rest
	started   bool
	startedAt time.Time
	exit      *sandbox.Exit
}

// CreateContainer implements sandbox.Shim's.
func (s *Server) CreateContainer(ctx context.Context, r sandbox.ContainerSetup) (none sandbox.ContainerCreated, err error) {
	if err := checkID("container", r.ContainerID); err != nil {
		return none, err
	}
	if len(r.Layers) == 0 {
		return none, fmt.Errorf("no layers: %w", errdefs.ErrInvalidArgument)
	}
	p, err := s.pod(r.PodID)
	if err != nil {
		return none, err
	}
	c := &container{
		id: r.ContainerID, podID: r.PodID, stdinOnce: r.StdinOnce, terminal: r.Terminal,
		lock: newLock(), exited: make(chan struct{}), gone: make(chan struct{}),
	}
	if err := c.lock.acquire(ctx); err != nil {
		return none, err
	}
	defer c.lock.release()
	if err := s.register(ctx, p, c); err != nil {
		return none, err
	}
	created, err := s.makeContainer(ctx, c, r)
	if err == nil {
		return created, nil
	}
	uctx, cancel := undoContext(ctx)
	defer cancel()
	// What is not undone stays known, so that RemoveContainer can finish what is left.
	err = undo.Failed(err, s.teardownContainer(uctx, c))
	return none, err
}

// register makes the container known while its pod is not being removed.
func (s *Server) register(ctx context.Context, p *pod, c *container) error {
	if err := p.lock.acquire(ctx); err != nil {
		return err
	}
	defer p.lock.release()
	if !p.ready {
		return fmt.Errorf("pod %s is not set up: %w", p.id, errdefs.ErrFailedPrecondition)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.containers[c.id] != nil {
		return fmt.Errorf("container %s: %w", c.id, errdefs.ErrAlreadyExists)
	}
	if err := s.checkNew(containerName(c.id)); err != nil {
		return err
	}
	s.containers[c.id] = c
	return nil
}

func (s *Server) makeContainer(ctx context.Context, c *container, r sandbox.ContainerSetup) (none sandbox.ContainerCreated, err error) {
	step := phase.Steps(ctx)
	defer step("")
	step("attach layers")
	layers, err := s.layers.acquire(ctx, r.Layers)
	if err != nil {
		return none, err
	}
	c.layers = r.Layers
	step("attach volumes")
	mounts, err := s.acquireMounts(ctx, c, r.Mounts)
	if err != nil {
		return none, err
	}
	step("open streams")
	c.streams, err = s.guest.OpenStreams(ctx, guest.StreamsConfig{
		Stdin: r.Stdin, Stdout: true, Stderr: true, Terminal: r.Terminal,
	})
	if err != nil {
		return none, err
	}
	if r.LogPath != "" && s.openLog != nil {
		// Not straight into c.log: with an error, the value may be a nil pointer of some type.
		log, err := s.openLog(r.LogDir, r.LogPath, r.Terminal)
		if err != nil {
			return none, err
		}
		c.log = log
	}
	step("")
	c.inGuest = true
	gctx, end := phase.Begin(ctx, "container in guest")
	made, err := s.guest.CreateContainer(gctx, guest.Container{
		PodID:    r.PodID,
		ID:       r.ContainerID,
		Layers:   layers,
		Spec:     r.Spec,
		User:     guest.User(r.User),
		Found:    (*guest.FoundUser)(r.Found),
		Stdio:    c.streams.IDs,
		SharePID: r.SharePID,
		TargetID: r.TargetID,
		Mounts:   mounts,
	})
	end(err)
	if err != nil {
		return none, err
	}
	c.made = true
	s.layers.setMounted(c.layers)
	s.layers.setMounted(c.held.layers)
	s.volumes.setMounted(c.held.volumes, true)
	s.startIO(ctx, c)
	return sandbox.ContainerCreated{PID: made.PID, User: sandbox.ResolvedUser(made.User)}, nil
}

// startIO starts the goroutines of a container: one a stream, and one that waits for the exit.
func (s *Server) startIO(ctx context.Context, c *container) {
	c.mu.Lock() // attach may look already
	defer c.mu.Unlock()
	if in := c.streams.Stdin; in != nil {
		c.stdin = newInput(in)
		c.wg.Go(c.stdin.run)
	}
	if out := c.streams.Stdout; out != nil {
		c.stdout = newOutput(nil)
		if c.log != nil {
			c.stdout = newOutput(c.log.Stdout())
		}
		c.wg.Go(func() { c.stdout.run(out) })
	}
	if out := c.streams.Stderr; out != nil {
		c.stderr = newOutput(nil)
		if c.log != nil {
			c.stderr = newOutput(c.log.Stderr())
		}
		c.wg.Go(func() { c.stderr.run(out) })
	}
	wctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	c.stop = cancel
	c.wg.Go(func() { s.awaitExit(wctx, c) })
}

// awaitExit records the exit once the output that came before it is in the log.
func (s *Server) awaitExit(ctx context.Context, c *container) {
	got, err := s.guest.Wait(ctx, c.id, "")
	exit := sandbox.Exit{Code: got.Code, OOMKilled: got.OOMKilled}
	switch {
	case ctx.Err() != nil, errdefs.IsUnavailable(err):
		return // removed, or the VM is lost: there is no exit to tell
	case err != nil:
		s.log.WarnContext(ctx, "exit of container is not known", logkey.ContainerID, c.id, logkey.Error, err)
		exit.Code, exit.At = exitUnknown, time.Now()
	default:
		exit.At = s.hostTime(got.At)
	}
	for _, o := range c.outputs() {
		o.drain(ctx, drainLimit)
		if err := o.logError(); err != nil {
			s.log.WarnContext(ctx, "log of container is not complete", logkey.ContainerID, c.id, logkey.Error, err)
		}
	}
	if c.log != nil {
		if err := c.log.Flush(); err != nil {
			s.log.WarnContext(ctx, "log of container is not complete", logkey.ContainerID, c.id, logkey.Error, err)
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if exit.At.Before(c.startedAt) {
		exit.At = c.startedAt // the guest's clock was set back meanwhile
	}
	c.exit = &exit
	close(c.exited)
}

// StartContainer implements sandbox.Shim's.
func (s *Server) StartContainer(ctx context.Context, id string) (time.Time, error) {
	c, unlock, err := s.lockContainer(ctx, id)
	if err != nil {
		return time.Time{}, err
	}
	defer unlock()
	gctx, end := phase.Begin(ctx, "start in guest")
	at, err := s.guest.StartContainer(gctx, id)
	end(err)
	if err != nil {
		return time.Time{}, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.started, c.startedAt = true, s.hostTime(at)
	return c.startedAt, nil
}

// Wait implements sandbox.Shim's.
func (s *Server) Wait(ctx context.Context, id string) (sandbox.Exit, error) {
	c, err := s.container(id)
	if err != nil {
		return sandbox.Exit{}, err
	}
	select {
	case <-c.exited:
		c.mu.Lock()
		defer c.mu.Unlock()
		return *c.exit, nil
	case <-c.gone:
		return sandbox.Exit{}, fmt.Errorf("container %s was removed: %w", id, errdefs.ErrNotFound)
	case <-s.ending:
		return sandbox.Exit{}, fmt.Errorf("wait for container %s: VM has ended: %w", id, errdefs.ErrUnavailable)
	case <-ctx.Done():
		return sandbox.Exit{}, ctx.Err()
	}
}

// Signal implements sandbox.Shim's.
func (s *Server) Signal(ctx context.Context, id string, signal int, all bool) error {
	if signal <= 0 || signal > 64 {
		return fmt.Errorf("signal %d: %w", signal, errdefs.ErrInvalidArgument)
	}
	c, err := s.container(id)
	if err != nil {
		return err
	}
	c.mu.Lock()
	exit := c.exit
	c.mu.Unlock()
	if exit != nil {
		return fmt.Errorf("signal container %s: it has exited: %w", id, errdefs.ErrFailedPrecondition)
	}
	return s.guest.Signal(ctx, id, "", signal, all)
}

// UpdateContainer implements sandbox.Shim's.
func (s *Server) UpdateContainer(ctx context.Context, id string, resources []byte) error {
	if _, err := s.container(id); err != nil {
		return err
	}
	return s.guest.UpdateContainer(ctx, id, resources)
}

// ReopenLog implements sandbox.Shim's.
func (s *Server) ReopenLog(ctx context.Context, id string) error {
	c, unlock, err := s.lockContainer(ctx, id)
	if err != nil {
		return err
	}
	defer unlock()
	if c.log == nil {
		return nil
	}
	if err := c.log.Reopen(); err != nil {
		return fmt.Errorf("reopen log of container %s: %w", id, err)
	}
	return nil
}

// RemoveContainer implements sandbox.Shim's.
func (s *Server) RemoveContainer(ctx context.Context, id string) error {
	s.noteGone(containerName(id), func() bool { return s.containers[id] == nil })
	c, unlock, err := s.lockContainer(ctx, id)
	if errdefs.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return err
	}
	defer unlock()
	return s.teardownContainer(ctx, c)
}

// teardownContainer takes back what the container holds, and forgets what it has taken
// back, so that it can be called again after an error. The container's lock is held.
func (s *Server) teardownContainer(ctx context.Context, c *container) error {
	if err := s.emptyContainer(ctx, c); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.containers[c.id] == c {
		delete(s.containers, c.id)
		close(c.gone)
	}
	return nil
}

// emptyContainer is teardownContainer for one that stays known, with its exit.
func (s *Server) emptyContainer(ctx context.Context, c *container) error {
	if c.inGuest {
		unused, err := s.guest.RemoveContainer(ctx, c.id)
		if err != nil {
			return err
		}
		s.layers.setUnmounted(unused.Layers)
		s.volumes.setMounted(unused.Volumes, false)
		c.inGuest = false
	}
	for _, o := range c.outputs() {
		o.drain(ctx, drainLimit) // what the process wrote as it was killed
	}
	c.stopIO()
	if c.log != nil {
		if err := c.log.Close(); err != nil {
			s.log.WarnContext(ctx, "log of container was not closed well", logkey.ContainerID, c.id, logkey.Error, err)
		}
		c.log = nil
	}
	if err := s.layers.release(ctx, c.layers); err != nil {
		// The disk stays attached, serves the next container that wants it, and ends with the VM.
		s.log.WarnContext(ctx, "layer was not detached", logkey.ContainerID, c.id, logkey.Error, err)
	}
	if err := s.releaseMounts(ctx, &c.held); err != nil {
		s.log.WarnContext(ctx, "mounts were not all taken back", logkey.ContainerID, c.id, logkey.Error, err)
	}
	c.layers = nil
	return nil
}

// stopIO ends the container's goroutines and waits for them.
func (c *container) stopIO() {
	if c.stop != nil {
		c.stop()
	}
	if c.stdin != nil {
		c.stdin.closeWrite()
	}
	if c.streams != nil {
		c.streams.Close()
	}
	c.wg.Wait()
}

// container finds a container.
func (s *Server) container(id string) (*container, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c := s.containers[id]; c != nil {
		return c, nil
	}
	return nil, fmt.Errorf("container %s: %w", id, errdefs.ErrNotFound)
}

// lockContainer finds a container that is still known once its lock is held.
func (s *Server) lockContainer(ctx context.Context, id string) (*container, func(), error) {
	c, err := s.container(id)
	if err != nil {
		return nil, nil, err
	}
	if err := c.lock.acquire(ctx); err != nil {
		return nil, nil, err
	}
	if now, err := s.container(id); err != nil || now != c {
		c.lock.release()
		return nil, nil, fmt.Errorf("container %s: %w", id, errdefs.ErrNotFound)
	}
	return c, c.lock.release, nil
}
