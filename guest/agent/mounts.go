//go:build linux

package agent

import (
	"context"
	"errors"
	"fmt"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/porthole-run/porthole/guest/agent/disk"
	"github.com/porthole-run/porthole/guest/api"
)

// Volumes mounts what containers are given besides their root file systems. Package
// disk implements it.
type Volumes interface {
	// MountVolume mounts the disk of a volume.
	MountVolume(ctx context.Context, a disk.Address, target string, o disk.VolumeOptions) error
	// MountStack mounts layers, bottom first, on each other, read-only.
	MountStack(target string, layers []string) error
	// Bind shows sub, a path below root that leads nowhere out of it, at target.
	Bind(root, sub, target string) error
}

// mountSet is what a container's mounts hold in the guest. It is taken back from the end.
type mountSet struct {
	layers  []layerRef // of images
	volumes []string   // ids
	shares  []uint64
	targets []string // where the agent has mounted something for this container alone
}

// volume is a mounted disk, shared by the containers that use it.
type volume struct {
	dir  string
	addr disk.Address
	refs int
}

// checkMounts checks the mounts of a request.
func checkMounts(mounts []*api.Mount) error {
	if len(mounts) > maxMounts {
		return invalid("%d mounts are more than %d", len(mounts), maxMounts)
	}
	for i, m := range mounts {
		if err := checkMount(m); err != nil {
			return fmt.Errorf("mount %d: %w", i, err)
		}
	}
	return nil
}

func checkMount(m *api.Mount) error {
	if p := m.GetContainerPath(); !path.IsAbs(p) || path.Clean(p) == "/" || strings.ContainsRune(p, 0) || slices.Contains(strings.Split(p, "/"), "..") {
		return invalid("container_path %q is not an absolute path below the root", p)
	}
	for _, o := range m.Options {
		if o != "noexec" && o != "nodev" && o != "nosuid" {
			return invalid("option %q", o)
		}
	}
	switch s := m.Source.(type) {
	case *api.Mount_Share:
		if s.Share.GetShareId() == 0 {
			return invalid("share_id is 0")
		}
	case *api.Mount_Disk:
		if id := s.Disk.GetVolumeId(); id == "" || len(id) > 256 {
			return invalid("volume_id of %d bytes", len(id))
		}
		if s.Disk.GetAddress() == nil {
			return invalid("disk has no address")
		}
	case *api.Mount_Image:
		if _, err := checkLayers(s.Image.GetLayers(), s.Image.GetLayerIds()); err != nil {
			return err
		}
		if sub := s.Image.GetSubPath(); path.IsAbs(sub) || strings.ContainsRune(sub, 0) || slices.Contains(strings.Split(sub, "/"), "..") {
			return invalid("sub_path %q leads out of the image", sub)
		}
	default:
		return invalid("%s has no source", m.GetContainerPath())
	}
	return nil
}

// useMounts makes ready what the container's mounts show, and returns them as the OCI
// runtime makes them. What it took is in c.mounts, also after an error.
func (a *Agent) useMounts(ctx context.Context, c *container, mounts []*api.Mount) ([]specs.Mount, error) {
	var out []specs.Mount
	for i, m := range mounts {
		source, err := a.useMount(ctx, c, m, filepath.Join(c.dir, "m", strconv.Itoa(i)))
		if err != nil {
			return nil, fmt.Errorf("mount %s: %w", m.ContainerPath, err)
		}
		access := "rw"
		if m.ReadOnly {
			access = "ro"
		}
		out = append(out, specs.Mount{
			Destination: path.Clean(m.ContainerPath), Type: "bind", Source: source,
			Options: append([]string{"bind", "rprivate", access}, m.Options...),
		})
	}
	return out, nil
}

// useMount returns where in the guest the source of a mount is.
func (a *Agent) useMount(ctx context.Context, c *container, m *api.Mount, target string) (string, error) {
	set := &c.mounts
	switch s := m.Source.(type) {
	case *api.Mount_Share:
		dir, err := a.useShare(s.Share.ShareId)
		if err == nil {
			set.shares = append(set.shares, s.Share.ShareId)
		}
		return dir, err
	case *api.Mount_Disk:
		dir, err := a.useVolume(ctx, s.Disk)
		if err != nil {
			return "", err
		}
		set.volumes = append(set.volumes, s.Disk.VolumeId)
		if !m.MapIds || c.pod.namespaces.Users == nil {
			return dir, nil
		}
		return target, a.mapDir(c, dir, target)
	case *api.Mount_Image:
		return a.useImage(ctx, c, s.Image, target, m.MapIds)
	}
	return "", invalid("no source")
}

