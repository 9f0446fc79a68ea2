package ocispec

import (
	_ "embed" // the default profile
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"sync"

	"github.com/moby/profiles/seccomp"
	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/porthole-run/porthole/sandbox"
)

// defaultProfileJSON is the default profile of github.com/moby/profiles, which that module
// has as Go code for Linux hosts only. A test keeps the two equal; -update writes it.
//
//go:embed seccomp_default.json
var defaultProfileJSON []byte

var defaultProfile = sync.OnceValues(func() (*seccomp.Seccomp, error) {
	return parseProfile(defaultProfileJSON)
})

// maxProfile bounds a profile's file, in bytes; the default profile has 20 kB.
const maxProfile = 1 << 20

// guestKernel is the oldest kernel that the guest may have. Rules for newer ones are
// left out.
var guestKernel = seccomp.KernelVersion{Kernel: 6, Major: 1}

// seccomp is the filter that the profile selects; nil for none.
func (g *Generator) seccomp(p sandbox.SeccompProfile, caps []string) (*specs.LinuxSeccomp, error) {
	const field = "security.seccomp"
	switch p.Type {
	case "", sandbox.SeccompUnconfined:
		return nil, nil
	case sandbox.SeccompRuntimeDefault:
		profile, err := defaultProfile()
		if err != nil {
			return nil, fmt.Errorf("read the default seccomp profile: %w", err)
		}
		return g.resolve(profile, caps)
	case sandbox.SeccompLocalhost:
		data, err := readBounded(p.LocalhostPath)
		if err != nil {
			return nil, invalid(field+".localhostPath", "%v", err)
		}
		profile, err := parseProfile(data)
		if err != nil {
			return nil, invalid(field+".localhostPath", "%s: %v", p.LocalhostPath, err)
		}
		s, err := g.resolve(profile, caps)
		if err != nil {
			return nil, invalid(field+".localhostPath", "%s: %v", p.LocalhostPath, err)
		}
		return s, nil
	}
	return nil, invalid(field+".type", "%q is not known", p.Type)
}

func readBounded(path string) ([]byte, error) {
	if path == "" {
		return nil, errors.New("is empty")
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxProfile+1))
	if err == nil && len(data) > maxProfile {
		err = fmt.Errorf("%s is larger than %d bytes", path, maxProfile)
	}
	return data, err
}

func parseProfile(data []byte) (*seccomp.Seccomp, error) {
	var p seccomp.Seccomp
	if err := json.Unmarshal(data, &p); err != nil {
		return nil, err
	}
	switch {
	case p.DefaultAction == "":
		return nil, errors.New("defaultAction is not set")
	case len(p.Architectures) > 0 && len(p.ArchMap) > 0:
		return nil, errors.New("architectures and archMap are both set")
	case p.ListenerPath != "":
		return nil, errors.New("listenerPath is set, and nothing in the guest listens there")
	}
	for i, c := range p.Syscalls {
		if c == nil {
			return nil, fmt.Errorf("syscalls[%d] is null", i)
		}
		//lint:ignore SA1019 localhost profiles of old still use it
		if c.Name != "" && len(c.Names) > 0 {
			return nil, fmt.Errorf("syscalls[%d]: name and names are both set", i)
		}
	}
	return &p, nil
}

// resolve makes a filter of a profile: it keeps the rules whose conditions hold in the
// guest. The profile is not changed.
func (g *Generator) resolve(p *seccomp.Seccomp, caps []string) (*specs.LinuxSeccomp, error) {
	out := p.LinuxSeccomp
	out.Syscalls = nil
	out.Architectures = slices.Clone(p.Architectures)
	if native, ok := nativeArch[g.arch]; ok {
		for _, a := range p.ArchMap {
			if a.Arch == native {
				out.Architectures = append(append(out.Architectures, a.Arch), a.SubArches...)
			}
		}
	} else if len(p.ArchMap) > 0 {
		return nil, fmt.Errorf("architecture %s is not known", g.arch)
	}
	for _, c := range p.Syscalls {
		if !g.included(c.Includes, caps) || g.excluded(c.Excludes, caps) {
			continue
		}
		rule := c.LinuxSyscall
		//lint:ignore SA1019 localhost profiles of old still use it
		if c.Name != "" {
			//lint:ignore SA1019 as above
			rule.Names = []string{c.Name}
		}
		out.Syscalls = append(out.Syscalls, rule)
	}
	return &out, nil
}

// included reports whether all conditions hold.
func (g *Generator) included(f *seccomp.Filter, caps []string) bool {
	if f == nil {
		return true
	}
	if len(f.Arches) > 0 && !slices.Contains(f.Arches, g.arch) {
		return false
	}
	for _, c := range f.Caps {
		if !slices.Contains(caps, c) {
			return false
		}
	}
	return f.MinKernel == nil || guestHas(*f.MinKernel)
}

// excluded reports whether any condition holds.
func (g *Generator) excluded(f *seccomp.Filter, caps []string) bool {
	if f == nil {
		return false
	}
	return slices.Contains(f.Arches, g.arch) ||
		slices.ContainsFunc(f.Caps, func(c string) bool { return slices.Contains(caps, c) }) ||
		f.MinKernel != nil && guestHas(*f.MinKernel)
}

func guestHas(v seccomp.KernelVersion) bool {
	return guestKernel.Kernel > v.Kernel || guestKernel.Kernel == v.Kernel && guestKernel.Major >= v.Major
}

// nativeArch is seccomp's name of an architecture, by Go's name.
var nativeArch = map[string]specs.Arch{
	"amd64": specs.ArchX86_64,
	"arm64": specs.ArchAARCH64,
}
