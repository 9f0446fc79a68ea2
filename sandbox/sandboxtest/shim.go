package sandboxtest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/containerd/errdefs"

	"github.com/porthole-run/porthole/internal/usage"
	"github.com/porthole-run/porthole/sandbox"
)

// shimProcess is one simulated shim and its VM. The node's mu guards it.
type shimProcess struct {
	config     sandbox.ShimConfig
	pods       map[string]sandbox.PodSetup
	containers map[string]*container
	asked      int  // calls of Stats
	hung       bool // the guest does not answer
	done       chan struct{}
	err        error
}

func newShimProcess(c sandbox.ShimConfig) *shimProcess {
	return &shimProcess{
		config:     c,
		pods:       make(map[string]sandbox.PodSetup),
		containers: make(map[string]*container),
		done:       make(chan struct{}),
	}
}

// end ends the process; the node forgets it.
func (s *shimProcess) end(err error) {
	s.err = err
	close(s.done)
}

// container is one simulated container. The node's mu guards it.
type container struct {
	setup     sandbox.ContainerSetup
	limits    string // what they were changed to last
	started   bool
	startedAt time.Time
	exit      *sandbox.Exit
	exited    chan struct{}
	signals   []int
	reopened  int
}

func newContainer(s sandbox.ContainerSetup) *container {
	return &container{setup: s, exited: make(chan struct{})}
}

func (c *container) status() string {
	switch {
	case c.exit != nil:
		return fmt.Sprintf("exited %d", c.exit.Code)
	case c.started:
		return "running" + c.limits
	}
	return "created" + c.limits
}

// runs tells whether there is a process that uses something.
func (c *container) runs() bool { return c.started && c.exit == nil }

func (c *container) finish(x sandbox.Exit) {
	if c.exit == nil {
		c.exit = &x
		close(c.exited)
	}
}

func (c *container) stubborn() bool {
	return len(c.setup.Layers) > 0 && strings.Contains(c.setup.Layers[0].Path, StubbornImage)
}

// Shim is a connection to a simulated shim.
type Shim struct {
	n    *Node
	p    *shimProcess
	once sync.Once
	done chan struct{}
	gone chan struct{} // closed when the connection was closed by us
	wg   sync.WaitGroup
}

func newShim(n *Node, p *shimProcess) *Shim {
	s := &Shim{n: n, p: p, done: make(chan struct{}), gone: make(chan struct{})}
	s.wg.Go(func() {
		select {
		case <-p.done:
		case <-s.gone:
		}
		close(s.done)
	})
	return s
}

// enter is call for a live connection; on success the caller unlocks the node.
func (s *Shim) enter(ctx context.Context, name string) error {
	if err := s.n.call(ctx, name); err != nil {
		return err
	}
	select {
	case <-s.p.done:
	case <-s.gone:
	default:
		return nil
	}
	s.n.mu.Unlock()
	return fmt.Errorf("%s: shim is gone: %w", name, errdefs.ErrUnavailable)
}

// reach is enter for what the guest is to answer, which one that hangs does not.
func (s *Shim) reach(ctx context.Context, name string) error {
	if err := s.enter(ctx, name); err != nil || !s.p.hung {
		return err
	}
	s.n.mu.Unlock()
	<-ctx.Done()
	return ctx.Err()
}

func (s *Shim) find(id string) (*container, error) {
	c, ok := s.p.containers[id]
	if !ok {
		return nil, fmt.Errorf("container %s: %w", id, errdefs.ErrNotFound)
	}
	return c, nil
}

// SetupPod implements sandbox.Shim.
func (s *Shim) SetupPod(ctx context.Context, p sandbox.PodSetup) error {
	if err := s.reach(ctx, "SetupPod"); err != nil {
		return err
	}
	defer s.n.mu.Unlock()
	s.p.pods[p.PodID] = p
	return nil
}

// CreateContainer implements sandbox.Shim.
func (s *Shim) CreateContainer(ctx context.Context, c sandbox.ContainerSetup) (sandbox.ContainerCreated, error) {
	if err := s.enter(ctx, "CreateContainer"); err != nil {
		return sandbox.ContainerCreated{}, err
	}
	defer s.n.mu.Unlock()
	s.p.containers[c.ContainerID] = newContainer(c)
	return sandbox.ContainerCreated{PID: 100 + len(s.p.containers)}, nil
}

