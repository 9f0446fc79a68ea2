// Package modlist is the list of kernel modules in a guest's initrd: the
// builder writes it, the agent reads it.
//
// The list is the text file at Path. Each line is one module, four fields
// parted by single spaces:
//
//	GROUP NAME PATH DEPS
//
//	virtio virtio_console /lib/modules/6.1.0-56-cloud-amd64/kernel/drivers/char/virtio_console.ko virtio,virtio_ring
//	lazy fuse /lib/modules/6.1.0-56-cloud-amd64/kernel/fs/fuse/fuse.ko -
//
// GROUP says when the module is loaded, see Group. NAME is the kernel's name,
// with underscores. PATH is absolute and names a plain, uncompressed ELF
// object, fit for finit_module(2). DEPS names the modules that must be there
// first, parted by commas, or is "-". Empty lines and lines that start with
// '#' carry nothing.
//
// The lines are in load order: a module comes after all its dependencies, and
// a virtio module never needs a hyperv one, or the other way round. So at
// boot one loads, in the order of the file, the base modules and those of the
// group that fits the machine. A lazy module is loaded on need, see Closure.
// A kernel that has all built in comes with a list without lines.
//
// The file at AliasPath helps to find lazy modules by what the kernel asks
// for (request_module): lines "PATTERN NAME", with PATTERN as fnmatch(3)
// takes it and '-' written as '_', as modprobe compares them.
package modlist

import (
	"bufio"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"

	"github.com/containerd/errdefs"
)

// Places of the two files in the guest.
const (
	Path      = "/lib/porthole/modules"
	AliasPath = "/lib/porthole/module-aliases"
)

// Group says when a module is loaded.
type Group string

// The groups.
const (
	Base   Group = "base"   // at boot, on every machine
	Virtio Group = "virtio" // at boot, on a machine with virtio devices
	HyperV Group = "hyperv" // at boot, on Hyper-V
	Lazy   Group = "lazy"   // when something needs it
)

// Groups are all groups, in the order of the file.
var Groups = []Group{Base, Virtio, HyperV, Lazy}

// Module is one line of the list.
type Module struct {
	Group Group
	Name  string
	Path  string
	Deps  []string // names, each of a module earlier in the list
}

// maxLine bounds a line; the longest in practice is under 250 bytes.
const maxLine = 4096

// Parse reads a list and checks it: the shape of each line, that no name
// comes twice and that each module comes after its dependencies. Errors are
// of kind InvalidArgument and name the line.
func Parse(r io.Reader) ([]Module, error) {
	var list []Module
	seen := map[string]Group{}
	s := bufio.NewScanner(r)
	s.Buffer(make([]byte, 0, maxLine), maxLine)
	n := 0
	for s.Scan() {
		n++
		line := s.Text()
		if line == "" || line[0] == '#' {
			continue
		}
		m, err := parseLine(line)
		if err == nil {
			err = fits(m, seen)
		}
		if err != nil {
			return nil, fmt.Errorf("module list line %d: %w: %w", n, err, errdefs.ErrInvalidArgument)
		}
		seen[m.Name] = m.Group
		list = append(list, m)
	}
	if err := s.Err(); err != nil {
		return nil, fmt.Errorf("module list line %d: %w: %w", n+1, err, errdefs.ErrInvalidArgument)
	}
	return list, nil
}

func parseLine(line string) (Module, error) {
	f := strings.Split(line, " ")
	if len(f) != 4 {
		return Module{}, fmt.Errorf("want 4 fields parted by single spaces, have %d", len(f))
	}
	m := Module{Group: Group(f[0]), Name: f[1], Path: f[2]}
	if f[3] != "-" {
		m.Deps = strings.Split(f[3], ",")
	}
	return m, nil
}

// fits reports whether m may follow the modules in seen.
func fits(m Module, seen map[string]Group) error {
	if !slices.Contains(Groups, m.Group) {
		return fmt.Errorf("unknown group %q", m.Group)
	}
	if !isName(m.Name) {
		return fmt.Errorf("%q is not a module name", m.Name)
	}
	if !path.IsAbs(m.Path) || path.Clean(m.Path) != m.Path || strings.ContainsAny(m.Path, " \t\r\n") {
		return fmt.Errorf("%q is not a clean absolute path", m.Path)
	}
	if _, twice := seen[m.Name]; twice {
		return fmt.Errorf("module %q is listed twice", m.Name)
	}
	for _, d := range m.Deps {
		g, ok := seen[d]
		if !ok {
			return fmt.Errorf("module %q needs %q, which is not listed before it", m.Name, d)
		}
		if m.Group != Lazy && g != Base && g != m.Group {
			return fmt.Errorf("module %q of group %s needs %q of group %s", m.Name, m.Group, d, g)
		}
	}
	return nil
}

func isName(s string) bool {
	ok := func(r rune) bool {
		return r == '_' || '0' <= r && r <= '9' || 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z'
	}
	return s != "" && !strings.ContainsFunc(s, func(r rune) bool { return !ok(r) })
}

// Write writes the list as Parse reads it. A list that Parse would refuse is
// an InvalidArgument error; part of it may have been written.
func Write(w io.Writer, list []Module) error {
	seen := map[string]Group{}
	for _, m := range list {
		if err := fits(m, seen); err != nil {
			return fmt.Errorf("write module list: %w: %w", err, errdefs.ErrInvalidArgument)
		}
		seen[m.Name] = m.Group
		deps := strings.Join(m.Deps, ",")
		if deps == "" {
			deps = "-"
		}
		if _, err := fmt.Fprintf(w, "%s %s %s %s\n", m.Group, m.Name, m.Path, deps); err != nil {
			return fmt.Errorf("write module list: %w", err)
		}
	}
	return nil
}

// Closure returns the module of the given name and all that it needs, in
// load order, from a list as Parse returns it. Dashes in the name count as
// underscores. A name that is not listed is a NotFound error: the module is
// built into the kernel, or not there at all.
func Closure(list []Module, name string) ([]Module, error) {
	name = strings.ReplaceAll(name, "-", "_")
	want := map[string]bool{name: true}
	var out []Module
	// Dependencies come before their users, so one pass from the end finds all.
	for i := len(list) - 1; i >= 0; i-- {
		if m := list[i]; want[m.Name] {
			out = append(out, m)
			for _, d := range m.Deps {
				want[d] = true
			}
		}
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("module %q: %w", name, errdefs.ErrNotFound)
	}
	slices.Reverse(out)
	return out, nil
}
