package sandbox

import (
	"fmt"
	"maps"
	"path/filepath"
	"slices"

	"github.com/containerd/errdefs"
)

// container finds one by its name, which fits has looked for.
func (c checkpoint) container(name string) checkpointContainer {
	i := slices.IndexFunc(c.Containers, func(ct checkpointContainer) bool { return ct.Name == name })
	return c.Containers[i]
}

// savedContainer finds one by the id that it was saved with, which validate has looked for.
func (c checkpoint) savedContainer(id string) SavedContainer {
	i := slices.IndexFunc(c.Saved.Containers, func(s SavedContainer) bool { return s.ID == id })
	return c.Saved.Containers[i]
}

// fits refuses what can be seen not to fit the checkpoint before anything is made.
func (c checkpoint) fits(r RestoreConfig, h Handler) error {
	misfit := func(field, format string, args ...any) error {
		return fmt.Errorf("%s: %s: %w", field, fmt.Sprintf(format, args...), errdefs.ErrFailedPrecondition)
	}
	if r.Pod.RuntimeHandler != c.Handler {
		return misfit("runtime_handler", "the checkpoint is of handler %q, not of %q", c.Handler, r.Pod.RuntimeHandler)
	}
	vcpus, memoryMiB, err := h.size(r.Pod.Resources, r.Pod.Overhead)
	if err != nil {
		return err
	}
	if vcpus > c.Saved.VCPUs || memoryMiB > c.Saved.MemoryMiB {
		return misfit("resources", "a VM of %d CPUs and %d MiB is needed, and the checkpoint's has %d and %d",
			vcpus, memoryMiB, c.Saved.VCPUs, c.Saved.MemoryMiB)
	}
	if m := h.MaxMemoryMiB; m > 0 && c.Saved.MemoryMiB > m {
		return misfit("runtime_handler", "the checkpoint's VM has %d MiB, and the handler allows %d", c.Saved.MemoryMiB, m)
	}
	if err := r.Pod.Resources.fits("resources", c.Saved.VCPUs); err != nil {
		return err
	}
	if !maps.Equal(r.Pod.Sysctls, c.Sysctls) {
		return misfit("sysctls", "they are not those of the checkpoint's pod")
	}
	if r.Pod.Namespaces != c.Namespaces {
		return misfit("namespace_options", "they are not those of the checkpoint's pod")
	}
	return c.fitNames(r.Containers)
}

// fitNames wants the containers that the checkpoint has, each once.
func (c checkpoint) fitNames(asked []ContainerConfig) error {
	if len(asked) == 0 {
		return fmt.Errorf("container_configs: there is none: %w", errdefs.ErrInvalidArgument)
	}
	seen := map[string]bool{}
	for i, cc := range asked {
		switch {
		case cc.Name == "":
			return fmt.Errorf("container_configs[%d].metadata.name: is empty: %w", i, errdefs.ErrInvalidArgument)
		case seen[cc.Name]:
			return fmt.Errorf("container_configs[%d].metadata.name: %q is named twice: %w", i, cc.Name, errdefs.ErrInvalidArgument)
		}
		seen[cc.Name] = true
	}
	has := map[string]bool{}
	for _, ct := range c.Containers {
		has[ct.Name] = true
	}
	if !maps.Equal(seen, has) {
		return fmt.Errorf("container_configs: the checkpoint has the containers %q, not %q: %w",
			slices.Sorted(maps.Keys(has)), slices.Sorted(maps.Keys(seen)), errdefs.ErrFailedPrecondition)
	}
	return nil
}

// compareMounts wants a container to mount at the same places, in the same ways: what is
// mounted at each is another's, or newer.
func compareMounts(saved []SavedMount, asked []MountSetup) error {
	if len(saved) != len(asked) {
		return fmt.Errorf("mounts: %d, and the checkpoint's container has %d: %w", len(asked), len(saved), errdefs.ErrFailedPrecondition)
	}
	for i, a := range asked {
		s := saved[i]
		misfit := func(format string, args ...any) error {
			return fmt.Errorf("mount %s: %s: %w", a.ContainerPath, fmt.Sprintf(format, args...), errdefs.ErrFailedPrecondition)
		}
		switch {
		case a.ContainerPath != s.Path:
			return misfit("the checkpoint's container has one at %s in its place", s.Path)
		case a.Disk != nil:
			return misfit("a disk volume cannot be restored")
		case (a.Image != nil) != (s.Share == 0):
			return misfit("the checkpoint's is of another kind")
		case a.Image == nil && a.ReadOnly && !s.ReadOnly, !a.ReadOnly && s.ReadOnly && a.Image == nil:
			return misfit("the checkpoint's has read-only %v", s.ReadOnly)
		case !slices.Equal(a.Options, s.Options):
			return misfit("the checkpoint's has the options %q", s.Options)
		case a.Image != nil && (a.Image.SubPath != s.SubPath || !sameLayers(a.Image.Layers, s.Layers)):
			return misfit("the checkpoint's is of another image, or another part of it")
		}
	}
	return nil
}

func sameLayers(layers []Layer, ids []string) bool {
	return slices.EqualFunc(layers, ids, func(l Layer, id string) bool { return l.DiffID == id })
}

// shares are the folders that the saved shares show now: for each that of the mounts which
// had it.
func (r *restore) shares() ([]ShareRestore, error) {
	var out []ShareRestore
	for _, s := range r.from.Saved.Shares {
		found := ShareRestore{ID: s.ID, Table: filepath.Join(r.config.Dir, s.Table)}
		for _, rc := range r.setup.Containers {
			for i, m := range r.from.savedContainer(rc.SavedID).Mounts {
				if m.Share != s.ID {
					continue
				}
				folder := *rc.Mounts[i].Folder
				if found.Folder.Path != "" && found.Folder != folder {
					return nil, fmt.Errorf("mount %s: it shows %s, and another mount that had the same in the checkpoint shows %s: %w",
						m.Path, folder.Path, found.Folder.Path, errdefs.ErrFailedPrecondition)
				}
				found.Folder, found.ReadOnly = folder, rc.Mounts[i].ReadOnly
			}
		}
		if found.Folder.Path == "" {
			return nil, fmt.Errorf("share %d of the checkpoint is mounted by none of its containers: %w", s.ID, errdefs.ErrDataLoss)
		}
		out = append(out, found)
	}
	return out, nil
}