// StartContainer implements sandbox.Shim.
func (s *Shim) StartContainer(ctx context.Context, containerID string) (time.Time, error) {
	if err := s.enter(ctx, "StartContainer"); err != nil {
		return time.Time{}, err
	}
	defer s.n.mu.Unlock()
	c, err := s.find(containerID)
	if err != nil {
		return time.Time{}, err
	}
	c.started, c.startedAt = true, time.Now()
	return c.startedAt, nil
}

// Wait implements sandbox.Shim.
func (s *Shim) Wait(ctx context.Context, containerID string) (sandbox.Exit, error) {
	s.n.mu.Lock()
	c, err := s.find(containerID)
	s.n.mu.Unlock()
	if err != nil {
		return sandbox.Exit{}, err
	}
	select {
	case <-c.exited:
		s.n.mu.Lock()
		defer s.n.mu.Unlock()
		return *c.exit, nil
	case <-ctx.Done():
		return sandbox.Exit{}, ctx.Err()
	case <-s.done:
		return sandbox.Exit{}, fmt.Errorf("wait: shim is gone: %w", errdefs.ErrUnavailable)
	}
}

// Signal implements sandbox.Shim.
func (s *Shim) Signal(ctx context.Context, containerID string, signal int, all bool) error {
	if err := s.enter(ctx, "Signal"); err != nil {
		return err
	}
	defer s.n.mu.Unlock()
	c, err := s.find(containerID)
	if err != nil {
		return err
	}
	if !c.started || c.exit != nil {
		return fmt.Errorf("container %s does not run: %w", containerID, errdefs.ErrFailedPrecondition)
	}
	c.signals = append(c.signals, signal)
	if signal == 9 || !c.stubborn() {
		c.finish(exitNow(128 + signal))
	}
	return nil
}

// RemoveContainer implements sandbox.Shim.
func (s *Shim) RemoveContainer(ctx context.Context, containerID string) error {
	if err := s.enter(ctx, "RemoveContainer"); err != nil {
		return err
	}
	defer s.n.mu.Unlock()
	if c, ok := s.p.containers[containerID]; ok {
		c.finish(exitNow(137))
		delete(s.p.containers, containerID)
	}
	return nil
}

// ReopenLog implements sandbox.Shim.
func (s *Shim) ReopenLog(ctx context.Context, containerID string) error {
	if err := s.enter(ctx, "ReopenLog"); err != nil {
		return err
	}
	defer s.n.mu.Unlock()
	c, err := s.find(containerID)
	if err == nil {
		c.reopened++
	}
	return err
}

// Exec implements sandbox.Shim. The process "echo" writes its arguments, "cat" copies
// its input, "exit3" ends with 3; "hang" runs until ctx ends, and "yes" prints until then.
func (s *Shim) Exec(ctx context.Context, containerID string, e sandbox.ExecSpec, st sandbox.Streams) (int, error) {
	if err := s.enter(ctx, "Exec"); err != nil {
		return 0, err
	}
	_, err := s.find(containerID)
	s.n.mu.Unlock()
	if err != nil {
		return 0, err
	}
	switch e.Args[0] {
	case "echo":
		if st.Stdout != nil {
			_, err = fmt.Fprintln(st.Stdout, strings.Join(e.Args[1:], " "))
		}
		return 0, err
	case "cat":
		if st.Stdin != nil && st.Stdout != nil {
			_, err = io.Copy(st.Stdout, st.Stdin)
		}
		return 0, err
	case "exit3":
		return 3, nil
	case "hang":
		<-ctx.Done()
		return 0, ctx.Err()
	case "yes":
		return 0, yes(ctx, st.Stdout)
	}
	return 127, nil
}

// Attach implements sandbox.Shim: it echoes until the input or the process ends.
func (s *Shim) Attach(ctx context.Context, containerID string, st sandbox.Streams) error {
	if err := s.enter(ctx, "Attach"); err != nil {
		return err
	}
	_, err := s.find(containerID)
	s.n.mu.Unlock()
	if err == nil && st.Stdin != nil && st.Stdout != nil {
		_, err = io.Copy(st.Stdout, st.Stdin)
	}
	return err
}

