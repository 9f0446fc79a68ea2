//go:build linux

package agent

import (
	"encoding/json"
	"maps"
	"path"
	"slices"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/porthole-run/porthole/guest/agent/podns"
	"github.com/porthole-run/porthole/guest/api"
	"github.com/porthole-run/porthole/internal/account"
)

// parseSpec reads the OCI spec of a request and checks what the agent builds on.
func parseSpec(b []byte) (*specs.Spec, error) {
	var s specs.Spec
	if err := json.Unmarshal(b, &s); err != nil {
		return nil, invalid("spec: %v", err)
	}
	switch {
	case s.Process == nil:
		return nil, invalid("spec has no process")
	case len(s.Process.Args) == 0 || s.Process.Args[0] == "":
		return nil, invalid("spec has no command")
	case len(s.Process.Args) > maxArgs:
		return nil, invalid("spec has %d arguments, more than %d", len(s.Process.Args), maxArgs)
	case s.Linux == nil:
		return nil, invalid("spec has no linux part")
	}
	if s.Process.Cwd == "" {
		s.Process.Cwd = "/"
	}
	if !path.IsAbs(s.Process.Cwd) {
		return nil, invalid("working directory %q is not absolute", s.Process.Cwd)
	}
	return &s, nil
}

// foldersOf are those that a spec asks for, which is not to pass that on.
func foldersOf(s *specs.Spec) (folders []string, err error) {
	text, ok := s.Annotations[api.FoldersAnnotation]
	if !ok {
		return nil, nil
	}
	delete(s.Annotations, api.FoldersAnnotation)
	if err := json.Unmarshal([]byte(text), &folders); err != nil {
		return nil, invalid("annotation %s: %v", api.FoldersAnnotation, err)
	}
	if len(folders) > maxFolders {
		return nil, invalid("annotation %s has %d folders, more than %d", api.FoldersAnnotation, len(folders), maxFolders)
	}
	return folders, nil
}

// maxFolders is how many folders a spec may ask for.
const maxFolders = 1024

// place is where a container is put.
type place struct {
	root     string // path of the root file system
	cgroup   string
	pausePID int
	pidOf    int          // a process in the PID namespace to join; 0: one of its own
	users    *podns.Users // nil: the VM's
	terminal bool
	width    uint32
	height   uint32
	files    map[string]string // the pod's name files: path in the container → path in the guest
	shm      string            // the pod's shared memory
	mounts   []specs.Mount     // those asked for
	user     account.Identity
}

// complete writes into a spec what only the guest knows.
func complete(s *specs.Spec, p place) {
	readonly := s.Root != nil && s.Root.Readonly
	s.Root = &specs.Root{Path: p.root, Readonly: readonly}
	s.Hostname, s.Domainname = "", "" // of the pod's namespace
	s.Linux.CgroupsPath = p.cgroup
	s.Linux.Namespaces = namespaces(s.Linux.Namespaces, p)
	joinUsers(s.Linux, p.pausePID, p.users)
	completeProcess(s.Process, p)

	s.Mounts = mountsOf(s, p)
}

// mountsOf is what is mounted: what the spec has for every container, then the pod's own
// and what was asked for, those nearer to the root first. A mount that was asked for
// takes the place of the others at its path, and /dev also of those below.
func mountsOf(s *specs.Spec, p place) []specs.Mount {
	asked := map[string]bool{}
	for _, m := range p.mounts {
		asked[m.Destination] = true
	}
	own := maps.Clone(asked)
	var base []specs.Mount
	for _, m := range s.Mounts {
		dst := path.Clean(m.Destination)
		if dst == "/dev/shm" && m.Type == "tmpfs" { // a default one, not the pod's
			continue
		}
		own[dst] = true
		if !asked[dst] && !(asked["/dev"] && strings.HasPrefix(dst, "/dev/")) {
			base = append(base, m)
		}
	}
	var above []specs.Mount
	if !own["/dev/shm"] {
		above = append(above, specs.Mount{Destination: "/dev/shm", Type: "bind", Source: p.shm, Options: []string{"rbind", "rprivate", "nosuid", "nodev", "noexec", "rw"}})
	}
	access := "rw"
	if s.Root.Readonly {
		access = "ro"
	}
	for _, dst := range slices.Sorted(maps.Keys(p.files)) {
		if !own[dst] {
			above = append(above, specs.Mount{Destination: dst, Type: "bind", Source: p.files[dst], Options: []string{"rbind", "rprivate", access}})
		}
	}
	above = append(above, p.mounts...)
	slices.SortStableFunc(above, func(a, b specs.Mount) int {
		return strings.Count(a.Destination, "/") - strings.Count(b.Destination, "/")
	})
	return append(base, above...)
}

// completeProcess sets who the process is.
func completeProcess(pr *specs.Process, p place) {
	pr.User.UID, pr.User.GID, pr.User.Username = p.user.UID, p.user.GID, ""
	pr.User.AdditionalGids = p.user.Groups
	if !slices.ContainsFunc(pr.Env, func(e string) bool { return strings.HasPrefix(e, "HOME=") }) {
		pr.Env = append(pr.Env, "HOME="+p.user.Home)
	}
	pr.Terminal = p.terminal
	pr.ConsoleSize = nil
	if p.terminal && p.width > 0 && p.height > 0 {
		pr.ConsoleSize = &specs.Box{Width: uint(p.width), Height: uint(p.height)}
	}
}

// namespaces makes the container join the pod's, and keeps the other kinds.
func namespaces(in []specs.LinuxNamespace, p place) []specs.LinuxNamespace {
	pod := []specs.LinuxNamespace{
		{Type: specs.NetworkNamespace, Path: podns.Path(p.pausePID, "net")},
		{Type: specs.IPCNamespace, Path: podns.Path(p.pausePID, "ipc")},
		{Type: specs.UTSNamespace, Path: podns.Path(p.pausePID, "uts")},
		{Type: specs.MountNamespace},
		{Type: specs.PIDNamespace},
	}
	if p.pidOf != 0 {
		pod[4].Path = podns.Path(p.pidOf, "pid")
	}
	for _, ns := range in {
		if !slices.ContainsFunc(pod, func(o specs.LinuxNamespace) bool { return o.Type == ns.Type }) {
			pod = append(pod, ns)
		}
	}
	return pod
}
