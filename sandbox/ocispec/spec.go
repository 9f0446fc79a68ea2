package ocispec

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"strings"

	"github.com/containerd/errdefs"
	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/porthole-run/porthole/sandbox"
)

// Generator makes OCI specs. Use New.
type Generator struct {
	arch string // immutable; Go's name of the guest's architecture
}

var _ sandbox.Specs = (*Generator)(nil)

// New makes a Generator for guests of an architecture, by Go's name: "amd64".
func New(arch string) *Generator { return &Generator{arch: arch} }

// Spec implements sandbox.Specs. Errors are InvalidArgument and name the field.
func (g *Generator) Spec(_ context.Context, p sandbox.PodConfig, c sandbox.ContainerConfig, img sandbox.ImageConfig) (*specs.Spec, sandbox.User, error) {
	none := sandbox.User{}
	sec := c.Security
	if sec.Privileged && !p.Privileged && !p.Security.Privileged {
		return nil, none, invalid("security.privileged", "is set, but the pod sandbox is not privileged")
	}
	args, err := arguments(c, img)
	if err != nil {
		return nil, none, err
	}
	env, err := environment(p, c, img)
	if err != nil {
		return nil, none, err
	}
	cwd, err := workingDir(c, img)
	if err != nil {
		return nil, none, err
	}
	user, err := userOf(p.Security, sec, img)
	if err != nil {
		return nil, none, err
	}
	caps, err := capabilities(sec)
	if err != nil {
		return nil, none, err
	}
	if err := errors.Join(c.Resources.Validate("resources"), absolute("security.maskedPaths", sec.MaskedPaths),
		absolute("security.readonlyPaths", sec.ReadonlyPaths)); err != nil {
		return nil, none, err
	}
	oomScoreAdj := int(c.Resources.OOMScoreAdj)
	s := &specs.Spec{
		Version: ociVersion,
		Root:    &specs.Root{Path: "rootfs", Readonly: sec.ReadOnlyRootFS},
		Process: &specs.Process{
			Terminal:        c.TTY,
			Args:            args,
			Env:             env,
			Cwd:             cwd,
			Capabilities:    caps,
			NoNewPrivileges: sec.NoNewPrivs,
			OOMScoreAdj:     &oomScoreAdj,
		},
		Mounts:      mounts(sec.Privileged),
		Annotations: annotations(p, c, img),
		Linux: &specs.Linux{
			Namespaces: namespaces(sec.Privileged),
			Resources:  g.Limits(c.Resources),
		},
	}
	s.Linux.Resources.Devices = devices(sec.Privileged)
	if err := addDevices(s.Linux, c.Devices); err != nil {
		return nil, none, err
	}
	if !sec.Privileged {
		s.Linux.MaskedPaths = sec.MaskedPaths
		s.Linux.ReadonlyPaths = sec.ReadonlyPaths
		if s.Linux.Seccomp, err = g.seccomp(sec.Seccomp, caps.Bounding); err != nil {
			return nil, none, err
		}
	}
	return s, user, nil
}

// ociVersion is what the spec says it follows. Nothing newer is used, and crun 1.8 (that
// of Debian 12) takes no other versions than 1.0.x.
const ociVersion = "1.0.2"

func invalid(field, format string, args ...any) error {
	return fmt.Errorf("%s: %s: %w", field, fmt.Sprintf(format, args...), errdefs.ErrInvalidArgument)
}

func absolute(field string, paths []string) error {
	for i, p := range paths {
		if !path.IsAbs(p) {
			return invalid(fmt.Sprintf("%s[%d]", field, i), "%q is not an absolute path", p)
		}
	}
	return nil
}

// arguments is the process's command line as Kubernetes has it: a command replaces
// the image's entrypoint and its cmd, args replace its cmd alone.
func arguments(c sandbox.ContainerConfig, img sandbox.ImageConfig) ([]string, error) {
	command, args := c.Command, c.Args
	if len(command) == 0 {
		command = img.Entrypoint
		if len(args) == 0 {
			args = img.Cmd
		}
	}
	all := append(append(make([]string, 0, len(command)+len(args)), command...), args...)
	if len(all) == 0 {
		return nil, invalid("command", "is not given, and image %s has neither entrypoint nor cmd", c.Image)
	}
	for i, a := range all {
		if strings.ContainsRune(a, 0) {
			return nil, invalid(fmt.Sprintf("command[%d]", i), "holds a NUL byte")
		}
	}
	if all[0] == "" {
		return nil, invalid("command", "the program's name is empty")
	}
	return all, nil
}

const defaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// environment is the defaults, then the image's variables, then the caller's; later
// ones win and keep the place of the first.
func environment(p sandbox.PodConfig, c sandbox.ContainerConfig, img sandbox.ImageConfig) ([]string, error) {
	var env []string
	at := make(map[string]int)
	set := func(name, value string) {
		if i, ok := at[name]; ok {
			env[i] = name + "=" + value
			return
		}
		at[name] = len(env)
		env = append(env, name+"="+value)
	}
	set("PATH", defaultPath)
	set("HOSTNAME", p.GuestHostname())
	if c.TTY {
		set("TERM", "xterm")
	}
	for _, e := range img.Env {
		// What is no assignment has no meaning; images with such run elsewhere.
		if name, value, ok := strings.Cut(e, "="); ok && name != "" && !strings.ContainsRune(e, 0) {
			set(name, value)
		}
	}
	for i, e := range c.Env {
		if e.Name == "" || strings.ContainsAny(e.Name, "=\x00") {
			return nil, invalid(fmt.Sprintf("env[%d].name", i), "%q is not the name of a variable", e.Name)
		}
		if strings.ContainsRune(e.Value, 0) {
			return nil, invalid(fmt.Sprintf("env[%d].value", i), "%s holds a NUL byte", e.Name)
		}
		set(e.Name, e.Value)
	}
	return env, nil
}

func workingDir(c sandbox.ContainerConfig, img sandbox.ImageConfig) (string, error) {
	if c.WorkingDir != "" {
		return path.Clean(c.WorkingDir), absolute("workingDir", []string{c.WorkingDir})
	}
	return path.Join("/", img.WorkingDir), nil
}

// foldersAnnotation has the agent make folders in the root file system (docs/wire.md).
const foldersAnnotation = "run.porthole.folders"

// changesRuntime tells whether an annotation changes what the guest's OCI runtime or its
// agent does: such are not for callers of CRI to set.
func changesRuntime(name string) bool {
	return strings.HasPrefix(name, "run.oci.") || name == foldersAnnotation
}

// annotations are the container's, those that tools know CRI containers by, and what the
// agent is told of the image.
func annotations(p sandbox.PodConfig, c sandbox.ContainerConfig, img sandbox.ImageConfig) map[string]string {
	const prefix = "io.kubernetes.cri."
	a := make(map[string]string, len(c.Annotations)+7)
	for k, v := range c.Annotations {
		if !changesRuntime(k) {
			a[k] = v
		}
	}
	a[prefix+"container-type"] = "container"
	a[prefix+"container-name"] = c.Name
	a[prefix+"sandbox-name"] = p.Name
	a[prefix+"sandbox-namespace"] = p.Namespace
	a[prefix+"sandbox-uid"] = p.UID
	image := c.UserImage
	if image == "" {
		image = c.Image
	}
	a[prefix+"image-name"] = image
	if folders := volumes(img); len(folders) > 0 {
		b, _ := json.Marshal(folders) // of strings: never an error
		a[foldersAnnotation] = string(b)
	}
	return a
}

// volumes are the folders that the image calls its volumes. What is no path has no meaning;
// images with such run elsewhere.
func volumes(img sandbox.ImageConfig) (folders []string) {
	for _, v := range img.Volumes {
		if dir := path.Join("/", v); dir != "/" && !strings.ContainsRune(v, 0) {
			folders = append(folders, dir)
		}
	}
	return folders
}

// namespaces lists the kinds; the agent fills in the paths of those that the pod has.
func namespaces(privileged bool) []specs.LinuxNamespace {
	ns := []specs.LinuxNamespace{
		{Type: specs.PIDNamespace}, {Type: specs.IPCNamespace}, {Type: specs.UTSNamespace},
		{Type: specs.MountNamespace}, {Type: specs.NetworkNamespace},
	}
	if !privileged {
		ns = append(ns, specs.LinuxNamespace{Type: specs.CgroupNamespace})
	}
	return ns
}

// mounts are those of every container.
func mounts(privileged bool) []specs.Mount {
	access := "ro"
	if privileged {
		access = "rw"
	}
	return []specs.Mount{
		{Destination: "/proc", Type: "proc", Source: "proc", Options: []string{"nosuid", "noexec", "nodev"}},
		{Destination: "/dev", Type: "tmpfs", Source: "tmpfs", Options: []string{"nosuid", "strictatime", "mode=755", "size=65536k"}},
		{Destination: "/dev/pts", Type: "devpts", Source: "devpts",
			Options: []string{"nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"}},
		{Destination: "/dev/mqueue", Type: "mqueue", Source: "mqueue", Options: []string{"nosuid", "noexec", "nodev"}},
		{Destination: "/sys", Type: "sysfs", Source: "sysfs", Options: []string{"nosuid", "noexec", "nodev", access}},
		{Destination: "/sys/fs/cgroup", Type: "cgroup", Source: "cgroup",
			Options: []string{"nosuid", "noexec", "nodev", "relatime", access}},
	}
}
