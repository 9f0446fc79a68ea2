package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/containerd/errdefs"

	"github.com/porthole-run/porthole/internal/filesum"
)

// The packages that may go into a guest.
var (
	wantKernel       = want{role: "kernel", name: "linux-image-cloud-amd64", isMeta: true}
	wantKernelSource = want{role: "kernel-source", name: "linux-source-6.1"}
	wantCrun         = want{role: "crun", name: "crun", isSource: true}
	wantE2fsprogs    = want{role: "e2fsprogs", name: "e2fsprogs", isSource: true}
	wantBusybox      = want{role: "busybox", name: "busybox-static"}

	// What the programs are compiled and linked against. linux-libc-dev holds
	// headers only, libcrypt-dev is there because libc6-dev's headers name it.
	wantLibs = []want{
		{role: "libc", name: "libc6-dev"},
		{role: "libcap", name: "libcap-dev"},
		{role: "libcrypt", name: "libcrypt-dev"},
		{role: "libseccomp", name: "libseccomp-dev"},
		{role: "libyajl", name: "libyajl-dev"},
		{role: "linux-headers", name: "linux-libc-dev"},
	}
)

func allWants() []want {
	return append([]want{wantKernel, wantKernelSource, wantCrun, wantE2fsprogs, wantBusybox}, wantLibs...)
}

// source fetches packages by their pins. It is used by one goroutine.
type source struct {
	apt    *archive
	cache  *cache
	log    *console
	pins   []Pin
	update bool // take the newest, and put it into pins

	resolved map[string]fetched
}

// fetched is a package in the cache.
type fetched struct {
	Pin
	pinned bool   // it is what pins.json names
	path   string // of the .deb or .dsc file; "" before it is downloaded
}

// get returns the package that w stands for, from the cache if it is there.
func (s *source) get(ctx context.Context, w want) (fetched, error) {
	if f := s.resolved[w.role]; f.path != "" {
		return f, nil
	}
	pin := s.pin(w.role)
	if !s.update && pin != (Pin{}) {
		if file, err := s.cached(pin); file != "" || err != nil {
			return s.remember(fetched{pin, true, file}), err
		}
	}
	f, err := s.resolve(ctx, w)
	if err != nil {
		return fetched{}, err
	}
	if f.path, err = s.cached(f.Pin); err != nil {
		return fetched{}, err
	}
	if f.path == "" {
		if f.path, err = s.download(ctx, f.Pin); err != nil {
			return fetched{}, err
		}
	}
	return s.remember(f), nil
}

func (s *source) pin(role string) Pin {
	if i := slices.IndexFunc(s.pins, func(p Pin) bool { return p.Role == role }); i >= 0 {
		return s.pins[i]
	}
	return Pin{}
}

func (s *source) remember(f fetched) fetched {
	if s.resolved == nil {
		s.resolved = map[string]fetched{}
	}
	s.resolved[f.Role] = f
	return f
}

// resolve asks the archive; with s.update the answer becomes the pin.
func (s *source) resolve(ctx context.Context, w want) (fetched, error) {
	pin := s.pin(w.role)
	got, err := resolve(ctx, s.apt, w, pin, s.update)
	if err != nil {
		return fetched{}, err
	}
	if s.update {
		if got != pin {
			s.log.say("pin %s: %s", w.role, got)
		}
		s.pins = append(slices.DeleteFunc(s.pins, func(p Pin) bool { return p.Role == w.role }), got)
		return s.remember(fetched{Pin: got, pinned: true}), nil
	}
	if got != pin {
		s.log.warn("Debian's archive no longer has %s, which pins.json names; taking %s instead. Run mkguest with --update-pins and commit pins.json to accept it.", pin, got)
	}
	return s.remember(fetched{Pin: got, pinned: got == pin}), nil
}

// resolveAll resolves what the build did not ask for.
func (s *source) resolveAll(ctx context.Context) error {
	for _, w := range allWants() {
		if _, done := s.resolved[w.role]; !done {
			if _, err := s.resolve(ctx, w); err != nil {
				return err
			}
		}
	}
	return nil
}

func (s *source) folder(p Pin) string {
	return filepath.Join(s.cache.dir, "packages", p.Package+"-"+key(p.Package, p.SHA256)[:24])
}

// cached returns the package's file in the cache, or "". A file there with
// another digest is an error.
func (s *source) cached(p Pin) (string, error) {
	pattern := "*.deb"
	if p.IsSource {
		pattern = "*.dsc"
	}
	found, err := filepath.Glob(filepath.Join(s.folder(p), pattern))
	if err != nil || len(found) != 1 {
		return "", err
	}
	return found[0], checkDigest(found[0], p)
}

func checkDigest(file string, p Pin) error {
	digest, err := filesum.SHA256(file)
	if err != nil {
		return err
	}
	if digest != p.SHA256 {
		return fmt.Errorf("package %s: file %s has digest %s, want %s; remove its folder and try again: %w", p, file, digest, p.SHA256, errdefs.ErrFailedPrecondition)
	}
	return nil
}

func (s *source) download(ctx context.Context, p Pin) (string, error) {
	final := s.folder(p)
	// A folder without its one file is of no use; nothing else is ever put there.
	if err := os.RemoveAll(final); err != nil {
		return "", err
	}
	err := s.log.step("fetch "+p.String(), func() error {
		tmp, err := os.MkdirTemp(s.cache.tmp, "fetch-")
		if err != nil {
			return err
		}
		file, err := s.apt.download(ctx, tmp, p)
		if err != nil {
			return err
		}
		if err := checkDigest(file, p); err != nil {
			return err
		}
		if err := os.MkdirAll(filepath.Dir(final), 0o755); err != nil {
			return err
		}
		if err := os.Rename(tmp, final); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
		return nil
	})
	if err != nil {
		return "", err
	}
	return s.cached(p)
}
