package cri

import (
	"cmp"
	"path/filepath"
	"strings"
	"time"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/porthole-run/porthole/sandbox"
)

// containerConfig checks what is asked of a container and converts it; see podConfig.
func containerConfig(c *runtimeapi.ContainerConfig, pod sandbox.PodConfig) (sandbox.ContainerConfig, error) {
	none := sandbox.ContainerConfig{}
	if c == nil {
		return none, invalid("config", "is missing")
	}
	if c.GetMetadata() == nil {
		return none, invalid("config.metadata", "is missing")
	}
	if err := firstError(
		checkName("config.metadata.name", c.GetMetadata().GetName()),
		checkImageRef("config.image.image", c.GetImage().GetImage()),
		checkArgs("config.command", c.GetCommand()),
		checkArgs("config.args", c.GetArgs()),
		checkGuestPath("config.working_dir", c.GetWorkingDir()),
		checkMap("config.labels", c.GetLabels()),
		checkMap("config.annotations", c.GetAnnotations()),
		checkLogPath(c.GetLogPath(), pod.LogDirectory),
		checkNoCDI(c),
		checkEmptyWindows("config.windows", c.GetWindows()),
	); err != nil {
		return none, err
	}
	if c.GetStdinOnce() && !c.GetStdin() {
		return none, invalid("config.stdin_once", "is set though stdin is not")
	}
	env, err := envVars(c.GetEnvs())
	if err != nil {
		return none, err
	}
	volumes, err := mounts(c.GetMounts())
	if err != nil {
		return none, err
	}
	given, err := devices(c.GetDevices())
	if err != nil {
		return none, err
	}
	stop, err := signalName("config.stop_signal", c.GetStopSignal())
	if err != nil {
		return none, err
	}
	out := sandbox.ContainerConfig{
		Name: c.GetMetadata().GetName(), Attempt: c.GetMetadata().GetAttempt(),
		Image: c.GetImage().GetImage(), UserImage: c.GetImage().GetUserSpecifiedImage(),
		Command: c.GetCommand(), Args: c.GetArgs(), WorkingDir: c.GetWorkingDir(), Env: env,
		Labels: c.GetLabels(), Annotations: c.GetAnnotations(), LogPath: c.GetLogPath(),
		Stdin: c.GetStdin(), StdinOnce: c.GetStdinOnce(), TTY: c.GetTty(), StopSignal: stop, Mounts: volumes, Devices: given,
	}
	return out, containerLinux(c.GetLinux(), pod, &out)
}

func containerLinux(l *runtimeapi.LinuxContainerConfig, pod sandbox.PodConfig, out *sandbox.ContainerConfig) error {
	const at = "config.linux"
	var err error
	if out.Resources, err = resources(at+".resources", l.GetResources()); err != nil {
		return err
	}
	sc := l.GetSecurityContext()
	field := at + ".security_context"
	if out.Namespaces, err = namespaces(field+".namespace_options", sc.GetNamespaceOptions()); err != nil {
		return err
	}
	if sc.GetPrivileged() && !pod.Privileged {
		return invalid(field+".privileged", "is set though the pod sandbox is not privileged")
	}
	//lint:ignore SA1019 a field that old callers set must not be passed over in silence
	if err := checkLegacySeccomp(field, sc.GetSeccompProfilePath()); err != nil {
		return err
	}
	//lint:ignore SA1019 as above
	if p := sc.GetApparmorProfile(); p != "" && p != "unconfined" {
		return unbuilt(field+".apparmor_profile", "the guest has no AppArmor")
	}
	caps := sc.GetCapabilities()
	if err := firstError(
		checkList(field+".capabilities.add_capabilities", caps.GetAddCapabilities(), maxListItems),
		checkList(field+".capabilities.drop_capabilities", caps.GetDropCapabilities(), maxListItems),
		checkList(field+".capabilities.add_ambient_capabilities", caps.GetAddAmbientCapabilities(), maxListItems),
		checkGuestPaths(field+".masked_paths", sc.GetMaskedPaths()),
		checkGuestPaths(field+".readonly_paths", sc.GetReadonlyPaths()),
	); err != nil {
		return err
	}
	s, err := security(field, securityFields{
		privileged: sc.GetPrivileged(), user: sc.GetRunAsUser(), group: sc.GetRunAsGroup(), username: sc.GetRunAsUsername(),
		groups: sc.GetSupplementalGroups(), policy: sc.GetSupplementalGroupsPolicy(),
		readonlyRootfs: sc.GetReadonlyRootfs(), selinux: sc.GetSelinuxOptions(),
		seccomp: sc.GetSeccomp(), apparmor: sc.GetApparmor(),
	})
	if err != nil {
		return err
	}
	s.NoNewPrivs = sc.GetNoNewPrivs()
	s.AddCapabilities = caps.GetAddCapabilities()
	s.DropCapabilities = caps.GetDropCapabilities()
	s.AddAmbientCaps = caps.GetAddAmbientCapabilities()
	s.MaskedPaths = sc.GetMaskedPaths()
	s.ReadonlyPaths = sc.GetReadonlyPaths()
	out.Security = s
	return nil
}

