package debimage

import (
	"archive/tar"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// layerFormat changes when the same packages give another layer.
const layerFormat = "1"

// dropped is what a program does without.
var dropped = []string{
	"usr/share/doc", "usr/share/man", "usr/share/info", "usr/share/locale", "usr/share/lintian",
	"usr/share/bug", "usr/share/icons", "usr/share/bash-completion", "usr/include", "usr/lib/debug",
	"usr/lib/systemd/system", "lib/systemd/system", "usr/lib/udev/hwdb.d",
}

// merged are the folders that are links into usr since Debian 12.
var merged = []string{"bin", "sbin", "lib", "lib64"}

// Layer makes one layer of packages, or takes it from the cache, where it is kept by
// what it is made of. No maintainer script runs: what one would do, an image that needs
// it brings as files. Paths are below usr as on an installed system, so that a layer
// lies on any other.
func Layer(ctx context.Context, cacheDir string, packages []Package) (v1.Layer, error) {
	key := sha256.New()
	fmt.Fprintln(key, layerFormat)
	for _, p := range packages {
		fmt.Fprintln(key, p.SHA256)
	}
	dir := filepath.Join(cacheDir, "layers")
	name := filepath.Join(dir, fmt.Sprintf("%x.tar.gz", key.Sum(nil)))
	if _, err := os.Stat(name); err != nil {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return nil, err
		}
		if err := writeLayer(ctx, name, packages); err != nil {
			return nil, fmt.Errorf("make layer: %w", err)
		}
	}
	return tarball.LayerFromFile(name, tarball.WithMediaType(types.OCILayer))
}

// writeLayer makes the file of a layer; it appears when it is whole.
func writeLayer(ctx context.Context, name string, packages []Package) error {
	f, err := os.CreateTemp(filepath.Dir(name), "part-")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	defer f.Close()
	// Layers stay on this machine: time counts more than room.
	z, err := gzip.NewWriterLevel(f, gzip.BestSpeed)
	if err != nil {
		return err
	}
	w := tar.NewWriter(z)
	made := map[string]bool{}
	for _, p := range packages {
		err := eachFile(ctx, p.Path, func(h *tar.Header, r io.Reader) error { return copyMerged(w, h, r, made) })
		if err != nil {
			return fmt.Errorf("unpack %s: %w", p.Name, err)
		}
	}
	if err := errors.Join(w.Close(), z.Close(), f.Sync()); err != nil {
		return err
	}
	return os.Rename(f.Name(), name)
}

// copyMerged writes one file of a package, below usr where the folder of its path is a
// link there.
func copyMerged(w *tar.Writer, h *tar.Header, r io.Reader, made map[string]bool) error {
	name := mergedPath(h.Name)
	folder := h.Typeflag == tar.TypeDir
	if h.Typeflag == tar.TypeSymlink && slices.Contains(merged, path.Clean(h.Name)) {
		return nil // MergedLinks has it
	}
	if name == "." || folder && made[name] || slices.ContainsFunc(dropped, func(d string) bool { return name == d || strings.HasPrefix(name, d+"/") }) {
		return nil
	}
	if made[name] {
		return fmt.Errorf("%s is in two packages", name)
	}
	made[name] = true
	h.Name = name
	if folder {
		h.Name += "/"
	}
	if h.Typeflag == tar.TypeLink {
		h.Linkname = mergedPath(h.Linkname)
	}
	h.Format, h.Uname, h.Gname = tar.FormatUnknown, "", ""
	if err := w.WriteHeader(h); err != nil {
		return err
	}
	_, err := io.Copy(w, r)
	return err
}

func mergedPath(name string) string {
	name = path.Clean(name)
	for _, m := range merged {
		if name == m || strings.HasPrefix(name, m+"/") {
			return "usr/" + name
		}
	}
	return name
}

// MergedLinks are the links that every image of whole packages needs.
func MergedLinks() map[string]File {
	files := map[string]File{}
	for _, m := range merged {
		files[m] = File{Symlink: "usr/" + m}
	}
	return files
}
