package dialect

import (
	"context"
	"fmt"
	"log/slog"
	"strings"

	"github.com/containerd/errdefs"
	"google.golang.org/protobuf/proto"
	corev1 "k8s.io/api/core/v1"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/porthole-run/porthole/internal/logkey"
)

// Pods is where the specs of pods come from.
type Pods interface {
	// Pod returns the pod with this uid as its author and the admission of the cluster
	// made it. NotFound when the kubelet has none, Unavailable when it cannot be asked in
	// a bounded time, DataLoss when its answer is not to be believed.
	Pod(ctx context.Context, uid string) (*corev1.Pod, error)
}

// Config is what a Windows works with.
type Config struct {
	// Pods is needed.
	Pods Pods
	// Processors is how many the kubelet divides CPU limits by: all of the host's active
	// ones (GetActiveProcessorCount of all groups). At least 1.
	Processors int
	// MemoryBytes is the host's memory, which OOM scores are relative to; 0: not known.
	MemoryBytes int64
	// SystemDrive is the drive of rooted paths that name none; empty: "C:".
	SystemDrive string
	// Drives maps the kubelet's drives, in lower case ("c"), to folders of a host that is
	// not Windows. Empty: the host is the kubelet's own, and paths stay Windows paths.
	Drives map[string]string
	// SeccompRoot is the folder of Localhost profiles, as the kubelet would write it;
	// empty: c:\var\lib\kubelet\seccomp.
	SeccompRoot string
	// SeccompDefault gives containers without a profile RuntimeDefault, as the kubelet's
	// setting of that name does on Linux.
	SeccompDefault bool
	// DropSecurityContext runs pods whose spec cannot be had without it (see Lost).
	DropSecurityContext bool
	// HostNetworkAsPod gives pods that ask for the host's network one of their own.
	HostNetworkAsPod bool
	// Logger gets a line for each pod and container that lost its security context; nil:
	// slog.Default.
	Logger *slog.Logger
}

// Lost is what DropSecurityContext gives up, for logs and documents.
const Lost = "runAsUser, runAsGroup, runAsNonRoot, fsGroup, capabilities, allowPrivilegeEscalation, " +
	"readOnlyRootFilesystem, privileged, procMount, the seccomp, AppArmor and SELinux profiles, hostUsers, " +
	"mountPropagation, targetContainerName, requests, overhead"

// Windows is the dialect of a Windows kubelet.
type Windows struct {
	c Config // immutable after New
}