// PortForward implements sandbox.Shim: every port echoes.
func (s *Shim) PortForward(ctx context.Context, podID string, port uint16, conn io.ReadWriteCloser) error {
	if err := s.enter(ctx, "PortForward"); err != nil {
		return err
	}
	_, ok := s.p.pods[podID]
	s.n.mu.Unlock()
	if !ok {
		return fmt.Errorf("pod %s: %w", podID, errdefs.ErrNotFound)
	}
	_, err := io.Copy(conn, conn)
	return errors.Join(err, conn.Close())
}

// UpdateContainer implements sandbox.Shim.
func (s *Shim) UpdateContainer(ctx context.Context, containerID string, resources []byte) error {
	if err := s.enter(ctx, "UpdateContainer"); err != nil {
		return err
	}
	defer s.n.mu.Unlock()
	c, err := s.find(containerID)
	if err != nil {
		return err
	}
	if c.exit != nil {
		return fmt.Errorf("container %s does not run: %w", containerID, errdefs.ErrFailedPrecondition)
	}
	c.limits = " with " + string(resources)
	return nil
}

// State implements sandbox.Shim.
func (s *Shim) State(ctx context.Context) (sandbox.ShimState, error) {
	if err := s.enter(ctx, "State"); err != nil {
		return sandbox.ShimState{}, err
	}
	defer s.n.mu.Unlock()
	var st sandbox.ShimState
	for id := range s.p.pods {
		st.Pods = append(st.Pods, id)
	}
	for id, c := range s.p.containers {
		cs := sandbox.ContainerState{ID: id, PodID: c.setup.PodID, Started: c.started, StartedAt: c.startedAt}
		if c.exit != nil {
			x := *c.exit
			cs.Exit = &x
		}
		st.Containers = append(st.Containers, cs)
	}
	return st, nil
}

// Stats implements sandbox.Shim: each container that runs has used 100 ms of CPU for each
// time it was asked for, and half a MiB of memory.
func (s *Shim) Stats(ctx context.Context, openFiles bool) (usage.VM, error) {
	if err := s.reach(ctx, "Stats"); err != nil {
		return usage.VM{}, err
	}
	defer s.n.mu.Unlock()
	s.p.asked++
	used := time.Duration(s.p.asked) * 100 * time.Millisecond
	vm := usage.VM{Pods: map[string]usage.Pod{}, Containers: map[string]usage.Container{}}
	running := map[string]int{}
	for id, c := range s.p.containers {
		u := usage.Container{Writable: &usage.Writable{At: time.Now(), Bytes: 4096, Inodes: 1}}
		if c.runs() {
			running[c.setup.PodID]++
			u.Group = group(1, used)
			if openFiles {
				u.Open = &usage.OpenFiles{Files: 3, Sockets: 1}
			}
		}
		vm.Containers[id] = u
	}
	for id := range s.p.pods {
		vm.Pods[id] = usage.Pod{Group: group(running[id], used), Interfaces: []usage.Interface{{Name: "eth0", RxBytes: 10}}}
	}
	return vm, nil
}

// Shutdown implements sandbox.Shim.
func (s *Shim) Shutdown(ctx context.Context) error {
	if err := s.n.call(ctx, "Shutdown"); err != nil {
		return err
	}
	defer s.n.mu.Unlock()
	if s.n.shims[s.p.config.ID] == s.p {
		s.p.end(nil)
		delete(s.n.shims, s.p.config.ID)
	}
	return nil
}

// Close implements sandbox.Shim.
func (s *Shim) Close() error {
	s.once.Do(func() { close(s.gone) })
	s.wg.Wait()
	return nil
}

// Done implements sandbox.Shim.
func (s *Shim) Done() <-chan struct{} { return s.done }

// Err implements sandbox.Shim.
func (s *Shim) Err() error {
	s.n.mu.Lock()
	defer s.n.mu.Unlock()
	return s.p.err
}

// Info implements sandbox.Shim.
func (s *Shim) Info() sandbox.ShimInfo {
	return sandbox.ShimInfo{PID: 1, VMPID: 2, Protocol: 1, Accelerator: "fake"}
}
