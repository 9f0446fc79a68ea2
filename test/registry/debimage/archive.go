package debimage

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/porthole-run/porthole/internal/filesum"
)

// keyring holds the keys that Debian signs its archive with.
const keyring = "/usr/share/keyrings/debian-archive-keyring.gpg"

// listAge is how old an archive's lists get before they are fetched anew.
const listAge = 24 * time.Hour

// Archive is one suite of Debian's archive with lists of its own: the machine's
// sources, lists and installed packages play no part in what it resolves. It is for one
// caller at a time.
type Archive struct {
	dir  string // lists, sources and the empty list of installed packages
	debs string
}

// Package is one binary package in the cache.
type Package struct {
	Name   string
	Path   string
	SHA256 string
}

// OpenArchive prepares a suite, for example "bookworm". Its lists are fetched when they
// are missing or a day old; apt checks Debian's signature. A machine whose clock is ahead
// of the archive is common where tests run, so an expired Release file is taken as long
// as it is signed.
func OpenArchive(ctx context.Context, cacheDir, suite string) (*Archive, error) {
	a := &Archive{dir: filepath.Join(cacheDir, "apt-"+suite), debs: filepath.Join(cacheDir, "debs-"+suite)}
	for _, d := range []string{filepath.Join(a.dir, "lists", "partial"), filepath.Join(a.dir, "parts"), filepath.Join(a.dir, "archives", "partial"), a.debs} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			return nil, err
		}
	}
	site, err := mirror(ctx)
	if err != nil {
		return nil, fmt.Errorf("open archive %s: %w", suite, err)
	}
	sources := fmt.Sprintf("Types: deb\nURIs: %s\nSuites: %s\nComponents: main\nArchitectures: amd64\nSigned-By: %s\n", site, suite, keyring)
	if err := errors.Join(
		os.WriteFile(filepath.Join(a.dir, "parts", "debian.sources"), []byte(sources), 0o644),
		os.WriteFile(filepath.Join(a.dir, "status"), nil, 0o644),
	); err != nil {
		return nil, err
	}
	fetched := filepath.Join(a.dir, "fetched")
	if fi, err := os.Stat(fetched); err == nil && time.Since(fi.ModTime()) < listAge {
		return a, nil
	}
	_, err = a.apt(ctx, "-o", "Acquire::Check-Valid-Until=false", "-o", "Acquire::Languages=none", "-o", "APT::Update::Error-Mode=any", "update")
	if err != nil {
		if _, stale := os.Stat(fetched); stale == nil {
			return a, nil // without a network the lists of the last run will do
		}
		return nil, fmt.Errorf("open archive %s: %w", suite, err)
	}
	return a, os.WriteFile(fetched, nil, 0o644)
}

// mirror is the Debian mirror that the machine's own sources name.
func mirror(ctx context.Context) (string, error) {
	out, err := run(ctx, "", "apt-get", "indextargets", "--format", "$(SITE) $(ORIGIN) $(SUITE)", "Created-By: Packages")
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(out) {
		f := strings.Fields(line)
		if len(f) == 3 && f[1] == "Debian" && !strings.Contains(f[2], "security") {
			return f[0], nil
		}
	}
	return "https://deb.debian.org/debian", nil
}

func (a *Archive) apt(ctx context.Context, args ...string) (string, error) {
	return a.aptIn(ctx, a.dir, args...)
}

func (a *Archive) aptIn(ctx context.Context, dir string, args ...string) (string, error) {
	return run(ctx, dir, "apt-get", append([]string{"-q", "-y",
		"-o", "Dir::Etc::sourceparts=" + filepath.Join(a.dir, "parts"),
		"-o", "Dir::Etc::sourcelist=/dev/null",
		"-o", "Dir::State::lists=" + filepath.Join(a.dir, "lists"),
		"-o", "Dir::State::status=" + filepath.Join(a.dir, "status"),
		"-o", "Dir::Cache::archives=" + filepath.Join(a.dir, "archives"),
		"-o", "Dir::Cache::pkgcache=" + filepath.Join(a.dir, "pkgcache.bin"), "-o", "Dir::Cache::srcpkgcache=",
		"-o", "APT::Architecture=amd64", "-o", "APT::Architectures=amd64",
		"-o", "APT::Install-Recommends=false", "-o", "APT::Sandbox::User=root",
		"-o", "Acquire::ForceHash=SHA256", "-o", "Acquire::Retries=3"}, args...)...)
}

// Resolve returns the packages and all that they depend on, in the order in which they
// would be unpacked, after fetching what the cache lacks. Those in omit are left out,
// for what a dependency names and an image has no use for.
func (a *Archive) Resolve(ctx context.Context, packages, omit []string) ([]Package, error) {
	for _, p := range packages {
		if p == "" || strings.HasPrefix(p, "-") {
			return nil, fmt.Errorf("package name %q is not one", p)
		}
	}
	out, err := a.apt(ctx, append([]string{"--print-uris", "install"}, packages...)...)
	if err != nil {
		return nil, err
	}
	var all []Package
	var missing []string
	for line := range strings.Lines(out) {
		// 'http://…/libc6_2.36-9+deb12u10_amd64.deb' libc6_2.36-9+deb12u10_amd64.deb 2757980 SHA256:…
		f := strings.Fields(line)
		if len(f) != 4 || !strings.HasPrefix(f[0], "'") {
			continue
		}
		file := filepath.Base(f[1])
		name, _, _ := strings.Cut(file, "_")
		if slices.Contains(omit, name) {
			continue
		}
		sum, ok := strings.CutPrefix(f[3], "SHA256:")
		if !ok {
			return nil, fmt.Errorf("apt-get gives no SHA-256 of %s", name)
		}
		p := Package{Name: name, Path: filepath.Join(a.debs, file), SHA256: sum}
		if got, err := filesum.SHA256(p.Path); err != nil || got != sum {
			missing = append(missing, name)
		}
		all = append(all, p)
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("apt-get names no files of %v", packages)
	}
	if err := a.fetch(ctx, all, missing); err != nil {
		return nil, err
	}
	return all, nil
}

// fetch downloads packages and checks them against the signed lists.
func (a *Archive) fetch(ctx context.Context, all []Package, missing []string) error {
	if len(missing) == 0 {
		return nil
	}
	dir, err := os.MkdirTemp(a.debs, "fetch-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if _, err := a.aptIn(ctx, dir, append([]string{"download"}, missing...)...); err != nil {
		return err
	}
	for _, p := range all {
		if !slices.Contains(missing, p.Name) {
			continue
		}
		file := filepath.Join(dir, filepath.Base(p.Path))
		sum, err := filesum.SHA256(file)
		if err != nil {
			return fmt.Errorf("fetch %s: %w", p.Name, err)
		}
		if sum != p.SHA256 {
			return fmt.Errorf("%s has SHA-256 %s, Debian says %s", p.Name, sum, p.SHA256)
		}
		if err := os.Rename(file, p.Path); err != nil {
			return err
		}
	}
	return nil
}
