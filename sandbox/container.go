package sandbox

import (
	"fmt"
	"sync"
	"time"

	"github.com/containerd/errdefs"
)

// Reasons of a container's end, as kubelet and its users know them.
const (
	reasonCompleted  = "Completed"
	reasonError      = "Error"
	reasonOOMKilled  = "OOMKilled"
	reasonStartError = "StartError"
	reasonUnknown    = "Unknown"

	exitStartError = 128
	exitKilled     = 128 + sigKill
	exitUnknown    = 255 // nobody saw the exit
)

// container is one container in the daemon.
type container struct {
	id        string          // immutable
	pod       *pod            // immutable
	config    ContainerConfig // immutable; its Resources are those at first
	createdAt time.Time       // immutable
	logPath   string          // immutable; empty: no log is kept
	rate      cpuRate         // has its own lock

	// gate orders StartContainer and RemoveContainer. StopContainer does not enter it:
	// a second call with a shorter time must not wait for the first.
	gate *gate
	told told // guarded by the pod's order
	// saving keeps writes of the record in the order of the changes. It is taken before mu.
	saving sync.Mutex

	mu          sync.Mutex // guards the fields below; never held over a slow call
	state       containerState
	forgotten   bool // the record is removed and must not come back
	imageID     string
	mountImages []string // ids of the images that config.Mounts have, by mount
	startedAt   time.Time
	finishedAt  time.Time
	exitCode    int
	reason      string
	message     string
	user        ResolvedUser
	resources   Resources // as they are now
	stopSignal  string
	pid         int
	exited      chan struct{} // closed when state has become exited
}

// view is the container as callers see it.
func (c *container) view() (v Container) {
	c.viewTo(&v)
	return v
}

// viewTo is view for many: a Container is long to copy.
func (c *container) viewTo(v *Container) {
	c.mu.Lock()
	defer c.mu.Unlock()
	*v = Container{
		ID:         c.id,
		PodID:      c.pod.id,
		Config:     c.config,
		ImageID:    c.imageID,
		Phase:      c.state.shown(),
		CreatedAt:  c.createdAt,
		StartedAt:  c.startedAt,
		FinishedAt: c.finishedAt,
		ExitCode:   c.exitCode,
		Reason:     c.reason,
		Message:    c.message,
		LogPath:    c.logPath,
		User:       c.user,
		StopSignal: c.stopSignal,
		PID:        c.pid,
	}
	v.Config.Resources = c.resources
}

func (c *container) visible() bool { return c.current() != containerCreating }

func (c *container) current() containerState {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.state
}

// move takes the transition of e and lets change, which may be nil, edit what goes
// with it. It returns the state before.
func (c *container) move(e containerEvent, change func()) (containerState, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	from := c.state
	to, err := step(containerTransitions, from, e)
	if err != nil {
		return from, fmt.Errorf("container %s: %w", c.id, err)
	}
	c.state = to
	if change != nil {
		change()
	}
	c.pod.ofVM().forget()
	if to == containerExited && from != containerExited {
		close(c.exited)
	}
	return from, nil
}

// end is how a container's life ended.
type end struct {
	at      time.Time
	code    int
	reason  string
	message string
}

// endOf is the end that the shim saw.
func endOf(x Exit) end {
	e := end{at: x.At, code: x.Code, reason: reasonCompleted}
	switch {
	case x.OOMKilled:
		e.reason = reasonOOMKilled
	case x.Code != 0:
		e.reason = reasonError
	}
	return e
}

// exit records the end, once: it reports false, and changes nothing, when the
// container has ended before. The guest's clock is not trusted: times stay in order
// and not after now.
func (c *container) exit(e end, now time.Time) bool {
	_, err := c.move(containerExit, func() {
		c.finishedAt = between(e.at, latest(c.createdAt, c.startedAt), now)
		c.exitCode, c.reason, c.message = e.code, e.reason, e.message
		c.pid = 0
	})
	return err == nil
}

// between is t moved into the span from low to high; low wins.
func between(t, low, high time.Time) time.Time {
	if t.IsZero() || t.After(high) {
		t = high
	}
	return latest(t, low)
}

func latest(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// save writes the record as the container is now. After forget it does nothing.
func (c *container) save() error {
	c.saving.Lock()
	defer c.saving.Unlock()
	c.mu.Lock()
	if c.forgotten {
		c.mu.Unlock()
		return nil
	}
	config := c.config
	config.Resources = c.resources
	r := containerRecord{
		ID:          c.id,
		PodID:       c.pod.id,
		State:       c.state.String(),
		Config:      config,
		ImageID:     c.imageID,
		CreatedAt:   c.createdAt,
		StartedAt:   c.startedAt,
		FinishedAt:  c.finishedAt,
		ExitCode:    c.exitCode,
		Reason:      c.reason,
		Message:     c.message,
		User:        c.user,
		StopSignal:  c.stopSignal,
		PID:         c.pid,
		MountImages: c.mountImages,
	}
	c.mu.Unlock()
	return c.pod.store.saveContainer(r)
}

// forget removes the record for good.
func (c *container) forget() error {
	c.saving.Lock()
	defer c.saving.Unlock()
	if err := c.pod.store.removeContainer(c.pod.id, c.id); err != nil {
		return err
	}
	c.mu.Lock()
	c.forgotten = true
	c.mu.Unlock()
	return nil
}

// shimOfRunning is the shim of a container whose process runs.
func (c *container) shimOfRunning() (Shim, error) {
	if s := c.current(); s != containerRunning {
		return nil, fmt.Errorf("container %s is not running: it is %s: %w", c.id, s, errdefs.ErrFailedPrecondition)
	}
	shim := c.pod.running()
	if shim == nil {
		return nil, fmt.Errorf("container %s: its VM cannot be reached: %w", c.id, errdefs.ErrUnavailable)
	}
	return shim, nil
}
