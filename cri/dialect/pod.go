package dialect

import (
	"strconv"

	corev1 "k8s.io/api/core/v1"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// podLinux adds to a sandbox's Linux section what a Windows kubelet left out of it. What
// it did send, namespaces, sysctls, whether any container is privileged, stays.
func (w *Windows) podLinux(pod *corev1.Pod, l *runtimeapi.LinuxPodSandboxConfig) {
	l.Resources = podResources(pod)
	if o := pod.Spec.Overhead; len(o) > 0 {
		cpu := o.Cpu().MilliValue()
		l.Overhead = calculate(cpu, true, cpu, o.Memory().Value())
	}
	sc, spec := l.SecurityContext, pod.Spec.SecurityContext
	if pod.Spec.HostUsers != nil && !*pod.Spec.HostUsers {
		if sc.NamespaceOptions == nil {
			sc.NamespaceOptions = &runtimeapi.NamespaceOption{Pid: runtimeapi.NamespaceMode_CONTAINER}
		}
		sc.NamespaceOptions.UsernsOptions = ownUsers()
	}
	if spec == nil {
		return
	}
	if spec.RunAsUser != nil {
		sc.RunAsUser = int64Value(spec.RunAsUser)
		sc.RunAsGroup = int64Value(spec.RunAsGroup)
	}
	sc.SelinuxOptions = selinux(spec.SELinuxOptions)
	if spec.FSGroup != nil {
		sc.SupplementalGroups = append([]int64{*spec.FSGroup}, sc.SupplementalGroups...)
	}
}

// FSGroup is the annotation by which Pod hands over the group of the pod's volumes, which a kubelet on
// Linux would have changed by now and which the CRI has no field for. It is the spec's alone: what a
// user writes there is taken out.
const FSGroup = "internal.porthole.run/fs-group"

func withFSGroup(annotations map[string]string, pod *corev1.Pod) map[string]string {
	delete(annotations, FSGroup)
	if sc := pod.Spec.SecurityContext; sc != nil && sc.FSGroup != nil {
		if annotations == nil {
			annotations = map[string]string{}
		}
		annotations[FSGroup] = strconv.FormatInt(*sc.FSGroup, 10)
	}
	return annotations
}

// ownUsers asks for a user namespace; its mappings are the kubelet's to choose on Linux,
// and a Windows one chooses none.
func ownUsers() *runtimeapi.UserNamespace {
	return &runtimeapi.UserNamespace{Mode: runtimeapi.NamespaceMode_POD}
}

// namespaces are the modes that a container of the pod has.
func namespaces(pod *corev1.Pod) *runtimeapi.NamespaceOption {
	o := &runtimeapi.NamespaceOption{Pid: runtimeapi.NamespaceMode_CONTAINER}
	switch {
	case pod.Spec.HostPID:
		o.Pid = runtimeapi.NamespaceMode_NODE
	case pod.Spec.ShareProcessNamespace != nil && *pod.Spec.ShareProcessNamespace:
		o.Pid = runtimeapi.NamespaceMode_POD
	}
	if pod.Spec.HostNetwork {
		o.Network = runtimeapi.NamespaceMode_NODE
	}
	if pod.Spec.HostIPC {
		o.Ipc = runtimeapi.NamespaceMode_NODE
	}
	if pod.Spec.HostUsers != nil && !*pod.Spec.HostUsers {
		o.UsernsOptions = ownUsers()
	}
	return o
}
