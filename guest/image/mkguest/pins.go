package main

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/porthole-run/porthole/internal/atomicfile"
)

// Pin is one package that goes into the guest.
type Pin struct {
	// Role is the use in the guest; the key of the list.
	Role string `json:"role"`
	// Package is the name in Debian's archive.
	Package string `json:"package"`
	// IsSource says that it is a source package.
	IsSource bool   `json:"source,omitempty"`
	Version  string `json:"version"`
	// SHA256 is the digest of the .deb file, or of the .dsc file, which has
	// those of the sources in it.
	SHA256 string `json:"sha256"`
}

// String returns the pin as the manifest names a source.
func (p Pin) String() string {
	s := p.Package + "=" + p.Version
	if p.IsSource {
		s = "source:" + s
	}
	return s
}

// pinFileFormat is what pins.json holds.
type pinFileFormat struct {
	Pins []Pin `json:"pins"`
}

func readPins(name string) ([]Pin, error) {
	text, err := os.ReadFile(name)
	if err != nil {
		return nil, fmt.Errorf("read pins: %w", err)
	}
	pins, err := parsePins(text)
	if err != nil {
		return nil, fmt.Errorf("read pins %s: %w", name, err)
	}
	return pins, nil
}

// parsePins reads pins and checks that each is whole and given once.
func parsePins(text []byte) ([]Pin, error) {
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	var f pinFileFormat
	if err := d.Decode(&f); err != nil {
		return nil, fmt.Errorf("%w: %w", err, errdefs.ErrInvalidArgument)
	}
	seen := map[string]bool{}
	for _, p := range f.Pins {
		digest, err := hex.DecodeString(p.SHA256)
		if err != nil || len(digest) != 32 || !isPackageName(p.Package) || !isVersion(p.Version) || p.Role == "" || seen[p.Role] {
			return nil, fmt.Errorf("pin %+v is not whole, or given twice: %w", p, errdefs.ErrInvalidArgument)
		}
		seen[p.Role] = true
	}
	return f.Pins, nil
}

// isPackageName and isVersion keep to Debian's characters, so that neither can
// be taken for an option or a pattern by apt.
func isPackageName(s string) bool {
	return s != "" && isAlnum(s[0]) && strings.Trim(s, alnum+"+-.") == ""
}

func isVersion(s string) bool {
	return s != "" && isAlnum(s[0]) && strings.Trim(s, alnum+"+-.:~") == ""
}

const alnum = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"

func isAlnum(b byte) bool { return strings.IndexByte(alnum, b) >= 0 }

func writePins(name string, pins []Pin) error {
	pins = slices.Clone(pins)
	slices.SortFunc(pins, func(a, b Pin) int { return strings.Compare(a.Role, b.Role) })
	text, err := json.MarshalIndent(pinFileFormat{pins}, "", "  ")
	if err != nil {
		return fmt.Errorf("write pins: %w", err)
	}
	return atomicfile.Write(name, append(text, '\n'), 0o644)
}

// want is a package that the build asks for by its role.
type want struct {
	role     string
	name     string // package to look up; the pin may name another version's
	isSource bool
	// isMeta says that name only points to the package: its first Depends.
	isMeta bool
}

// finder looks packages up; *archive is the real one.
type finder interface {
	// find and newest are as archive's.
	find(ctx context.Context, pkg, version string, isSource bool) (string, error)
	newest(ctx context.Context, pkg string, isSource bool) (stanza, error)
}

// resolve decides which package to take: the pinned one while the archive
// has it, or else the newest. The result equals the pin if it is pinned. A
// digest that differs from the pin's for the same version is a
// FailedPrecondition error.
func resolve(ctx context.Context, apt finder, w want, pin Pin, update bool) (Pin, error) {
	if !update {
		if pin == (Pin{}) {
			return Pin{}, fmt.Errorf("pins.json has no %q: run mkguest with --update-pins and commit the result: %w", w.role, errdefs.ErrFailedPrecondition)
		}
		digest, err := apt.find(ctx, pin.Package, pin.Version, pin.IsSource)
		switch {
		case err == nil && digest == pin.SHA256:
			return pin, nil
		case err == nil:
			return Pin{}, fmt.Errorf("package %s has digest %s in the archive, but %s is pinned: one of the two was tampered with or is broken, so nothing is built from it: %w",
				pin, digest, pin.SHA256, errdefs.ErrFailedPrecondition)
		case !errdefs.IsNotFound(err):
			return Pin{}, err
		}
	}
	name := w.name
	if w.isMeta {
		meta, err := apt.newest(ctx, w.name, false)
		if err != nil {
			return Pin{}, err
		}
		if name = meta.firstDepends(); name == "" {
			return Pin{}, fmt.Errorf("package %s=%s depends on nothing: %w", w.name, meta["version"], errdefs.ErrFailedPrecondition)
		}
	}
	s, err := apt.newest(ctx, name, w.isSource)
	if err != nil {
		return Pin{}, err
	}
	got := Pin{Role: w.role, Package: name, IsSource: w.isSource, Version: s["version"], SHA256: digestOf(s, w.isSource)}
	if _, err := parsePins(mustJSON(pinFileFormat{[]Pin{got}})); err != nil {
		return Pin{}, fmt.Errorf("archive's answer for %s: %w", name, err)
	}
	// Accepting a newer version is what --update-pins is for; accepting other
	// bytes for the same version is not.
	if got.Package == pin.Package && got.Version == pin.Version && got.SHA256 != pin.SHA256 {
		return Pin{}, fmt.Errorf("package %s: digest %s differs from the pinned %s: %w", got, got.SHA256, pin.SHA256, errdefs.ErrFailedPrecondition)
	}
	return got, nil
}

func mustJSON(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err) // strings and bools only
	}
	return b
}
