package sandbox

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/containerd/errdefs"

	"github.com/porthole-run/porthole/internal/logkey"
	"github.com/porthole-run/porthole/internal/phase"
	"github.com/porthole-run/porthole/internal/undo"
)

// CreateContainer makes a container in a ready pod and returns its id. While the pod
// has a container of the same name and attempt the error is AlreadyExists and names
// its id. After any other error nothing is left, or, where something could not be
// undone, an exited container, which RemoveContainer can finish.
func (m *Manager) CreateContainer(ctx context.Context, podID string, cc ContainerConfig) (_ string, err error) {
	p, err := m.findPod(podID)
	if err != nil {
		return "", err
	}
	logPath, err := p.checkContainer(cc)
	if err != nil {
		return "", err
	}
	if s := m.sharingOf(p); s != nil {
		if err := s.refuseContainer(p.config, cc); err != nil {
			return "", err
		}
	}
	ctx, leave, err := p.gate.share(ctx)
	if err != nil {
		return "", err
	}
	defer leave()
	shim, err := p.ready()
	if err != nil {
		return "", err
	}
	c := &container{
		id: newID(), pod: p, config: cc, createdAt: m.cfg.Clock(), logPath: logPath,
		gate: newGate(), state: containerCreating, exited: make(chan struct{}), resources: cc.Resources,
	}
	ctx = logkey.With(ctx, logkey.PodID, p.id, logkey.ContainerID, c.id)
	ctx, ended := m.cfg.Journal.Begin(ctx, phase.Call{Name: "CreateContainer", Container: cc.Name, Image: cc.UserImage})
	defer func() { ended(p.traced(), err) }()
	if err := m.addContainer(c); err != nil {
		return "", err
	}
	var u undo.Stack
	err = m.makeContainer(ctx, c, shim, &u)
	if err == nil {
		return c.id, nil
	}
	err = fmt.Errorf("create container %s: %w", cc.Name, causeOf(ctx, err))
	uerr := u.Run(ctx, m.cfg.Timeouts.Undo)
	if uerr == nil {
		uerr = c.forget()
	}
	if uerr != nil {
		// What is left must have an owner: keep the record, for RemoveContainer to finish.
		m.endContainer(c, end{code: exitStartError, reason: reasonStartError,
			message: "a failed creation could not be undone: " + uerr.Error()})
		return "", undo.Failed(err, uerr)
	}
	m.endOfContainer(c)
	return "", err
}

// causeOf is err, or why ctx was ended when that is what err comes from.
func causeOf(ctx context.Context, err error) error {
	cause := context.Cause(ctx)
	if cause == nil || cause == ctx.Err() || errors.Is(err, cause) {
		return err
	}
	return fmt.Errorf("%w (%w)", cause, err)
}

// checkContainer refuses what cannot be, and says where the log goes.
func (p *pod) checkContainer(cc ContainerConfig) (logPath string, err error) {
	if cc.Name == "" {
		return "", fmt.Errorf("metadata.name: is empty: %w", errdefs.ErrInvalidArgument)
	}
	if err := errors.Join(p.checkNamespaces(cc.Namespaces), p.checkMappings(cc.Mounts), cc.Resources.Validate("resources")); err != nil {
		return "", err
	}
	if err := cc.Resources.fits("resources", p.vcpus); err != nil {
		return "", err
	}
	if cc.StopSignal != "" {
		if _, err := parseSignal(cc.StopSignal); err != nil {
			return "", fmt.Errorf("stopSignal: %w", err)
		}
	}
	if cc.LogPath == "" || p.config.LogDirectory == "" {
		return "", nil
	}
	if !filepath.IsLocal(cc.LogPath) {
		return "", fmt.Errorf("logPath: %q leads out of the pod's log directory: %w", cc.LogPath, errdefs.ErrInvalidArgument)
	}
	return filepath.Join(p.config.LogDirectory, cc.LogPath), nil
}

