package sandbox

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/porthole-run/porthole/internal/undo"
)

// makeMounts makes ready what the shim needs for the container's mounts, and puts what
// takes it back on u.
func (m *Manager) makeMounts(ctx context.Context, c *container, u *undo.Stack) ([]MountSetup, error) {
	plan, index, err := planMounts(c.pod.config, c.config)
	if err != nil {
		return nil, err
	}
	ids := make([]string, len(index))
	for n, i := range index {
		img := c.config.Mounts[i].Image
		if img == nil {
			continue
		}
		holder := mountHolder(c.id, i)
		root, err := m.cfg.Images.Prepare(ctx, img.Ref, holder)
		if err != nil {
			return nil, fmt.Errorf("mounts[%d] %s: %w", i, plan[n].ContainerPath, err)
		}
		u.Push("release mounted image", func(ctx context.Context) error { return m.cfg.Images.Release(ctx, holder) })
		plan[n].Image = &ImageSource{Layers: root.Layers, SubPath: img.SubPath}
		plan[n].ReadOnly = true
		ids[i] = root.ImageID
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.mountImages = ids
	return plan, nil
}

// releaseImages lets go of all images that the container holds. It may be called again.
func (m *Manager) releaseImages(ctx context.Context, c *container) error {
	errs := []error{m.cfg.Images.Release(ctx, c.id)}
	for i, mount := range c.config.Mounts {
		if mount.Image != nil {
			errs = append(errs, m.cfg.Images.Release(ctx, mountHolder(c.id, i)))
		}
	}
	return errors.Join(errs...)
}

// mountHolder is what the image of a container's mount is held by.
func mountHolder(containerID string, mount int) string {
	return containerID + "/" + strconv.Itoa(mount)
}

// holderContainer is the container that a holder of an image belongs to.
func holderContainer(holder string) string {
	id, _, _ := strings.Cut(holder, "/")
	return id
}
