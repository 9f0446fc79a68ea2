package debimage

import (
	"archive/tar"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// layerFormat changes when the same packages give another layer.
const layerFormat = "2"

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
	// Layers stay on this machine: time counts more than room.
	return keptLayer(cacheDir, fmt.Sprintf("%x", key.Sum(nil)), gzip.BestSpeed, func(w *tar.Writer) error {
		made := map[string]bool{}
		for _, p := range packages {
			err := eachFile(ctx, p.Path, func(h *tar.Header, r io.Reader) error { return copyMerged(w, h, r, made) })
			if err != nil {
				return fmt.Errorf("unpack %s: %w", p.Name, err)
			}
		}
		return nil
	})
}

// KeptLayer makes one layer of what fill writes, as gzip packs it by default, or takes it
// from the cache. The key must say all that its content depends on.
func KeptLayer(cacheDir, key string, fill func(*tar.Writer) error) (v1.Layer, error) {
	return keptLayer(cacheDir, fmt.Sprintf("%x", sha256.Sum256([]byte(layerFormat+" "+key))), gzip.DefaultCompression, fill)
}

func keptLayer(cacheDir, base string, level int, fill func(*tar.Writer) error) (v1.Layer, error) {
	dir := filepath.Join(cacheDir, "layers")
	name := filepath.Join(dir, base+".tar.gz")
	if _, err := os.Stat(name); err != nil {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return nil, err
		}
		if err := writeLayer(name, level, fill); err != nil {
			return nil, fmt.Errorf("make layer: %w", err)
		}
	}
	return openLayer(name)
}

// layerFile is a layer whose digests were reckoned when it was made: an image is put
// together without reading it.
type layerFile struct {
	name string // of the compressed tar
	size int64
	sums layerSums
}

// layerSums stand beside a layer's file, as JSON.
type layerSums struct {
	Digest v1.Hash `json:"digest"`
	DiffID v1.Hash `json:"diff_id"`
}

var _ v1.Layer = (*layerFile)(nil)

func openLayer(name string) (v1.Layer, error) {
	text, err := os.ReadFile(sumsName(name))
	if err != nil {
		return nil, err
	}
	l := &layerFile{name: name}
	if err := json.Unmarshal(text, &l.sums); err != nil {
		return nil, fmt.Errorf("read %s: %w", sumsName(name), err)
	}
	fi, err := os.Stat(name)
	if err != nil {
		return nil, err
	}
	l.size = fi.Size()
	return l, nil
}

func sumsName(layer string) string { return layer + ".json" }

func (l *layerFile) Digest() (v1.Hash, error)            { return l.sums.Digest, nil }
func (l *layerFile) DiffID() (v1.Hash, error)            { return l.sums.DiffID, nil }
func (l *layerFile) Size() (int64, error)                { return l.size, nil }
func (l *layerFile) MediaType() (types.MediaType, error) { return types.OCILayer, nil }
func (l *layerFile) Compressed() (io.ReadCloser, error)  { return os.Open(l.name) }

// Uncompressed reads the tar. The caller closes it, which closes the file.
func (l *layerFile) Uncompressed() (io.ReadCloser, error) {
	f, err := os.Open(l.name)
	if err != nil {
		return nil, err
	}
	z, err := gzip.NewReader(f)
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return struct {
		io.Reader
		io.Closer
	}{z, f}, nil
}

// writeLayer makes the file of a layer; it appears when it is whole.
func writeLayer(name string, level int, fill func(*tar.Writer) error) error {
	f, err := os.CreateTemp(filepath.Dir(name), "part-")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	defer f.Close()
	packed, plain := sha256.New(), sha256.New()
	z, err := gzip.NewWriterLevel(io.MultiWriter(f, packed), level)
	if err != nil {
		return err
	}
	w := tar.NewWriter(io.MultiWriter(z, plain))
	if err := fill(w); err != nil {
		return err
	}
	if err := errors.Join(w.Close(), z.Close(), f.Sync()); err != nil {
		return err
	}
	text, err := json.Marshal(layerSums{
		Digest: v1.Hash{Algorithm: "sha256", Hex: hex.EncodeToString(packed.Sum(nil))},
		DiffID: v1.Hash{Algorithm: "sha256", Hex: hex.EncodeToString(plain.Sum(nil))},
	})
	if err != nil {
		return err
	}
	if err := os.WriteFile(sumsName(name), text, 0o644); err != nil {
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