// makeContainer does the steps of CreateContainer, and puts what takes them back on u.
func (m *Manager) makeContainer(ctx context.Context, c *container, shim Shim, u *undo.Stack) error {
	if err := c.save(); err != nil {
		return err
	}
	stepCtx, cancel := context.WithTimeout(ctx, m.cfg.Timeouts.Step)
	defer cancel()
	target, err := m.target(c.pod, c.config.Namespaces)
	if err != nil {
		return err
	}
	step := phase.Steps(stepCtx)
	defer step("")
	step("image")
	root, err := m.cfg.Images.Prepare(stepCtx, c.config.Image, c.id)
	if err != nil {
		return err
	}
	u.Push("release image", func(ctx context.Context) error { return m.cfg.Images.Release(ctx, c.id) })
	step("spec")
	config := c.config
	if s := m.sharingOf(c.pod); s != nil {
		config = s.confine(config)
	}
	spec, user, err := m.cfg.Specs.Spec(stepCtx, c.pod.config, config, root.Config)
	if err != nil {
		return err
	}
	specJSON, err := json.Marshal(spec)
	if err != nil {
		return fmt.Errorf("encode OCI spec: %w", err)
	}
	step("look up user")
	found := m.findUser(stepCtx, root, user)
	step("volumes")
	mounts, err := m.makeMounts(stepCtx, c, u)
	if err != nil {
		return err
	}
	// Before the call: one that is given up here may still be at work in the shim.
	u.Push("remove container from its VM", func(ctx context.Context) error {
		return removeFromVM(ctx, shim, c.id)
	})
	step("")
	shimCtx, measured := phase.Begin(stepCtx, "create in vm")
	created, err := shim.CreateContainer(shimCtx, ContainerSetup{
		PodID:       c.pod.id,
		ContainerID: c.id,
		Layers:      root.Layers,
		Spec:        specJSON,
		User:        user,
		Found:       found,
		SharePID:    c.config.Namespaces.PID == NamespacePod || c.config.Namespaces.PID == NamespaceNode,
		TargetID:    target,
		Stdin:       c.config.Stdin,
		StdinOnce:   c.config.StdinOnce,
		Terminal:    c.config.TTY,
		LogPath:     c.logPath,
		LogDir:      c.pod.config.LogDirectory,
		Mounts:      mounts,
	})
	measured(err)
	if err != nil {
		return err
	}
	c.mu.Lock()
	c.imageID, c.user, c.pid = root.ImageID, created.User, created.PID
	c.stopSignal = m.stopSignalOf(c, root.Config)
	c.mu.Unlock()
	return m.showContainer(c)
}

// findUser looks a user up where that can be done here; nil: the guest has to.
func (m *Manager) findUser(ctx context.Context, root RootFS, u User) *FoundUser {
	users, ok := m.cfg.Images.(ImageUsers)
	if !ok {
		return nil
	}
	found, ok := users.FindUser(ctx, root, u)
	if !ok {
		return nil
	}
	return &found
}

// removeFromVM removes a container from a VM, unless that has ended and the container
// with it.
func removeFromVM(ctx context.Context, shim Shim, id string) error {
	if isClosed(shim.Done()) {
		return nil
	}
	if err := shim.RemoveContainer(ctx, id); err != nil && !isGone(ctx, shim, err) {
		return err
	}
	return nil
}

// showContainer lets others see a container that is made.
func (m *Manager) showContainer(c *container) error {
	c.pod.order.Lock() // also over the writing: nobody is told of one whose record failed
	defer c.pod.order.Unlock()
	if _, err := c.move(containerMade, nil); err != nil {
		return err
	}
	if err := c.save(); err != nil {
		// Back, so that nobody sees a container that is being undone.
		c.mu.Lock()
		c.state = containerCreating
		c.mu.Unlock()
		return err
	}
	m.tellContainer(c, EventCreated)
	return nil
}