func (a *Agent) useImage(ctx context.Context, c *container, s *api.ImageSource, target string, mapped bool) (string, error) {
	set := &c.mounts
	refs, err := checkLayers(s.Layers, s.LayerIds)
	if err != nil {
		return "", err
	}
	dirs, err := a.useLayers(ctx, refs)
	if err != nil {
		return "", err
	}
	set.layers = append(set.layers, refs...)
	if mapped {
		if dirs, err = a.mapLayers(c, dirs); err != nil {
			return "", err
		}
	}
	root := dirs[0]
	if len(dirs) > 1 {
		root = target + "-image"
		if err := a.cfg.Disks.MountStack(root, dirs); err != nil {
			return "", err
		}
		set.targets = append(set.targets, root)
	}
	if path.Clean("/"+s.SubPath) == "/" {
		return root, nil
	}
	if err := a.cfg.Disks.Bind(root, s.SubPath, target); err != nil {
		return "", err
	}
	set.targets = append(set.targets, target)
	return target, nil
}

// dropMounts takes back what useMounts took and returns the ids of layers and volumes
// that are unmounted now. After an error it may be called again.
func (a *Agent) dropMounts(ctx context.Context, c *container) (layers, volumes []string, err error) {
	set := &c.mounts
	for len(set.targets) > 0 {
		last := len(set.targets) - 1
		if err := a.cfg.Disks.Unmount(ctx, set.targets[last]); err != nil {
			return nil, nil, err
		}
		set.targets = set.targets[:last]
	}
	if err := a.dropMapped(ctx, c); err != nil {
		return nil, nil, err
	}
	for _, id := range set.shares {
		a.dropShare(id)
	}
	set.shares = nil
	layers, lerr := a.dropLayers(ctx, set.layers)
	set.layers = nil
	volumes, verr := a.dropVolumes(ctx, set.volumes)
	set.volumes = nil
	return layers, volumes, errors.Join(lerr, verr)
}

// useVolume mounts a disk that is not, and returns where.
func (a *Agent) useVolume(ctx context.Context, s *api.DiskSource) (string, error) {
	a.layersMu.Lock()
	defer a.layersMu.Unlock()
	v := a.volumes[s.VolumeId]
	if v == nil {
		v = &volume{
			dir:  a.shortDir(a.cfg.Dir + "/v"),
			addr: disk.Address{Controller: s.Address.GetController(), LUN: s.Address.GetLun()},
		}
		o := disk.VolumeOptions{ReadOnly: s.ReadOnly, FormatBlank: s.FormatBlank}
		if r := s.NewRoot; r != nil {
			o.Root = &disk.Root{Mode: r.Mode, UID: r.Uid, GID: r.Gid}
		}
		if err := a.cfg.Disks.MountVolume(ctx, v.addr, v.dir, o); err != nil {
			return "", err
		}
		a.volumes[s.VolumeId] = v
	}
	v.refs++
	return v.dir, nil
}

// dropVolumes gives volumes back and returns the ids of those that are unmounted now. It
// goes on after an error, as dropLayersLocked does.
func (a *Agent) dropVolumes(ctx context.Context, ids []string) (unused []string, err error) {
	a.layersMu.Lock()
	defer a.layersMu.Unlock()
	var errs []error
	for _, id := range ids {
		v := a.volumes[id]
		if v == nil {
			continue
		}
		if v.refs--; v.refs > 0 {
			continue
		}
		delete(a.volumes, id)
		if err := errors.Join(a.cfg.Disks.Unmount(ctx, v.dir), a.cfg.Disks.Eject(v.addr)); err != nil {
			errs = append(errs, fmt.Errorf("unmount volume %s: %w", id, err))
			continue
		}
		unused = append(unused, id)
	}
	return unused, errors.Join(errs...)
}