// New returns the dialect for one host.
func New(c Config) (*Windows, error) {
	if c.Pods == nil || c.Processors < 1 || c.MemoryBytes < 0 {
		return nil, fmt.Errorf("windows dialect: needs Pods and at least one processor: %w", errdefs.ErrInvalidArgument)
	}
	if c.SystemDrive == "" {
		c.SystemDrive = "C:"
	}
	if len(c.SystemDrive) != 2 || !hasDrive(c.SystemDrive) {
		return nil, fmt.Errorf("windows dialect: %q is not a drive such as C:: %w", c.SystemDrive, errdefs.ErrInvalidArgument)
	}
	for drive := range c.Drives {
		if len(drive) != 1 || drive[0] < 'a' || drive[0] > 'z' {
			return nil, fmt.Errorf("windows dialect: %q is not a drive's letter: %w", drive, errdefs.ErrInvalidArgument)
		}
	}
	if c.SeccompRoot == "" {
		c.SeccompRoot = `c:\var\lib\kubelet\seccomp`
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	return &Windows{c}, nil
}

// Speaks tells whether a sandbox's config is a Windows kubelet's: it has the section for
// Windows, which no Linux kubelet sends, or a log directory in Windows' form.
func Speaks(c *runtimeapi.PodSandboxConfig) bool {
	return c.GetWindows() != nil || strings.HasPrefix(c.GetLogDirectory(), `\`) || hasDrive(c.GetLogDirectory())
}

// Pod turns a RunPodSandbox request. One that is not a Windows kubelet's is returned as
// it is.
func (w *Windows) Pod(ctx context.Context, r *runtimeapi.RunPodSandboxRequest) (*runtimeapi.RunPodSandboxRequest, error) {
	if !Speaks(r.GetConfig()) {
		return r, nil
	}
	sc := r.GetConfig().GetWindows().GetSecurityContext()
	const at = "config.windows.security_context"
	if sc.GetHostProcess() {
		return nil, invalid(at+".host_process", "is set: a HostProcess pod is Windows', and its runtime handler must not be one of Linux VMs")
	}
	if sc.GetCredentialSpec() != "" {
		return nil, unbuilt(at+".credential_spec", "a Linux container has no group-managed service account")
	}
	switch sc.GetNamespaceOptions().GetNetwork() {
	case runtimeapi.NamespaceMode_POD:
	case runtimeapi.NamespaceMode_NODE:
		return nil, unbuilt(at+".namespace_options.network", "NODE is for HostProcess pods")
	default:
		return nil, invalid(at+".namespace_options.network", "%s: only POD and NODE are modes of it", sc.GetNamespaceOptions().GetNetwork())
	}
	// run_as_username is each container's own too, and a sandbox runs nothing.
	r = proto.CloneOf(r)
	c := r.Config
	c.Windows = nil
	var err error
	if c.LogDirectory != "" {
		if c.LogDirectory, err = w.hostPath("config.log_directory", c.LogDirectory); err != nil {
			return nil, err
		}
	}
	c.DnsConfig = dns(c.DnsConfig)
	if c.Linux == nil {
		c.Linux = &runtimeapi.LinuxPodSandboxConfig{}
	}
	if c.Linux.SecurityContext == nil {
		c.Linux.SecurityContext = &runtimeapi.LinuxSandboxSecurityContext{}
	}
	md := c.GetMetadata()
	pod, err := w.spec(ctx, md.GetUid(), func(pod *corev1.Pod) error {
		if pod.Name != md.GetName() || pod.Namespace != md.GetNamespace() {
			return fmt.Errorf("the kubelet's pod with uid %q is %s/%s, not %s/%s: %w",
				md.GetUid(), pod.Namespace, pod.Name, md.GetNamespace(), md.GetName(), errdefs.ErrDataLoss)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("config.metadata.uid: %w", err)
	}
	if pod != nil {
		w.podLinux(pod, c.Linux)
		c.Annotations = withFSGroup(c.Annotations, pod)
	}
	if o := c.Linux.SecurityContext.GetNamespaceOptions(); w.c.HostNetworkAsPod && o.GetNetwork() == runtimeapi.NamespaceMode_NODE {
		o.Network = runtimeapi.NamespaceMode_POD
	}
	return r, nil
}

// spec returns the pod's spec; nil without an error where it is to be done without. A
// spec that is had but not right is an error in any case.
func (w *Windows) spec(ctx context.Context, uid string, check func(*corev1.Pod) error) (*corev1.Pod, error) {
	pod, err := w.c.Pods.Pod(ctx, uid)
	switch {
	case err == nil:
		if string(pod.UID) != uid {
			return nil, fmt.Errorf("the kubelet was asked for the pod with uid %q and answered with that of %q: %w", uid, pod.UID, errdefs.ErrDataLoss)
		}
		return pod, check(pod)
	case ctx.Err() != nil:
		return nil, err
	case w.c.DropSecurityContext && !errdefs.IsDataLoss(err):
		w.c.Logger.Warn("the pod's spec cannot be had; it runs without what only that says",
			logkey.PodUID, uid, "lost", Lost, logkey.Error, err)
		return nil, nil
	case errdefs.IsNotFound(err):
		// NotFound would be taken for "no such sandbox".
		return nil, fmt.Errorf("the kubelet's Pods API knows no pod with uid %q, so that its security context is not known: %w", uid, errdefs.ErrFailedPrecondition)
	}
	return nil, fmt.Errorf("the pod's security context is not known: %w", err)
}

// dns drops the placeholder that a Windows kubelet sends for a pod that has the node's
// resolvers, as it knows none: the network's own then count.
func dns(c *runtimeapi.DNSConfig) *runtimeapi.DNSConfig {
	if len(c.GetServers()) != 1 || c.GetServers()[0] != "127.0.0.1" || len(c.GetSearches()) != 1 || c.GetSearches()[0] != "." {
		return c
	}
	if len(c.GetOptions()) == 0 {
		return nil
	}
	return &runtimeapi.DNSConfig{Options: c.GetOptions()}
}

// invalid is an InvalidArgument error about a field, named as in the CRI's proto file.
func invalid(field, format string, args ...any) error {
	return fmt.Errorf("%s: %s: %w", field, fmt.Sprintf(format, args...), errdefs.ErrInvalidArgument)
}

// unbuilt is an Unimplemented error about a field.
func unbuilt(field, why string) error {
	return fmt.Errorf("%s: %s: %w", field, why, errdefs.ErrNotImplemented)
}