// stopSignalOf is the signal that asks the container to end: the caller's, else the
// image's, else SIGTERM. An image with a signal that no Linux knows still runs.
func (m *Manager) stopSignalOf(c *container, img ImageConfig) string {
	if c.config.StopSignal != "" {
		return c.config.StopSignal
	}
	if img.StopSignal != "" {
		_, err := parseSignal(img.StopSignal)
		if err == nil {
			return img.StopSignal
		}
		m.log.Warn("image's stop signal is not known, using SIGTERM",
			logkey.ContainerID, c.id, logkey.Image, c.config.Image, logkey.Error, err)
	}
	return "SIGTERM"
}

// enterContainer finds a container and enters its gates, its own alone.
func (m *Manager) enterContainer(ctx context.Context, id string) (_ context.Context, c *container, leave func(), err error) {
	if c, err = m.findContainer(id); err != nil {
		return nil, nil, nil, err
	}
	ctx, leavePod, err := c.pod.gate.share(ctx) // the pod's gate is always entered first
	if err != nil {
		return nil, nil, nil, err
	}
	leaveOwn, err := c.gate.alone(ctx)
	if err != nil {
		leavePod()
		return nil, nil, nil, causeOf(ctx, err)
	}
	return ctx, c, func() { leaveOwn(); leavePod() }, nil
}

// StartContainer lets a created container run. A start that fails leaves it exited,
// with the reason StartError.
func (m *Manager) StartContainer(ctx context.Context, id string) (err error) {
	ctx, c, leave, err := m.enterContainer(ctx, id)
	if err != nil {
		return err
	}
	defer leave()
	ctx, ended := m.cfg.Journal.Begin(ctx, phase.Call{Name: "StartContainer", Container: c.config.Name, Image: c.config.UserImage})
	defer func() { ended(c.pod.traced(), err) }()
	shim, err := c.pod.ready()
	if err != nil {
		return fmt.Errorf("start container %s: %w", c.id, err)
	}
	if _, err := c.move(containerStart, nil); err != nil {
		return err
	}
	stepCtx, cancel := context.WithTimeout(ctx, m.cfg.Timeouts.Step)
	defer cancel()
	shimCtx, measured := phase.Begin(stepCtx, "start in vm")
	at, err := shim.StartContainer(shimCtx, c.id)
	measured(err)
	if err != nil {
		err = fmt.Errorf("start container %s: %w", c.id, causeOf(ctx, err))
		var u undo.Stack
		u.Push("remove container from its VM", func(ctx context.Context) error {
			return removeFromVM(ctx, shim, c.id) // it may have started for all we know
		})
		uerr := u.Run(ctx, m.cfg.Timeouts.Undo)
		m.endContainer(c, end{code: exitStartError, reason: reasonStartError, message: err.Error()})
		return undo.Failed(err, uerr)
	}
	now := m.cfg.Clock()
	c.pod.order.Lock()
	_, err = c.move(containerStarted, func() { c.startedAt = between(at, c.createdAt, now) })
	if err == nil {
		m.tellContainer(c, EventStarted)
	}
	c.pod.order.Unlock()
	if err != nil {
		return err // its VM ended meanwhile
	}
	m.watchContainer(ctx, c, shim)
	m.saveContainer(c)
	return nil
}

// waitRetry is how long after an error a shim is asked again for an exit.
const waitRetry = time.Second

// watchContainer waits in the background for a running container's exit.
func (m *Manager) watchContainer(ctx context.Context, c *container, shim Shim) {
	m.tasks.start(ctx, func(ctx context.Context) {
		for {
			x, err := shim.Wait(ctx, c.id)
			if err == nil {
				m.endContainer(c, endOf(x))
				return
			}
			if ctx.Err() != nil || isClosed(shim.Done()) {
				return // a shim's end is for watchPod
			}
			if errdefs.IsNotFound(err) {
				m.endContainer(c, end{code: exitUnknown, reason: reasonUnknown, message: "its VM does not know it: " + err.Error()})
				return
			}
			m.log.Warn("wait for container", logkey.ContainerID, c.id, logkey.Error, err)
			if waitClosed(ctx, shim.Done(), waitRetry) || ctx.Err() != nil {
				return
			}
		}
	})
}