// checkLogPath keeps the log below the pod's log directory.
func checkLogPath(p, dir string) error {
	const field = "config.log_path"
	if p == "" {
		return nil
	}
	if len(p) > maxPath {
		return invalid(field, "is longer than %d bytes", maxPath)
	}
	if !filepath.IsLocal(p) {
		return invalid(field, "%q leads out of the pod's log_directory", p)
	}
	if filepath.Clean(p) == "." || strings.HasSuffix(p, "/") {
		return invalid(field, "%q is a folder's name, not a file's", p)
	}
	if dir == "" {
		return invalid(field, "is set though the pod sandbox has no log_directory")
	}
	return checkText(field, p)
}

func envVars(in []*runtimeapi.KeyValue) ([]sandbox.EnvVar, error) {
	if len(in) > maxArgs {
		return nil, invalid("config.envs", "has %d entries, at most %d are taken", len(in), maxArgs)
	}
	var out []sandbox.EnvVar
	total := 0
	for _, kv := range in {
		k, v := kv.GetKey(), string(kv.GetValue())
		if k == "" || strings.ContainsRune(k, '=') {
			return nil, invalid("config.envs", "%q is not a variable's name", clean(k, maxMapKey))
		}
		if err := firstError(checkText("config.envs", k), checkText("config.envs["+clean(k, maxMapKey)+"]", v)); err != nil {
			return nil, err
		}
		total += len(k) + len(v) + 2
		out = append(out, sandbox.EnvVar{Name: k, Value: v})
	}
	if total > maxArgBytes {
		return nil, invalid("config.envs", "holds %d bytes, at most %d are taken", total, maxArgBytes)
	}
	return out, nil
}

// containerStatus is the answer's form of a container.
func containerStatus(c sandbox.Container) *runtimeapi.ContainerStatus {
	st := &runtimeapi.ContainerStatus{
		Id:          c.ID,
		Metadata:    &runtimeapi.ContainerMetadata{Name: c.Config.Name, Attempt: c.Config.Attempt},
		State:       containerState(c.Phase),
		CreatedAt:   nanos(c.CreatedAt),
		StartedAt:   nanos(c.StartedAt),
		FinishedAt:  nanos(c.FinishedAt),
		ExitCode:    int32(c.ExitCode),
		Image:       imageSpec(&c),
		ImageRef:    c.ImageID,
		ImageId:     c.ImageID,
		Reason:      clean(c.Reason, maxName),
		Message:     clean(c.Message, maxErrorText),
		Labels:      c.Config.Labels,
		Annotations: c.Config.Annotations,
		LogPath:     c.LogPath,
		Resources:   &runtimeapi.ContainerResources{Linux: linuxResources(c.Config.Resources)},
		StopSignal:  signalEnum(c.StopSignal),
	}
	for _, m := range c.Config.Mounts {
		st.Mounts = append(st.Mounts, mountStatus(m))
	}
	user := &runtimeapi.LinuxContainerUser{Uid: int64(c.User.UID), Gid: int64(c.User.GID)}
	for _, g := range c.User.AdditionalGIDs {
		user.SupplementalGroups = append(user.SupplementalGroups, int64(g))
	}
	st.User = &runtimeapi.ContainerUser{Linux: user}
	return st
}

// containerItem is a container in a list. Nothing of it but the state changes while there
// is the container.
func containerItem(c *sandbox.Container, state runtimeapi.ContainerState) *runtimeapi.Container {
	return &runtimeapi.Container{
		Id: c.ID, PodSandboxId: c.PodID,
		Metadata: &runtimeapi.ContainerMetadata{Name: c.Config.Name, Attempt: c.Config.Attempt},
		Image:    imageSpec(c), ImageRef: c.ImageID, ImageId: c.ImageID,
		State: state, CreatedAt: nanos(c.CreatedAt),
		Labels: c.Config.Labels, Annotations: c.Config.Annotations,
	}
}

// containerAttributes is a container in a list of figures. Nothing of it changes while
// there is the container.
func containerAttributes(c *sandbox.Container) *runtimeapi.ContainerAttributes {
	return &runtimeapi.ContainerAttributes{
		Id:       c.ID,
		Metadata: &runtimeapi.ContainerMetadata{Name: c.Config.Name, Attempt: c.Config.Attempt},
		Labels:   c.Config.Labels, Annotations: c.Config.Annotations,
	}
}

// imageSpec shows the image as it was asked for.
func imageSpec(c *sandbox.Container) *runtimeapi.ImageSpec {
	return &runtimeapi.ImageSpec{Image: imageName(c), UserSpecifiedImage: c.Config.UserImage}
}

// imageName is the name that the image's user wrote, when told.
func imageName(c *sandbox.Container) string {
	return cmp.Or(c.Config.UserImage, c.Config.Image)
}

// nanos is 0 for a time that has not come.
func nanos(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixNano()
}
