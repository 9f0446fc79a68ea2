package cri

import (
	"fmt"
	"path"
	"path/filepath"
	"slices"
	"strings"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/porthole-run/porthole/sandbox"
)

// mountOptions are the mount options that can be asked for.
var mountOptions = []string{"noexec", "nodev", "nosuid"}

// mounts checks and converts a container's mounts.
func mounts(in []*runtimeapi.Mount) ([]sandbox.Mount, error) {
	if len(in) > maxMounts {
		return nil, invalid("config.mounts", "has %d entries, at most %d are taken", len(in), maxMounts)
	}
	var out []sandbox.Mount
	for i, m := range in {
		c, err := mount(fmt.Sprintf("config.mounts[%d]", i), m)
		if err != nil {
			return nil, err
		}
		out = append(out, c)
	}
	return out, nil
}

func mount(at string, m *runtimeapi.Mount) (sandbox.Mount, error) {
	none := sandbox.Mount{}
	to := m.GetContainerPath()
	if to == "" {
		return none, invalid(at+".container_path", "is empty")
	}
	if err := checkGuestPath(at+".container_path", to); err != nil {
		return none, err
	}
	if path.Clean(to) == "/" {
		return none, invalid(at+".container_path", "is the root of the container")
	}
	if slices.Contains(strings.Split(to, "/"), "..") {
		return none, invalid(at+".container_path", "%q holds ..", to)
	}
	for _, o := range m.GetMountOptions() {
		if !slices.Contains(mountOptions, o) {
			return none, unbuilt(at+".mount_options", fmt.Sprintf("%q is not one of %s", clean(o, maxName), strings.Join(mountOptions, ", ")))
		}
	}
	out := sandbox.Mount{
		ContainerPath: to, ReadOnly: m.GetReadonly(), Recursive: m.GetRecursiveReadOnly(),
		Relabel: m.GetSelinuxRelabel(), Options: m.GetMountOptions(),
	}
	var err error
	if len(m.GetUidMappings()) > 0 || len(m.GetGidMappings()) > 0 {
		if out.Users, err = users(at+".uidMappings", m.GetUidMappings(), m.GetGidMappings()); err != nil {
			return none, err
		}
	}
	if out.Propagation, err = propagation(at, m); err != nil {
		return none, err
	}
	if m.GetRecursiveReadOnly() {
		if !m.GetReadonly() {
			return none, invalid(at+".recursive_read_only", "is set though readonly is not")
		}
		if m.GetPropagation() != runtimeapi.MountPropagation_PROPAGATION_PRIVATE {
			return none, invalid(at+".recursive_read_only", "is set though propagation is not private")
		}
	}
	if m.GetImage() != nil {
		return imageMount(at, m, out)
	}
	if m.GetImageSubPath() != "" {
		return none, invalid(at+".image_sub_path", "is set though image is not")
	}
	return hostMount(at, m, out)
}

func propagation(at string, m *runtimeapi.Mount) (sandbox.Propagation, error) {
	switch p := m.GetPropagation(); p {
	case runtimeapi.MountPropagation_PROPAGATION_PRIVATE:
		return sandbox.PropagatePrivate, nil
	case runtimeapi.MountPropagation_PROPAGATION_HOST_TO_CONTAINER:
		return sandbox.PropagateHostToContainer, nil
	case runtimeapi.MountPropagation_PROPAGATION_BIDIRECTIONAL:
		return "", unbuilt(at+".propagation", "bidirectional: what is mounted inside a VM cannot appear on its host")
	default:
		return "", invalid(at+".propagation", "%d is not known", p)
	}
}

func hostMount(at string, m *runtimeapi.Mount, out sandbox.Mount) (sandbox.Mount, error) {
	field, p := at+".host_path", m.GetHostPath()
	if p == "" {
		return sandbox.Mount{}, invalid(field, "is empty, and there is no image")
	}
	if len(p) > maxPath {
		return sandbox.Mount{}, invalid(field, "is longer than %d bytes", maxPath)
	}
	if err := checkText(field, p); err != nil {
		return sandbox.Mount{}, err
	}
	if !filepath.IsAbs(p) {
		return sandbox.Mount{}, invalid(field, "%q is not an absolute path", p)
	}
	if slices.Contains(strings.Split(filepath.ToSlash(p), "/"), "..") {
		return sandbox.Mount{}, invalid(field, "%q holds ..", p)
	}
	out.HostPath = p
	return out, nil
}

func imageMount(at string, m *runtimeapi.Mount, out sandbox.Mount) (sandbox.Mount, error) {
	if m.GetHostPath() != "" {
		return sandbox.Mount{}, invalid(at+".host_path", "is set though image is")
	}
	if err := checkImageRef(at+".image.image", m.GetImage().GetImage()); err != nil {
		return sandbox.Mount{}, err
	}
	if m.GetPropagation() != runtimeapi.MountPropagation_PROPAGATION_PRIVATE {
		return sandbox.Mount{}, invalid(at+".propagation", "is not private though image is set")
	}
	sub := m.GetImageSubPath()
	if len(sub) > maxPath {
		return sandbox.Mount{}, invalid(at+".image_sub_path", "is longer than %d bytes", maxPath)
	}
	if err := checkText(at+".image_sub_path", sub); err != nil {
		return sandbox.Mount{}, err
	}
	if sub != "" && (path.IsAbs(sub) || slices.Contains(strings.Split(sub, "/"), "..")) {
		return sandbox.Mount{}, invalid(at+".image_sub_path", "%q leads out of the image", sub)
	}
	out.ReadOnly = true
	out.Image = &sandbox.MountImage{Ref: m.GetImage().GetImage(), UserRef: m.GetImage().GetUserSpecifiedImage(), SubPath: sub}
	return out, nil
}

// mountStatus is the answer's form of a mount.
func mountStatus(m sandbox.Mount) *runtimeapi.Mount {
	out := &runtimeapi.Mount{
		ContainerPath: m.ContainerPath, HostPath: m.HostPath, Readonly: m.ReadOnly,
		SelinuxRelabel: m.Relabel, RecursiveReadOnly: m.Recursive, MountOptions: m.Options,
	}
	if m.Propagation == sandbox.PropagateHostToContainer {
		out.Propagation = runtimeapi.MountPropagation_PROPAGATION_HOST_TO_CONTAINER
	}
	if m.Asked != nil {
		out.ContainerPath, out.HostPath = m.Asked.Container, m.Asked.Host
	}
	if u := m.Users; u != nil {
		out.UidMappings, out.GidMappings = shownMapping(u.UIDs), shownMapping(u.GIDs)
	}
	if i := m.Image; i != nil {
		out.Image = &runtimeapi.ImageSpec{Image: i.Ref, UserSpecifiedImage: i.UserRef}
		out.ImageSubPath = i.SubPath
	}
	return out
}
