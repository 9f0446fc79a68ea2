package image

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"text/tabwriter"

	"github.com/containerd/errdefs"
)

// Bundle is an opened bundle folder.
type Bundle struct {
	dir      string
	manifest Manifest
}

// Open opens the bundle in dir and checks it cheaply: the manifest is well
// formed, and each file is there with its size. Digests are left to Verify,
// as reading the files takes about as long as booting them. The folder's path
// is made absolute.
//
// A folder without a manifest, or a file that is not there, is a NotFound
// error; a file of another size is a FailedPrecondition one.
func Open(dir string) (*Bundle, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("open guest bundle: %w", err)
	}
	m, err := readManifestFile(filepath.Join(dir, ManifestFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("open guest bundle: no %s in %s; `make install` puts one where it is looked for, `make guest` builds one into out/: %w", ManifestFile, dir, errdefs.ErrNotFound)
	}
	if err != nil {
		return nil, fmt.Errorf("open guest bundle %s: %w", dir, err)
	}
	b := &Bundle{dir: dir, manifest: m}
	for _, f := range m.Files {
		if err := b.checkSize(f); err != nil {
			return nil, fmt.Errorf("open guest bundle: %w", err)
		}
	}
	return b, nil
}

func readManifestFile(name string) (Manifest, error) {
	f, err := os.Open(name)
	if err != nil {
		return Manifest{}, err
	}
	defer f.Close()
	return ReadManifest(f)
}

// Dir returns the bundle's folder, as an absolute path.
func (b *Bundle) Dir() string { return b.dir }

// Kernel returns the path of the kernel.
func (b *Bundle) Kernel() string { return filepath.Join(b.dir, KernelFile) }

// Initrd returns the path of the initrd.
func (b *Bundle) Initrd() string { return filepath.Join(b.dir, InitrdFile) }

// Manifest returns the bundle's manifest. The caller must not change its
// slices.
func (b *Bundle) Manifest() Manifest { return b.manifest }

// Verify reads the kernel and the initrd and compares their digests with the
// manifest: some 100 MB, well under a second from the page cache. A
// difference is a FailedPrecondition error. It ends early when ctx does.
func (b *Bundle) Verify(ctx context.Context) error {
	for _, f := range b.manifest.Files {
		if err := b.checkSize(f); err != nil {
			return fmt.Errorf("verify guest bundle: %w", err)
		}
		got, err := digestFile(ctx, filepath.Join(b.dir, f.Name))
		if err != nil {
			return fmt.Errorf("verify guest bundle: %w", err)
		}
		if got != f.SHA256 {
			return fmt.Errorf("verify guest bundle: %s has digest %s, the manifest says %s; build the bundle anew with `make guest`: %w",
				filepath.Join(b.dir, f.Name), got, f.SHA256, errdefs.ErrFailedPrecondition)
		}
	}
	return nil
}

func (b *Bundle) checkSize(f File) error {
	name := filepath.Join(b.dir, f.Name)
	switch st, err := os.Stat(name); {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("%s is missing; build the bundle anew with `make guest`: %w", name, errdefs.ErrNotFound)
	case err != nil:
		return err
	case !st.Mode().IsRegular():
		return fmt.Errorf("%s is not a file: %w", name, errdefs.ErrFailedPrecondition)
	case st.Size() != f.Size:
		return fmt.Errorf("%s has %d bytes, the manifest says %d; build the bundle anew with `make guest`: %w", name, st.Size(), f.Size, errdefs.ErrFailedPrecondition)
	}
	return nil
}

func digestFile(ctx context.Context, name string) (string, error) {
	f, err := os.Open(name)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, readerFunc(func(p []byte) (int, error) {
		if err := ctx.Err(); err != nil {
			return 0, err
		}
		return f.Read(p)
	})); err != nil {
		return "", fmt.Errorf("read %s: %w", name, err)
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

type readerFunc func(p []byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

// String returns the bundle as a table for people: the kernel, the files, and
// the parts with versions, sources and digests.
func (b *Bundle) String() string {
	var s strings.Builder
	m := b.manifest
	fmt.Fprintf(&s, "bundle   %s\nkernel   %s (%s), %d modules, config sha256 %s\n", b.dir, m.Kernel.Release, m.Kernel.Flavour, m.Kernel.Modules, m.Kernel.ConfigSHA256)
	var total int64
	w := tabwriter.NewWriter(&s, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "\nFILE\tMB\tSHA256\n")
	for _, f := range m.Files {
		fmt.Fprintf(w, "%s\t%s\t%s\n", f.Name, megabytes(f.Size), f.SHA256)
		total += f.Size
	}
	fmt.Fprintf(w, "total\t%s\t\n", megabytes(total))
	w.Flush()
	w = tabwriter.NewWriter(&s, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "\nPART\tVERSION\tPATH\tMB\tPINNED\tSOURCE\tSHA256\n")
	for _, p := range m.Parts {
		pinned := "yes"
		if !p.Pinned {
			pinned = "NO"
		}
		size, digest := "-", p.SHA256
		if p.Size > 0 {
			size = megabytes(p.Size)
		}
		if digest == "" {
			digest = p.SourceSHA256
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%.16s\n", p.Name, p.Version, orDash(p.Path), size, pinned, p.Source, orDash(digest))
	}
	w.Flush()
	return s.String()
}

func megabytes(n int64) string { return fmt.Sprintf("%.1f", float64(n)/1e6) }

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}
