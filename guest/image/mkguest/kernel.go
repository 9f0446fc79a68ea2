package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/porthole-run/porthole/guest/image"
	"github.com/porthole-run/porthole/guest/image/kernelimage"
	"github.com/porthole-run/porthole/internal/filesum"
)

// kernel is a kernel that is ready to go into a bundle.
type kernel struct {
	vmlinux part
	config  string // digest
	quotas  bool   // it mounts ext4 with project quotas
	release string
	modules []loadedModule
}

// kernel makes the kernel of the flavour that was asked for.
func (b *builder) kernel(ctx context.Context) (*kernel, error) {
	if b.opts.kernel == image.Small {
		return b.smallKernel(ctx)
	}
	return b.debianKernel(ctx)
}

// debianKernel takes the kernel and its modules out of Debian's package.
func (b *builder) debianKernel(ctx context.Context) (*kernel, error) {
	pkg, err := b.source.get(ctx, wantKernel)
	if err != nil {
		return nil, err
	}
	dir, err := b.cache.get(ctx, "unpack/kernel-debian", key("1", pkg.SHA256), func(ctx context.Context, work, out string) error {
		if err := (command{args: []string{"dpkg-deb", "-x", pkg.path, work + "/deb"}}).run(ctx); err != nil {
			return err
		}
		return unpackDebianKernel(filepath.Join(work, "deb"), out)
	})
	if err != nil {
		return nil, err
	}
	k, err := readKernel(dir, pkg)
	if err != nil {
		return nil, err
	}
	tree, err := readModuleTree(filepath.Join(dir, "modules"), k.release)
	if err != nil {
		return nil, err
	}
	if k.modules, err = tree.plan(wanted); err != nil {
		return nil, fmt.Errorf("package %s: %w", pkg, err)
	}
	return k, nil
}

// unpackDebianKernel picks from an unpacked kernel package what readKernel
// wants: vmlinux, config, release, and the folder modules.
func unpackDebianKernel(deb, out string) error {
	images, err := filepath.Glob(filepath.Join(deb, "boot", "vmlinuz-*"))
	if err != nil || len(images) != 1 {
		return errors.Join(err, fmt.Errorf("kernel package has %d files boot/vmlinuz-*, want 1", len(images)))
	}
	bzImage, err := os.ReadFile(images[0])
	if err != nil {
		return err
	}
	release, err := kernelimage.Release(bzImage)
	if err != nil {
		return err
	}
	vmlinux, err := kernelimage.Vmlinux(bzImage)
	if err != nil {
		return err
	}
	return errors.Join(
		os.WriteFile(filepath.Join(out, "vmlinux"), vmlinux, 0o644),
		os.WriteFile(filepath.Join(out, "release"), []byte(release+"\n"), 0o644),
		os.Rename(filepath.Join(deb, "boot", "config-"+release), filepath.Join(out, "config")),
		os.Rename(filepath.Join(deb, "lib", "modules", release), filepath.Join(out, "modules")),
	)
}

// smallKernel builds Debian's kernel source with the fragment.
func (b *builder) smallKernel(ctx context.Context) (*kernel, error) {
	fragment := filepath.Join(b.opts.src, "kernel.fragment")
	text, err := os.ReadFile(fragment)
	if err != nil {
		return nil, err
	}
	pkg, err := b.source.get(ctx, wantKernelSource)
	if err != nil {
		return nil, err
	}
	if err := b.needTools(ctx, kernelTools); err != nil {
		return nil, err
	}
	r, err := b.recipe(ctx, "kernel", pkg.SHA256, string(text))
	if err != nil {
		return nil, err
	}
	r.env = []string{
		"FRAGMENT=" + fragment,
		"KBUILD_BUILD_TIMESTAMP=1970-01-01", "KBUILD_BUILD_VERSION=1", "KBUILD_BUILD_USER=porthole", "KBUILD_BUILD_HOST=porthole",
	}
	dir, err := r.build(ctx, func(ctx context.Context, work string) (string, error) {
		b.log.say("building a kernel takes about 12 CPU minutes")
		if err := (command{args: []string{"dpkg-deb", "-x", pkg.path, work + "/deb"}}).run(ctx); err != nil {
			return "", err
		}
		tar := filepath.Join(work, "deb", "usr", "src", pkg.Package+".tar.xz")
		return filepath.Join(work, pkg.Package), command{dir: work, args: []string{"tar", "-xf", tar}}.run(ctx)
	})
	if err != nil {
		return nil, err
	}
	return readKernel(dir, pkg)
}

// quotaFormat is the option that ext4's project quotas need.
var quotaFormat = regexp.MustCompile(`(?m)^CONFIG_QFMT_V2=[ym]$`)

// readKernel reads what one of the two ways has left in dir, and checks that
// a VM can boot it.
func readKernel(dir string, pkg fetched) (*kernel, error) {
	vmlinux, err := os.ReadFile(filepath.Join(dir, "vmlinux"))
	if err != nil {
		return nil, err
	}
	if _, err := kernelimage.PVHEntry(vmlinux); err != nil {
		return nil, fmt.Errorf("package %s: %w", pkg, err)
	}
	k := &kernel{vmlinux: debianPart("kernel", "", vmlinux, pkg)}
	if k.config, err = filesum.SHA256(filepath.Join(dir, "config")); err != nil {
		return nil, err
	}
	config, err := os.ReadFile(filepath.Join(dir, "config"))
	if err != nil {
		return nil, err
	}
	k.quotas = quotaFormat.Match(config)
	release, err := os.ReadFile(filepath.Join(dir, "release"))
	k.release = strings.TrimSpace(string(release))
	return k, err
}
