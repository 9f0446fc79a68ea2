package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/porthole-run/porthole/guest/image"
	"github.com/porthole-run/porthole/guest/image/cpio"
)

// builder makes one bundle.
type builder struct {
	opts   options
	log    *console
	cache  *cache
	apt    *archive
	source *source
}

// part is one line of the manifest, with its content if it is a file.
type part struct {
	image.Part
	content []byte
}

func newPart(p image.Part, content []byte) part {
	if content != nil {
		p.SHA256, p.Size = digestOfBytes(content), int64(len(content))
	}
	return part{p, content}
}

// debianPart is a part that a package of Debian's is or was made into. An
// empty path and nil content say that it is linked into others.
func debianPart(name, path string, content []byte, f fetched) part {
	return newPart(image.Part{
		Name: name, Path: path, Version: f.Version, Source: f.String(), SourceSHA256: f.SHA256, Pinned: f.pinned,
	}, content)
}

// build makes all parts and the bundle of them.
func (b *builder) build(ctx context.Context, agent part) error {
	if err := b.needTools(ctx, unpackTools); err != nil {
		return err
	}
	k, err := b.kernel(ctx)
	if err != nil {
		return err
	}
	if err := b.needTools(ctx, compileTools); err != nil {
		return err
	}
	libs, sysroot, err := b.sysroot(ctx)
	if err != nil {
		return err
	}
	programs, err := b.programs(ctx, sysroot, libs)
	if err != nil {
		return err
	}
	files := append([]part{agent}, programs...)
	entries, err := initrdEntries(files, k.modules)
	if err != nil {
		return err
	}
	var initrd bytes.Buffer
	if err := cpio.Write(&initrd, entries); err != nil {
		return err
	}
	m := image.Manifest{
		Version: image.ManifestVersion,
		Kernel:  image.Kernel{Flavour: b.opts.kernel, Release: k.release, ConfigSHA256: k.config, Modules: len(k.modules), Quotas: k.quotas},
	}
	for _, p := range append(append([]part{k.vmlinux}, files...), libs...) {
		m.Parts = append(m.Parts, p.Part)
	}
	return b.log.step("write "+b.opts.out, func() error {
		return writeBundle(b.opts.out, m, k.vmlinux.content, initrd.Bytes())
	})
}

// sysroot unpacks the C library and the other libraries, and their headers,
// into one folder to compile against.
func (b *builder) sysroot(ctx context.Context) (libs []part, dir string, err error) {
	inputs := []string{"2"}
	var debs []string
	for _, w := range wantLibs {
		f, err := b.source.get(ctx, w)
		if err != nil {
			return nil, "", err
		}
		inputs, debs = append(inputs, f.SHA256), append(debs, f.path)
		libs = append(libs, debianPart(w.role, "", nil, f))
	}
	dir, err = b.cache.get(ctx, "unpack/sysroot", key(inputs...), func(ctx context.Context, _, out string) error {
		for _, deb := range debs {
			if err := (command{args: []string{"dpkg-deb", "-x", deb, out}}).run(ctx); err != nil {
				return err
			}
		}
		// The static archive has a name of its own; -lyajl is what its users ask for.
		return os.Symlink("libyajl_s.a", filepath.Join(out, "usr/lib/x86_64-linux-gnu/libyajl.a"))
	})
	return libs, dir, err
}

// programs builds all that the initrd has besides the agent.
func (b *builder) programs(ctx context.Context, sysroot string, libs []part) ([]part, error) {
	// The libraries are inputs of what is linked with them.
	linked := make([]string, 0, len(libs))
	for _, l := range libs {
		linked = append(linked, l.SourceSHA256)
	}
	var out []part
	for _, build := range []struct {
		want  want
		paths []string
	}{
		{wantCrun, []string{"/bin/crun"}},
		{wantE2fsprogs, []string{"/sbin/mke2fs", "/sbin/resize2fs"}},
	} {
		f, err := b.source.get(ctx, build.want)
		if err != nil {
			return nil, err
		}
		r, err := b.recipe(ctx, build.want.role, append(linked, f.SHA256)...)
		if err != nil {
			return nil, err
		}
		r.env = []string{"SYSROOT=" + sysroot, "VERSION=" + f.Version}
		dir, err := r.build(ctx, func(ctx context.Context, work string) (string, error) {
			src := filepath.Join(work, "src")
			// apt has checked the .dsc file against the signed index; dpkg-source
			// checks the archives against the .dsc file.
			return src, command{dir: work, args: []string{"dpkg-source", "--no-check", "-x", f.path, src}}.run(ctx)
		})
		if err != nil {
			return nil, err
		}
		for _, path := range build.paths {
			content, err := os.ReadFile(filepath.Join(dir, filepath.Base(path)))
			if err != nil {
				return nil, err
			}
			out = append(out, debianPart(filepath.Base(path), path, content, f))
		}
	}
	for _, name := range []string{"pause", "relay"} {
		p, err := b.ownProgram(ctx, name, sysroot, linked)
		if err != nil {
			return nil, err
		}
		out = append(out, p)
	}
	if b.opts.debugShell {
		shell, err := b.busybox(ctx)
		if err != nil {
			return nil, err
		}
		out = append(out, shell)
	}
	for _, p := range out {
		if err := checkProgram(p.content); err != nil {
			return nil, fmt.Errorf("part %s: %w", p.Name, err)
		}
	}
	return out, nil
}

// ownProgram builds a program of this tree: NAME/NAME.c by recipe/NAME.sh.
func (b *builder) ownProgram(ctx context.Context, name, sysroot string, linked []string) (part, error) {
	src := filepath.Join(b.opts.src, name)
	text, err := os.ReadFile(filepath.Join(src, name+".c"))
	if err != nil {
		return part{}, err
	}
	r, err := b.recipe(ctx, name, append(linked, string(text))...)
	if err != nil {
		return part{}, err
	}
	r.env = []string{"SYSROOT=" + sysroot}
	dir, err := r.build(ctx, func(context.Context, string) (string, error) { return src, nil })
	if err != nil {
		return part{}, err
	}
	content, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		return part{}, err
	}
	return newPart(image.Part{Name: name, Path: "/bin/" + name, Version: digestOfBytes(text)[:12], Source: "porthole", Pinned: true}, content), nil
}

func (b *builder) busybox(ctx context.Context) (part, error) {
	f, err := b.source.get(ctx, wantBusybox)
	if err != nil {
		return part{}, err
	}
	dir, err := b.cache.get(ctx, "unpack/busybox", key("1", f.SHA256), func(ctx context.Context, _, out string) error {
		return command{args: []string{"dpkg-deb", "-x", f.path, out}}.run(ctx)
	})
	if err != nil {
		return part{}, err
	}
	content, err := os.ReadFile(filepath.Join(dir, "bin", "busybox"))
	if err != nil {
		return part{}, err
	}
	return debianPart("busybox", "/bin/busybox", content, f), nil
}
