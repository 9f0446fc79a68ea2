package dialect

import (
	"context"
	"fmt"

	"github.com/containerd/errdefs"
	"google.golang.org/protobuf/proto"
	corev1 "k8s.io/api/core/v1"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

const terminationPath = "io.kubernetes.container.terminationMessagePath"

// Sandbox is what the record of a container's pod tells.
type Sandbox struct {
	UID          string
	Namespaces   *runtimeapi.NamespaceOption
	Groups       []int64 // supplemental ones
	StrictGroups bool
	ContainerID  func(name string) (string, error) // of the pod's newest container of that name
	ImageUser    func() (ImageUser, error)         // of the container's image; asked once
}

// Container is a container's config for Linux, and the mounts as they were asked for, in
// the same order: status has to show those.
type Container struct {
	Config *runtimeapi.ContainerConfig
	Asked  []*runtimeapi.Mount
}

// Container turns a container's config. One with a Linux section is not a Windows
// kubelet's, which never sends it, and is returned as it is.
func (w *Windows) Container(ctx context.Context, c *runtimeapi.ContainerConfig, s Sandbox) (Container, error) {
	none := Container{}
	if c == nil || c.GetLinux() != nil {
		return Container{Config: c, Asked: c.GetMounts()}, nil
	}
	const at = "config.windows"
	win := c.GetWindows().GetSecurityContext()
	if win.GetHostProcess() {
		return none, invalid(at+".security_context.host_process", "is set: a HostProcess container is Windows'")
	}
	if win.GetCredentialSpec() != "" {
		return none, unbuilt(at+".security_context.credential_spec", "a Linux container has no group-managed service account")
	}
	limits, err := w.Limits(at+".resources", c.GetWindows().GetResources())
	if err != nil {
		return none, err
	}
	c = proto.CloneOf(c)
	c.Windows = nil
	c.LogPath = slashes(c.LogPath)
	if c.WorkingDir != "" {
		if c.WorkingDir, err = guestPath("config.working_dir", c.WorkingDir); err != nil {
			return none, err
		}
	}
	out := Container{Config: c}
	if err := w.mounts(&out); err != nil {
		return none, err
	}
	user, err := s.ImageUser()
	if err != nil {
		return none, err
	}
	pod, err := w.spec(ctx, s.UID, func(*corev1.Pod) error { return nil })
	if err != nil {
		return none, fmt.Errorf("container %q: %w", c.GetMetadata().GetName(), err)
	}
	if pod == nil {
		c.Linux = dropped(limits, win.GetRunAsUsername(), user, s)
		return out, nil
	}
	spec, target, err := find(pod, c.GetMetadata().GetName())
	if err != nil {
		return none, err
	}
	c.Linux = &runtimeapi.LinuxContainerConfig{Resources: w.containerResources(pod, spec)}
	if c.Linux.SecurityContext, err = w.security(pod, spec, user, win.GetRunAsUsername()); err != nil {
		return none, fmt.Errorf("container %q: %w", spec.Name, err)
	}
	o := namespaces(pod)
	o.Network = s.Namespaces.GetNetwork() // which HostNetworkAsPod may have changed
	if target != "" && o.Pid == runtimeapi.NamespaceMode_CONTAINER {
		o.Pid = runtimeapi.NamespaceMode_TARGET
		if o.TargetId, err = s.ContainerID(target); err != nil {
			return none, fmt.Errorf("container %q: targetContainerName: %w", spec.Name, err)
		}
	}
	c.Linux.SecurityContext.NamespaceOptions = o
	return out, propagate(spec, c.Mounts)
}

// find looks for a container of any kind. target is the container that an ephemeral one
// is to look into.
func find(pod *corev1.Pod, name string) (c *corev1.Container, target string, err error) {
	for _, list := range [][]corev1.Container{pod.Spec.Containers, pod.Spec.InitContainers} {
		for i := range list {
			if list[i].Name == name {
				return &list[i], "", nil
			}
		}
	}
	for i := range pod.Spec.EphemeralContainers {
		if e := &pod.Spec.EphemeralContainers[i]; e.Name == name {
			c := corev1.Container(e.EphemeralContainerCommon)
			return &c, e.TargetContainerName, nil
		}
	}
	return nil, "", fmt.Errorf("config.metadata.name: the pod's spec has no container %q: %w", name, errdefs.ErrFailedPrecondition)
}

// dropped is the Linux section of a container whose spec cannot be had: no more rights
// than any container has, and the runtime's seccomp profile.
func dropped(limits *runtimeapi.LinuxContainerResources, username string, image ImageUser, s Sandbox) *runtimeapi.LinuxContainerConfig {
	sc := &runtimeapi.LinuxContainerSecurityContext{
		NamespaceOptions: s.Namespaces, SupplementalGroups: s.Groups,
		MaskedPaths: maskedPaths, ReadonlyPaths: readonlyPaths,
		Seccomp: &runtimeapi.SecurityProfile{ProfileType: runtimeapi.SecurityProfile_RuntimeDefault},
	}
	if s.StrictGroups {
		sc.SupplementalGroupsPolicy = runtimeapi.SupplementalGroupsPolicy_Strict
	}
	setUser(sc, nil, image, username)
	return &runtimeapi.LinuxContainerConfig{Resources: limits, SecurityContext: sc}
}

// mounts turns the paths of all mounts. The hosts file goes where a mount of the author's
// own is not: the kubelet looks for one by Windows' path and does not see it.
func (w *Windows) mounts(out *Container) error {
	termination := out.Config.GetAnnotations()[terminationPath]
	own := false
	for _, m := range out.Config.Mounts {
		own = own || m.GetContainerPath() == "/etc/hosts"
	}
	var turned []*runtimeapi.Mount
	for i, m := range out.Config.Mounts {
		at := fmt.Sprintf("config.mounts[%d]", i)
		asked := proto.CloneOf(m)
		var err error
		if termination != "" && termination[0] == '/' && m.GetContainerPath() == "c:"+termination {
			// Its backslashes, if any, are the author's.
			m.ContainerPath = termination
		} else if m.ContainerPath, err = guestPath(at+".container_path", m.GetContainerPath()); err != nil {
			return err
		}
		if own && m.ContainerPath == "/etc/hosts" && asked.GetContainerPath() != "/etc/hosts" {
			continue
		}
		if m.GetHostPath() != "" {
			if m.HostPath, err = w.hostPath(at+".host_path", m.GetHostPath()); err != nil {
				return err
			}
		}
		turned = append(turned, m)
		out.Asked = append(out.Asked, asked)
	}
	out.Config.Mounts = turned
	return nil
}

// propagate brings back the propagation of each mount, which a Windows kubelet always
// sends as private.
func propagate(spec *corev1.Container, mounts []*runtimeapi.Mount) error {
	for i := range spec.VolumeMounts {
		v := &spec.VolumeMounts[i]
		if v.MountPropagation == nil {
			continue
		}
		var p runtimeapi.MountPropagation
		switch *v.MountPropagation {
		case corev1.MountPropagationNone:
		case corev1.MountPropagationHostToContainer:
			p = runtimeapi.MountPropagation_PROPAGATION_HOST_TO_CONTAINER
		case corev1.MountPropagationBidirectional:
			p = runtimeapi.MountPropagation_PROPAGATION_BIDIRECTIONAL
		default:
			return fmt.Errorf("container %q: the pod's spec has the mountPropagation %q, which is not known here: %w",
				spec.Name, *v.MountPropagation, errdefs.ErrNotImplemented)
		}
		path := v.MountPath
		if path == "" || path[0] != '/' {
			path = "/" + path
		}
		for _, m := range mounts {
			if m.GetContainerPath() == path {
				m.Propagation = p
			}
		}
	}
	return nil
}
