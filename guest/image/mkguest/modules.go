package main

import (
	"bytes"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/porthole-run/porthole/guest/image/cpio"
	"github.com/porthole-run/porthole/guest/image/kernelimage"
	"github.com/porthole-run/porthole/guest/image/modlist"
)

// wanted are the modules that the guest needs, apart from what they depend on.
// Names that the kernel has built in are passed over.
var wanted = map[modlist.Group][]string{
	modlist.Base:   {"crc32c_intel", "ext4", "overlay", "quota_v2", "sd_mod"},
	modlist.Virtio: {"virtio_mmio", "virtio_console", "virtio_scsi", "virtio_net", "virtio_rng", "virtio_balloon"},
	modlist.HyperV: {"hv_vmbus", "hv_utils", "hv_storvsc", "hv_netvsc", "hv_balloon", "hv_sock"},
	modlist.Lazy: {
		"fuse", "virtiofs", "virtio_blk", "virtio_pci", "erofs", "binfmt_misc",
		"vmw_vsock_virtio_transport", "vsock_loopback",
		// What pods do with their own network namespace.
		"tun", "veth", "bridge", "dummy", "8021q",
		"nf_tables", "nft_chain_nat", "nft_compat", "nft_ct", "nft_fib_inet", "nft_limit", "nft_log", "nft_masq", "nft_redir", "nft_reject_inet",
		"iptable_filter", "iptable_mangle", "iptable_nat", "ip6table_filter", "ip6table_mangle", "ip6table_nat",
		"ipt_REJECT", "ip6t_REJECT", "xt_MASQUERADE", "xt_REDIRECT", "xt_addrtype", "xt_comment", "xt_conntrack", "xt_mark",
		"xt_multiport", "xt_nat", "xt_owner", "xt_state", "xt_statistic", "xt_tcpudp",
	},
}

// moduleTree is what a kernel package has of modules.
type moduleTree struct {
	builtin map[string]bool
	files   map[string]string // name to file
	root    string            // /lib/modules/RELEASE of the package
	release string
}

// readModuleTree lists root, the package's lib/modules/RELEASE folder.
func readModuleTree(root, release string) (*moduleTree, error) {
	t := &moduleTree{builtin: map[string]bool{}, files: map[string]string{}, root: root, release: release}
	text, err := os.ReadFile(filepath.Join(root, "modules.builtin"))
	if err != nil {
		return nil, err
	}
	for line := range strings.Lines(string(text)) {
		t.builtin[moduleName(strings.TrimSpace(line))] = true
	}
	err = filepath.WalkDir(root, func(file string, d os.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() && strings.HasSuffix(file, ".ko") {
			t.files[moduleName(file)] = file
		}
		return err
	})
	return t, err
}

// moduleName returns the kernel's name of a module from its file's.
func moduleName(file string) string {
	return strings.ReplaceAll(strings.TrimSuffix(path.Base(filepath.ToSlash(file)), ".ko"), "-", "_")
}

// loadedModule is a module of the plan with its content.
type loadedModule struct {
	modlist.Module
	content []byte
	aliases []string
}

// plan picks the wanted modules and all that they need, in load order. A
// module that two machines' groups need becomes a base module. Dependencies
// are those that modules state themselves; soft ones are not followed, what
// they name is built in or wanted here.
func (t *moduleTree) plan(wanted map[modlist.Group][]string) ([]loadedModule, error) {
	p := &planner{tree: t, loaded: map[string]*loadedModule{}}
	closures := map[modlist.Group][]string{}
	for _, g := range modlist.Groups {
		for _, name := range wanted[g] {
			if t.builtin[name] {
				continue
			}
			var err error
			if closures[g], err = p.closure(name, closures[g], nil); err != nil {
				return nil, fmt.Errorf("%s modules: %w", g, err)
			}
		}
	}
	for _, name := range closures[modlist.Virtio] {
		if slices.Contains(closures[modlist.HyperV], name) && !slices.Contains(closures[modlist.Base], name) {
			closures[modlist.Base] = append(closures[modlist.Base], name)
		}
	}
	var out []loadedModule
	for _, g := range modlist.Groups {
		for _, name := range closures[g] {
			if m := p.loaded[name]; m.Group == "" {
				m.Group = g
				out = append(out, *m)
			}
		}
	}
	return out, nil
}

type planner struct {
	tree   *moduleTree
	loaded map[string]*loadedModule
}

// closure appends name to order, after what it needs. users are the modules
// that led here, to tell a circle.
func (p *planner) closure(name string, order, users []string) ([]string, error) {
	if slices.Contains(users, name) {
		return nil, fmt.Errorf("modules need each other: %s, %s: %w", strings.Join(users, ", "), name, errdefs.ErrInvalidArgument)
	}
	if slices.Contains(order, name) {
		return order, nil
	}
	m, err := p.load(name)
	if err != nil {
		return nil, err
	}
	for _, dep := range m.Deps {
		if order, err = p.closure(dep, order, append(users, name)); err != nil {
			return nil, err
		}
	}
	return append(order, name), nil
}

func (p *planner) load(name string) (*loadedModule, error) {
	if m := p.loaded[name]; m != nil {
		return m, nil
	}
	file := p.tree.files[name]
	if file == "" {
		return nil, fmt.Errorf("the kernel has no module %q, neither built in nor as a file: %w", name, errdefs.ErrNotFound)
	}
	content, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	info, err := kernelimage.ReadModInfo(content)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	if release, _, _ := strings.Cut(info.Vermagic, " "); info.Name != name || release != p.tree.release {
		return nil, fmt.Errorf("%s says it is %s for kernel %s, want %s for %s: %w", file, info.Name, release, name, p.tree.release, errdefs.ErrInvalidArgument)
	}
	rel, err := filepath.Rel(p.tree.root, file)
	if err != nil {
		return nil, err
	}
	// The initrd as a whole is what the manifest's digest vouches for; to check modules one
	// by one costs 0.1 s of a boot under emulation. The kernel notes that it is "tainted"
	// by unsigned modules, and loads them all the same.
	if content, err = kernelimage.Unsigned(content); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	m := &loadedModule{
		Module:  modlist.Module{Name: name, Path: path.Join("/lib/modules", p.tree.release, filepath.ToSlash(rel)), Deps: info.Deps},
		content: content, aliases: info.Aliases,
	}
	p.loaded[name] = m
	return m, nil
}

// moduleEntries are the modules, their list and their aliases as entries of
// the initrd.
func moduleEntries(modules []loadedModule) ([]cpio.Entry, error) {
	var list []modlist.Module
	var aliases, text bytes.Buffer
	var entries []cpio.Entry
	for _, m := range modules {
		list = append(list, m.Module)
		entries = append(entries, fileEntry(m.Path, 0o644, m.content))
		if m.Group != modlist.Lazy {
			continue
		}
		for _, a := range m.aliases {
			fmt.Fprintf(&aliases, "%s %s\n", strings.ReplaceAll(a, "-", "_"), m.Name)
		}
	}
	if err := modlist.Write(&text, list); err != nil {
		return nil, err
	}
	return append(entries,
		fileEntry(modlist.Path, 0o644, text.Bytes()),
		fileEntry(modlist.AliasPath, 0o644, aliases.Bytes())), nil
}

func fileEntry(name string, perm uint32, body []byte) cpio.Entry {
	return cpio.Entry{Name: strings.TrimPrefix(name, "/"), Mode: cpio.TypeFile | perm, Body: body}
}
