package sandbox

import (
	"fmt"
	"slices"
	"strings"

	"github.com/containerd/errdefs"
)

// Sharing says which pods of a runtime handler have a VM, and so a kernel, in common.
type Sharing struct {
	// Annotation is the pods' annotation whose value tells pods apart: those of one value
	// share, whatever their namespaces are. Empty, and for pods without it: those of one
	// Kubernetes namespace do.
	Annotation string
	// Pods is how many a VM holds at most; the next one gets another VM.
	Pods int
	// Privileged lets pods in that can do to the VM's other pods what they like: privileged
	// ones, and containers with capabilities that are not a namespace's.
	Privileged bool
}

func (s *Sharing) validate() error {
	if s.Pods < 2 || s.Pods > MaxNICs {
		return fmt.Errorf("Sharing.Pods is %d, not 2 to %d: %w", s.Pods, MaxNICs, errdefs.ErrInvalidArgument)
	}
	return nil
}

// key is what pods have in common that share a VM.
func (s *Sharing) key(c PodConfig) string {
	if v := c.Annotations[s.Annotation]; s.Annotation != "" && v != "" {
		return "annotation " + s.Annotation + "=" + v
	}
	return "namespace " + c.Namespace
}

// kernelWide are the capabilities that reach beyond a pod's namespaces: to the kernel, its
// clock, its devices, or files that are not the container's.
var kernelWide = []string{
	"ALL", "AUDIT_CONTROL", "BLOCK_SUSPEND", "BPF", "CHECKPOINT_RESTORE", "DAC_READ_SEARCH", "MAC_ADMIN",
	"MAC_OVERRIDE", "PERFMON", "SYSLOG", "SYS_ADMIN", "SYS_BOOT", "SYS_MODULE", "SYS_RAWIO", "SYS_TIME", "WAKE_ALARM",
}

// refuse says what of a pod would reach the other pods of its VM.
func (s *Sharing) refuse(c PodConfig) error {
	if err := c.Namespaces.refuseNode(); err != nil {
		return err
	}
	if !s.Privileged && (c.Privileged || c.Security.Privileged) {
		return fmt.Errorf("security_context.privileged: the pod would have the other pods of its VM in its hands, which runtime handler %q does not allow: %w",
			c.RuntimeHandler, errdefs.ErrPermissionDenied)
	}
	return nil
}

// refuseContainer is refuse for containers.
func (s *Sharing) refuseContainer(p PodConfig, c ContainerConfig) error {
	if err := c.Namespaces.refuseNode(); err != nil {
		return err
	}
	if s.Privileged {
		return nil
	}
	if c.Security.Privileged {
		return fmt.Errorf("security_context.privileged: the container would have the other pods of its VM in its hands, which runtime handler %q does not allow: %w",
			p.RuntimeHandler, errdefs.ErrPermissionDenied)
	}
	for _, name := range slices.Concat(c.Security.AddCapabilities, c.Security.AddAmbientCaps) {
		if short := strings.TrimPrefix(strings.ToUpper(name), "CAP_"); slices.Contains(kernelWide, short) {
			return fmt.Errorf("security_context.capabilities: %.40q reaches the other pods of the VM, which runtime handler %q does not allow: %w",
				name, p.RuntimeHandler, errdefs.ErrPermissionDenied)
		}
	}
	return nil
}

// refuseNode refuses the node's namespaces, which would be those of all pods of the VM.
func (n Namespaces) refuseNode() error {
	if n.Network == NamespaceNode || n.PID == NamespaceNode || n.IPC == NamespaceNode {
		return fmt.Errorf("security_context.namespace_options: NODE: the namespaces of a VM that pods share are none of a pod's: %w", errdefs.ErrNotImplemented)
	}
	return nil
}

// What a container must not see or change of a kernel that others use, too: what
// Kubernetes hides and protects unless it is told otherwise.
var (
	hiddenPaths = []string{
		"/proc/acpi", "/proc/asound", "/proc/interrupts", "/proc/kcore", "/proc/keys", "/proc/latency_stats",
		"/proc/sched_debug", "/proc/scsi", "/proc/timer_list", "/proc/timer_stats",
		"/sys/devices/virtual/powercap", "/sys/firmware",
	}
	protectedPaths = []string{"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"}
)

// confine is c with the paths hidden and protected that it must not reach.
func (s *Sharing) confine(c ContainerConfig) ContainerConfig {
	if s.Privileged {
		return c
	}
	with := func(have, want []string) []string {
		out := slices.Clone(have)
		for _, p := range want {
			if !slices.Contains(out, p) {
				out = append(out, p)
			}
		}
		return out
	}
	c.Security.MaskedPaths = with(c.Security.MaskedPaths, hiddenPaths)
	c.Security.ReadonlyPaths = with(c.Security.ReadonlyPaths, protectedPaths)
	return c
}

// room is the memory of a shared VM that its pods can be promised, and need what a pod
// with resources r is promised of it: its limit. A pod without limit is promised nothing,
// and takes what is free.
func (h Handler) room() int { return h.MemoryMiB - h.overhead() }

func (r Resources) need() int {
	if r.MemoryLimit <= 0 {
		return 0
	}
	return int((r.MemoryLimit-1)/mib) + 1
}

// sharedSize checks that a pod with resources r fits into an empty VM of a handler whose
// pods share.
func (h Handler) sharedSize(r Resources) error {
	if need := r.need(); need > h.room() {
		return fmt.Errorf("resources.memory_limit_in_bytes: %d bytes are more than the %d MiB that a shared VM of the runtime handler has for its pods: %w",
			r.MemoryLimit, h.room(), errdefs.ErrInvalidArgument)
	}
	return nil
}
