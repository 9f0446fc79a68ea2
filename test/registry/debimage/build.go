package debimage

import (
	"archive/tar"
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"path"
	"slices"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// stamp is the time of all files that no package brings.
var stamp = time.Unix(1_700_000_000, 0)

// Spec is what an image is built from.
type Spec struct {
	// Packages go into the first layer.
	Packages []string
	// Files are the layers above, lowest first, by path. A base name with .wh. in
	// front is a whiteout, .wh..wh..opq makes its folder opaque.
	Files []map[string]File
	// Config is what the image says about its processes.
	Config v1.Config
	// CacheDir keeps the packages.
	CacheDir string

	fetched map[string]string // paths of packages that are in the cache for sure
}

// File is one file. The zero File is an empty one that root owns, mode 0644.
type File struct {
	Mode     int64 // zero: 0644, folders 0755
	UID, GID int
	Content  string
	Symlink  string // target; the file is a symlink then
	Folder   bool
}

// Build builds the image for linux/amd64.
func Build(ctx context.Context, spec Spec) (v1.Image, error) {
	img := mutate.MediaType(empty.Image, types.OCIManifestSchema1)
	img = mutate.ConfigMediaType(img, types.OCIConfigJSON)
	var layers []v1.Layer
	if len(spec.Packages) > 0 {
		l, err := packageLayer(ctx, spec)
		if err != nil {
			return nil, fmt.Errorf("build image: %w", err)
		}
		layers = append(layers, l)
	}
	for _, files := range spec.Files {
		l, err := FileLayer(files)
		if err != nil {
			return nil, fmt.Errorf("build image: %w", err)
		}
		layers = append(layers, l)
	}
	img, err := mutate.AppendLayers(img, layers...)
	if err != nil {
		return nil, fmt.Errorf("build image: %w", err)
	}
	config, err := img.ConfigFile()
	if err != nil {
		return nil, fmt.Errorf("build image: %w", err)
	}
	config = config.DeepCopy()
	config.OS, config.Architecture = "linux", "amd64"
	config.Created = v1.Time{Time: stamp}
	config.Config = spec.Config
	if img, err = mutate.ConfigFile(img, config); err != nil {
		return nil, fmt.Errorf("build image: %w", err)
	}
	return img, nil
}

// FileLayer makes a layer of files. Folders above them are in it too.
func FileLayer(files map[string]File) (v1.Layer, error) {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	made := map[string]bool{".": true}
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if err := folders(w, path.Dir(path.Clean(name)), files, made); err != nil {
			return nil, err
		}
		if err := write(w, path.Clean(name), files[name]); err != nil {
			return nil, err
		}
		made[path.Clean(name)] = true
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return TarLayer(b.Bytes())
}

// TarLayer makes a gzip layer of a tar, or of anything else.
func TarLayer(b []byte) (v1.Layer, error) {
	return tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(b)), nil },
		tarball.WithMediaType(types.OCILayer))
}

func folders(w *tar.Writer, dir string, files map[string]File, made map[string]bool) error {
	if made[dir] {
		return nil
	}
	made[dir] = true
	if err := folders(w, path.Dir(dir), files, made); err != nil {
		return err
	}
	if _, named := files[dir]; named {
		return nil // sorted before what is in it
	}
	return write(w, dir, File{Folder: true})
}

func write(w *tar.Writer, name string, f File) error {
	h := &tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: cmp.Or(f.Mode, 0o644), Uid: f.UID, Gid: f.GID,
		ModTime: stamp, Size: int64(len(f.Content))}
	switch {
	case f.Folder:
		h.Typeflag, h.Name, h.Mode, h.Size = tar.TypeDir, name+"/", cmp.Or(f.Mode, 0o755), 0
	case f.Symlink != "":
		h.Typeflag, h.Linkname, h.Mode, h.Size = tar.TypeSymlink, f.Symlink, 0o777, 0
	}
	if err := w.WriteHeader(h); err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	if h.Typeflag != tar.TypeReg {
		return nil
	}
	_, err := io.WriteString(w, f.Content)
	return err
}

// packageLayer puts the files of packages into one layer, without documentation.
func packageLayer(ctx context.Context, spec Spec) (v1.Layer, error) {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	made := map[string]bool{}
	for _, p := range spec.Packages {
		deb, err := spec.fetched[p], error(nil)
		if deb == "" {
			deb, err = fetchPackage(ctx, spec.CacheDir, p)
		}
		if err != nil {
			return nil, err
		}
		err = eachFile(ctx, deb, func(h *tar.Header, r io.Reader) error {
			name := path.Clean(h.Name)
			if strings.HasPrefix(name, "usr/share/doc") || strings.HasPrefix(name, "usr/share/man") || made[name] && h.Typeflag == tar.TypeDir {
				return nil
			}
			made[name] = true
			h.Format = tar.FormatUnknown
			h.Uname, h.Gname = "", ""
			if err := w.WriteHeader(h); err != nil {
				return err
			}
			_, err := io.Copy(w, r)
			return err
		})
		if err != nil {
			return nil, fmt.Errorf("unpack %s: %w", deb, err)
		}
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return TarLayer(b.Bytes())
}

// eachFile calls f for each file of a package until it returns an error.
func eachFile(ctx context.Context, deb string, f func(*tar.Header, io.Reader) error) error {
	out, wait, err := packageTar(ctx, deb)
	if err != nil {
		return err
	}
	tr := tar.NewReader(out)
	var h *tar.Header
	for err == nil {
		if h, err = tr.Next(); err == nil {
			err = f(h, tr)
		}
	}
	if err == io.EOF {
		_, err = io.Copy(io.Discard, out)
	}
	return errors.Join(err, out.Close(), wait())
}
