package dialect

import (
	"fmt"
	"slices"
	"strings"

	"github.com/containerd/errdefs"
	corev1 "k8s.io/api/core/v1"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// What a Linux kubelet masks of /proc and /sys in a container whose procMount is Default;
// the thermal throttles of a host's processors are not in a VM.
var (
	maskedPaths = []string{
		"/proc/asound", "/proc/acpi", "/proc/interrupts", "/proc/kcore", "/proc/keys", "/proc/latency_stats",
		"/proc/timer_list", "/proc/timer_stats", "/proc/sched_debug", "/proc/scsi", "/sys/firmware",
		"/sys/devices/virtual/powercap",
	}
	readonlyPaths = []string{"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"}
)

// over returns the container's value where it has one, else the pod's.
func over[T any](pod, container *T) *T {
	if container != nil {
		return container
	}
	return pod
}

// effective is the security context that counts for a container: the container's fields
// over those that a pod has too (upstream's DetermineEffectiveSecurityContext).
func effective(pod *corev1.Pod, c *corev1.Container) corev1.SecurityContext {
	var out corev1.SecurityContext
	if c.SecurityContext != nil {
		out = *c.SecurityContext
	}
	if p := pod.Spec.SecurityContext; p != nil {
		out.SELinuxOptions = over(p.SELinuxOptions, out.SELinuxOptions)
		out.RunAsUser = over(p.RunAsUser, out.RunAsUser)
		out.RunAsGroup = over(p.RunAsGroup, out.RunAsGroup)
		out.RunAsNonRoot = over(p.RunAsNonRoot, out.RunAsNonRoot)
		out.SeccompProfile = over(p.SeccompProfile, out.SeccompProfile)
	}
	out.AppArmorProfile = apparmor(pod, c)
	return out
}

// security is the security context that a Linux kubelet makes of the spec: upstream's
// determineEffectiveSecurityContext. image is the user of the image's config; username is
// what the request has, the image's user's name or windowsOptions.runAsUserName.
func (w *Windows) security(pod *corev1.Pod, c *corev1.Container, image ImageUser, username string) (*runtimeapi.LinuxContainerSecurityContext, error) {
	sc := effective(pod, c)
	if err := nonRoot(sc, image, username); err != nil {
		return nil, err
	}
	out := &runtimeapi.LinuxContainerSecurityContext{
		Privileged:     sc.Privileged != nil && *sc.Privileged,
		ReadonlyRootfs: sc.ReadOnlyRootFilesystem != nil && *sc.ReadOnlyRootFilesystem,
		NoNewPrivs:     sc.AllowPrivilegeEscalation != nil && !*sc.AllowPrivilegeEscalation,
		SelinuxOptions: selinux(sc.SELinuxOptions),
		RunAsGroup:     int64Value(sc.RunAsGroup),
		MaskedPaths:    maskedPaths, ReadonlyPaths: readonlyPaths,
	}
	if sc.ProcMount != nil && *sc.ProcMount == corev1.UnmaskedProcMount {
		out.MaskedPaths, out.ReadonlyPaths = nil, nil
	}
	if caps := sc.Capabilities; caps != nil {
		out.Capabilities = &runtimeapi.Capability{AddCapabilities: words(caps.Add), DropCapabilities: words(caps.Drop)}
	}
	setUser(out, sc.RunAsUser, image, username)
	var err error
	if out.Seccomp, err = w.seccomp(sc.SeccompProfile); err != nil {
		return nil, err
	}
	if out.Apparmor, err = apparmorProfile(sc.AppArmorProfile); err != nil {
		return nil, err
	}
	out.SupplementalGroups, out.SupplementalGroupsPolicy, err = groups(pod)
	return out, err
}

// ImageUser is the user that an image's config names, without its group: an id, a name,
// or neither, which is root.
type ImageUser struct {
	UID  *int64
	Name string
}

// setUser sets the one field that says who runs: the spec's id, else the request's name
// (an id when it is one, which is how windowsOptions can say it), else the image's id.
func setUser(out *runtimeapi.LinuxContainerSecurityContext, uid *int64, image ImageUser, username string) {
	if uid == nil && username != "" {
		if n, ok := userID(username); ok {
			uid = &n
		} else {
			out.RunAsUsername = username
			return
		}
	}
	switch {
	case uid != nil:
	case image.Name != "":
		out.RunAsUsername = image.Name
		return
	case image.UID != nil:
		uid = image.UID
	default:
		uid = new(int64)
	}
	out.RunAsUser = int64Value(uid)
}

// userID reads a name that is all digits, as Linux takes it for an id.
func userID(name string) (n int64, ok bool) {
	if name == "" || len(name) > 10 {
		return 0, false
	}
	for _, r := range name {
		if r < '0' || r > '9' {
			return 0, false
		}
		n = n*10 + int64(r-'0')
	}
	return n, true
}

// nonRoot is upstream's verifyRunAsNonRoot, which a Windows kubelet does not make. It
// knows no ids in names; here a name of digits is one.
func nonRoot(sc corev1.SecurityContext, image ImageUser, username string) error {
	if sc.RunAsNonRoot == nil || !*sc.RunAsNonRoot {
		return nil
	}
	var who runtimeapi.LinuxContainerSecurityContext
	setUser(&who, sc.RunAsUser, image, username)
	switch {
	case who.RunAsUsername != "":
		return fmt.Errorf("the pod's spec has runAsNonRoot, and nobody can tell whether the user %q of image or windowsOptions is not root: give runAsUser: %w",
			who.RunAsUsername, errdefs.ErrInvalidArgument)
	case who.GetRunAsUser().GetValue() == 0:
		return fmt.Errorf("the pod's spec has runAsNonRoot, and the container would run as root: %w", errdefs.ErrInvalidArgument)
	}
	return nil
}

// groups are fsGroup and the supplemental groups, in the kubelet's order.
func groups(pod *corev1.Pod) (out []int64, policy runtimeapi.SupplementalGroupsPolicy, err error) {
	sc := pod.Spec.SecurityContext
	if sc == nil {
		return nil, 0, nil
	}
	if sc.FSGroup != nil {
		out = append(out, *sc.FSGroup)
	}
	out = append(out, sc.SupplementalGroups...)
	if sc.SupplementalGroupsPolicy != nil {
		v, ok := runtimeapi.SupplementalGroupsPolicy_value[string(*sc.SupplementalGroupsPolicy)]
		if !ok {
			return nil, 0, fmt.Errorf("the pod's spec has the supplementalGroupsPolicy %q, which is not known here: %w",
				*sc.SupplementalGroupsPolicy, errdefs.ErrNotImplemented)
		}
		policy = runtimeapi.SupplementalGroupsPolicy(v)
	}
	return out, policy, nil
}

// seccomp turns a profile. Localhost ones are in the kubelet's folder for them.
func (w *Windows) seccomp(p *corev1.SeccompProfile) (*runtimeapi.SecurityProfile, error) {
	profile := func(t runtimeapi.SecurityProfile_ProfileType) *runtimeapi.SecurityProfile {
		return &runtimeapi.SecurityProfile{ProfileType: t}
	}
	switch {
	case p == nil && w.c.SeccompDefault:
		return profile(runtimeapi.SecurityProfile_RuntimeDefault), nil
	case p == nil:
		return profile(runtimeapi.SecurityProfile_Unconfined), nil
	}
	switch p.Type {
	case corev1.SeccompProfileTypeRuntimeDefault:
		return profile(runtimeapi.SecurityProfile_RuntimeDefault), nil
	case corev1.SeccompProfileTypeUnconfined:
		return profile(runtimeapi.SecurityProfile_Unconfined), nil
	case corev1.SeccompProfileTypeLocalhost:
		if p.LocalhostProfile == nil || *p.LocalhostProfile == "" {
			return nil, fmt.Errorf("the pod's spec has a seccompProfile of type Localhost without a localhostProfile: %w", errdefs.ErrInvalidArgument)
		}
		at, err := w.hostPath("seccompProfile.localhostProfile", w.c.SeccompRoot+"/"+*p.LocalhostProfile)
		if err != nil {
			return nil, err
		}
		out := profile(runtimeapi.SecurityProfile_Localhost)
		out.LocalhostRef = at
		return out, nil
	}
	// Upstream runs what it does not know unconfined; that is no answer to a newer kubelet.
	return nil, fmt.Errorf("the pod's spec has a seccompProfile of type %q, which is not known here: %w", p.Type, errdefs.ErrNotImplemented)
}

// apparmor finds the profile that counts: the container's field, its old annotation, the
// pod's field.
func apparmor(pod *corev1.Pod, c *corev1.Container) *corev1.AppArmorProfile {
	if c.SecurityContext != nil && c.SecurityContext.AppArmorProfile != nil {
		return c.SecurityContext.AppArmorProfile
	}
	// Static pods still have it.
	if v, ok := pod.Annotations[corev1.DeprecatedAppArmorBetaContainerAnnotationKeyPrefix+c.Name]; ok {
		if name, ok := strings.CutPrefix(v, "localhost/"); ok {
			return &corev1.AppArmorProfile{Type: corev1.AppArmorProfileTypeLocalhost, LocalhostProfile: &name}
		}
		switch v {
		case "runtime/default":
			return &corev1.AppArmorProfile{Type: corev1.AppArmorProfileTypeRuntimeDefault}
		case "unconfined":
			return &corev1.AppArmorProfile{Type: corev1.AppArmorProfileTypeUnconfined}
		}
	}
	if pod.Spec.SecurityContext != nil {
		return pod.Spec.SecurityContext.AppArmorProfile
	}
	return nil
}

func apparmorProfile(p *corev1.AppArmorProfile) (*runtimeapi.SecurityProfile, error) {
	if p == nil {
		return nil, nil
	}
	switch p.Type {
	case corev1.AppArmorProfileTypeRuntimeDefault:
		return &runtimeapi.SecurityProfile{ProfileType: runtimeapi.SecurityProfile_RuntimeDefault}, nil
	case corev1.AppArmorProfileTypeUnconfined:
		return &runtimeapi.SecurityProfile{ProfileType: runtimeapi.SecurityProfile_Unconfined}, nil
	case corev1.AppArmorProfileTypeLocalhost:
		out := &runtimeapi.SecurityProfile{ProfileType: runtimeapi.SecurityProfile_Localhost}
		if p.LocalhostProfile != nil {
			out.LocalhostRef = *p.LocalhostProfile
		}
		return out, nil
	}
	return nil, fmt.Errorf("the pod's spec has an appArmorProfile of type %q, which is not known here: %w", p.Type, errdefs.ErrNotImplemented)
}

func selinux(o *corev1.SELinuxOptions) *runtimeapi.SELinuxOption {
	if o == nil {
		return nil
	}
	return &runtimeapi.SELinuxOption{User: o.User, Role: o.Role, Type: o.Type, Level: o.Level}
}

func int64Value(n *int64) *runtimeapi.Int64Value {
	if n == nil {
		return nil
	}
	return &runtimeapi.Int64Value{Value: *n}
}

func words(caps []corev1.Capability) []string {
	var out []string
	for _, c := range caps {
		out = append(out, string(c))
	}
	return slices.Clip(out)
}
