package sandbox

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/containerd/errdefs"

	"github.com/porthole-run/porthole/internal/logkey"
)

// CheckpointPod saves a ready pod into dir, an existing and empty folder: its VM with the
// memory, its scratch disk, and what RestorePod needs to know. The containers are all that
// run in the pod, as a VM is saved whole. They stand still meanwhile, and go on when it
// returns, whatever it returns. On error dir is empty again.
func (m *Manager) CheckpointPod(ctx context.Context, podID, dir string, containerIDs []string) error {
	p, err := m.findPod(podID)
	if err != nil {
		return err
	}
	ctx = logkey.With(ctx, logkey.PodID, p.id)
	if err := m.checkpointPod(ctx, p, dir, containerIDs); err != nil {
		return fmt.Errorf("checkpoint pod sandbox %s: %w", p.id, causeOf(ctx, err))
	}
	return nil
}

func (m *Manager) checkpointPod(ctx context.Context, p *pod, dir string, ids []string) (err error) {
	leave, err := p.gate.alone(ctx) // nothing of it begins, starts or goes meanwhile
	if err != nil {
		return err
	}
	defer leave()
	shim, err := p.ready()
	if err != nil {
		return err
	}
	if p.seat != nil {
		return fmt.Errorf("it shares its VM with other pods, and VMs are saved whole: %w", errdefs.ErrFailedPrecondition)
	}
	saver, ok := shim.(Checkpointer)
	if !ok {
		return fmt.Errorf("its VM cannot be saved: %w", errdefs.ErrNotImplemented)
	}
	if n := p.config.Namespaces.toVM(); n != (PodNamespaces{}) {
		return fmt.Errorf("a pod with a user namespace, or with namespaces of its VM, cannot be saved: %w", errdefs.ErrNotImplemented)
	}
	containers, err := m.selected(p, ids)
	if err != nil {
		return err
	}
	if err := checkEmptyFolder(dir); err != nil {
		return err
	}
	c := checkpoint{
		Build: shim.Info().Version, Created: m.cfg.Clock(), Handler: p.config.RuntimeHandler,
		Sysctls: p.config.Sysctls, Namespaces: p.config.Namespaces,
	}
	for _, ct := range containers {
		facts, err := m.checkpointContainer(ctx, ct)
		if err != nil {
			return fmt.Errorf("container %s: %w", ct.id, err)
		}
		c.Containers = append(c.Containers, facts)
	}
	defer func() {
		if err != nil { // whatever became of the shim, which removes what is its own
			err = errors.Join(err, clearFolder(dir))
		}
	}()
	c.Saved, err = saver.Checkpoint(ctx, CheckpointSetup{PodID: p.id, ContainerIDs: ids, Dir: dir})
	if err != nil {
		return err
	}
	if c.Files, err = sumFolder(ctx, dir); err != nil {
		return err
	}
	return c.write(dir)
}

// selected are the containers of the ids, which must be all that run in the pod.
func (m *Manager) selected(p *pod, ids []string) ([]*container, error) {
	if len(ids) == 0 {
		return nil, fmt.Errorf("container_ids: none is named: %w", errdefs.ErrInvalidArgument)
	}
	all := m.containersOf(p)
	sortOldest(all)
	var out []*container
	for i, id := range ids {
		if slices.Contains(ids[:i], id) {
			return nil, fmt.Errorf("container_ids[%d]: %s is named twice: %w", i, id, errdefs.ErrInvalidArgument)
		}
		n := slices.IndexFunc(all, func(c *container) bool { return c.id == id && c.visible() })
		if n < 0 {
			return nil, fmt.Errorf("container_ids[%d]: %s is not a container of the pod: %w", i, id, errdefs.ErrNotFound)
		}
		if s := all[n].current(); s != containerRunning {
			return nil, fmt.Errorf("container_ids[%d]: container %s is not running: it is %s: %w", i, id, s, errdefs.ErrFailedPrecondition)
		}
	}
	for _, c := range all {
		s := c.current()
		switch {
		case slices.Contains(ids, c.id):
			out = append(out, c)
		case s != containerExited && s != containerRemoving:
			return nil, fmt.Errorf("container_ids: container %s is %s and not named, but a VM is saved whole: %w",
				c.id, s, errdefs.ErrFailedPrecondition)
		}
	}
	return out, nil
}

// checkpointContainer is what a checkpoint keeps of a container besides the VM.
func (m *Manager) checkpointContainer(ctx context.Context, c *container) (checkpointContainer, error) {
	view := c.view()
	stepCtx, cancel := context.WithTimeout(ctx, m.cfg.Timeouts.Step)
	defer cancel()
	root, err := m.cfg.Images.Prepare(stepCtx, view.ImageID, c.id) // it is held already
	if err != nil {
		return checkpointContainer{}, err
	}
	facts, err := m.factsOf(stepCtx, c.pod.config, c.config, root.Config)
	if err != nil {
		return checkpointContainer{}, err
	}
	return checkpointContainer{
		Name: c.config.Name, ID: c.id, ImageID: view.ImageID, Facts: facts,
		Resources: view.Config.Resources, User: view.User, StopSignal: view.StopSignal, PID: view.PID,
	}, nil
}

// checkEmptyFolder refuses to write where something is, or through a link.
func checkEmptyFolder(dir string) error {
	if !filepath.IsAbs(dir) {
		return fmt.Errorf("output_path: %q is not an absolute path: %w", dir, errdefs.ErrInvalidArgument)
	}
	st, err := os.Lstat(dir)
	if errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("output_path: %w: %w", err, errdefs.ErrNotFound)
	}
	if err != nil {
		return fmt.Errorf("output_path: %w: %w", err, errdefs.ErrInvalidArgument)
	}
	if !st.IsDir() {
		return fmt.Errorf("output_path: %s is not a folder: %w", dir, errdefs.ErrInvalidArgument)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("output_path: %w", err)
	}
	if len(entries) > 0 {
		return fmt.Errorf("output_path: %s is not empty: %w", dir, errdefs.ErrFailedPrecondition)
	}
	return nil
}

// clearFolder removes what is in a folder that was empty.
func clearFolder(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("remove what was saved: %w", err)
	}
	var errs []error
	for _, e := range entries {
		errs = append(errs, os.RemoveAll(filepath.Join(dir, e.Name())))
	}
	return errors.Join(errs...)
}
