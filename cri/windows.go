package cri

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/containerd/errdefs"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/porthole-run/porthole/cri/dialect"
	"github.com/porthole-run/porthole/sandbox"
)

// containerConfig is the function of that name with a Windows kubelet's request turned
// before. Status shows mounts by the paths that the kubelet knows.
func (s *Server) containerConfig(ctx context.Context, in *runtimeapi.ContainerConfig, p sandbox.Pod) (sandbox.ContainerConfig, error) {
	if s.opts.Dialect == nil {
		return containerConfig(in, p.Config)
	}
	turned, err := s.opts.Dialect.Container(ctx, in, dialect.Sandbox{
		UID: p.Config.UID,
		Namespaces: &runtimeapi.NamespaceOption{
			Network: namespaceMode(p.Config.Namespaces.Network),
			Pid:     namespaceMode(p.Config.Namespaces.PID),
			Ipc:     namespaceMode(p.Config.Namespaces.IPC),
		},
		Groups: p.Config.Security.SupplementalGroups, StrictGroups: p.Config.Security.StrictGroups,
		ContainerID: func(name string) (string, error) { return s.newest(ctx, p.ID, name) },
		ImageUser: func() (dialect.ImageUser, error) {
			ref := in.GetImage().GetImage()
			if err := checkImageRef("config.image.image", ref); err != nil {
				return dialect.ImageUser{}, err
			}
			img, err := s.images.Image(ctx, ref)
			if err != nil {
				return dialect.ImageUser{}, err
			}
			uid, name := imageUser(img.User)
			return dialect.ImageUser{UID: idValue(uid), Name: name}, nil
		},
	})
	if err != nil {
		return sandbox.ContainerConfig{}, err
	}
	out, err := containerConfig(turned.Config, p.Config)
	if err != nil {
		return sandbox.ContainerConfig{}, err
	}
	for i := range out.Mounts {
		m, asked := &out.Mounts[i], turned.Asked[i]
		if m.ContainerPath != asked.GetContainerPath() || m.HostPath != asked.GetHostPath() {
			m.Asked = &sandbox.MountPaths{Container: asked.GetContainerPath(), Host: asked.GetHostPath()}
		}
	}
	return out, nil
}

// newest is the pod's container of that name that was made last.
func (s *Server) newest(ctx context.Context, podID, name string) (string, error) {
	var last string
	var created time.Time
	err := s.containers.EachContainer(ctx, sandbox.ContainerFilter{PodID: podID}, func(c *sandbox.Container) {
		if c.PodID == podID && c.Config.Name == name && !c.CreatedAt.Before(created) {
			last, created = c.ID, c.CreatedAt
		}
	})
	if err != nil {
		return "", err
	}
	if last == "" {
		return "", fmt.Errorf("the pod has no container %q: %w", clean(name, maxName), errdefs.ErrFailedPrecondition)
	}
	return last, nil
}

// takeGroup moves what the dialect says of the group of the pod's volumes out of the annotations, which
// are shown as they were asked for.
func takeGroup(c *sandbox.PodConfig, turned, asked *runtimeapi.PodSandboxConfig) error {
	if turned == asked {
		return nil // no Windows kubelet's
	}
	c.Annotations = asked.GetAnnotations()
	text := turned.GetAnnotations()[dialect.FSGroup]
	if text == "" {
		return nil
	}
	n, err := strconv.ParseUint(text, 10, 32)
	if err != nil || n == 1<<32-1 { // which Linux takes for "as it is"
		return invalid("the pod's securityContext.fsGroup", "%q is not a group's id", text)
	}
	c.FSGroup = uint32(n)
	return nil
}

// showNetwork keeps what a Windows kubelet asked for where the dialect gave the pod a
// network of its own instead: a kubelet that does not see it makes the pod anew for ever.
func showNetwork(c *sandbox.PodConfig, asked *runtimeapi.PodSandboxConfig) {
	mode := namespaceModes[asked.GetLinux().GetSecurityContext().GetNamespaceOptions().GetNetwork()]
	if mode != c.Namespaces.Network {
		c.AskedNetwork = mode
	}
}

func shownNetwork(c sandbox.PodConfig) sandbox.NamespaceMode {
	if c.AskedNetwork != "" {
		return c.AskedNetwork
	}
	return c.Namespaces.Network
}

// showWindows adds what a Windows kubelet reads of a container's status.
func (s *Server) showWindows(st *runtimeapi.ContainerStatus) {
	if s.opts.Dialect == nil {
		return
	}
	st.LogPath = s.opts.Dialect.ShowPath(st.LogPath)
	st.Resources.Windows = s.opts.Dialect.ShowResources(st.Resources.GetLinux())
}
