package image

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path"

	"github.com/containerd/errdefs"
)

// ManifestVersion is the version of the manifest's format.
const ManifestVersion = 1

// Names of the files of a bundle.
const (
	KernelFile   = "vmlinux"
	InitrdFile   = "initrd"
	ManifestFile = "manifest.json"
)

// Flavour tells kernels apart that want different care.
type Flavour string

// The flavours.
const (
	// Debian is the kernel of Debian's linux-image-cloud-amd64 package; its
	// drivers are modules.
	Debian Flavour = "debian"
	// Small is built from Debian's linux-source with kernel.fragment; all is
	// built in.
	Small Flavour = "small"
)

// Manifest says what a bundle consists of.
type Manifest struct {
	Version int    `json:"version"`
	Kernel  Kernel `json:"kernel"`
	// Files are the kernel and the initrd as they lie in the bundle.
	Files []File `json:"files"`
	// Parts are the programs and data in those files, and the libraries that
	// are linked into them.
	Parts []Part `json:"parts"`
}

// Kernel describes the bundle's kernel.
type Kernel struct {
	Flavour Flavour `json:"flavour"`
	// Release is what uname -r says in the guest.
	Release string `json:"release"`
	// ConfigSHA256 is the digest of the configuration it was built with.
	ConfigSHA256 string `json:"config_sha256"`
	// Modules is the number of modules in the initrd.
	Modules int `json:"modules"`
	// Quotas says that it mounts ext4 with project quotas; bundles from before say nothing.
	Quotas bool `json:"quotas,omitempty"`
}

// File is one file of a bundle.
type File struct {
	Name   string `json:"name"`
	SHA256 string `json:"sha256"`
	Size   int64  `json:"size"` // bytes
}

// Part is one piece of the guest with its origin.
type Part struct {
	Name string `json:"name"`
	// Path is where the part lies in the guest; empty for the kernel and for
	// what is linked into another part.
	Path    string `json:"path,omitempty"`
	Version string `json:"version"`
	// Source is where the part comes from: "package=version" for Debian's
	// binary packages, with "source:" before it for source packages, or
	// "porthole" for this project's own.
	Source string `json:"source"`
	// SourceSHA256 is the digest of the package, or of the source package's
	// .dsc file; empty for this project's own.
	SourceSHA256 string `json:"source_sha256,omitempty"`
	// Pinned is false when the source is not the one that pins.json names,
	// because Debian's archive no longer had that.
	Pinned bool `json:"pinned"`
	// SHA256 and Size are those of the file in the guest; empty for what is
	// linked into another part.
	SHA256 string `json:"sha256,omitempty"`
	Size   int64  `json:"size,omitempty"` // bytes
}

// File returns the file of the given name.
func (m *Manifest) File(name string) (File, bool) {
	for _, f := range m.Files {
		if f.Name == name {
			return f, true
		}
	}
	return File{}, false
}

// maxManifest bounds the manifest file; one has about 5 KB.
const maxManifest = 1 << 20

// ReadManifest reads a manifest and checks it as Validate does. A field that
// is not known is an error: a manifest comes from the same tree as its reader.
func ReadManifest(r io.Reader) (Manifest, error) {
	text, err := io.ReadAll(io.LimitReader(r, maxManifest+1))
	if err != nil {
		return Manifest{}, fmt.Errorf("read manifest: %w", err)
	}
	if len(text) > maxManifest {
		return Manifest{}, fmt.Errorf("read manifest: over %d bytes: %w", maxManifest, errdefs.ErrInvalidArgument)
	}
	// The version first, so that another format is named and not its fields.
	var v struct {
		Version int `json:"version"`
	}
	if err := json.Unmarshal(text, &v); err != nil {
		return Manifest{}, fmt.Errorf("read manifest: %w: %w", err, errdefs.ErrInvalidArgument)
	}
	if v.Version != ManifestVersion {
		return Manifest{}, fmt.Errorf("read manifest: format %d is not known, want %d: make the bundle anew: %w", v.Version, ManifestVersion, errdefs.ErrFailedPrecondition)
	}
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	var m Manifest
	if err := d.Decode(&m); err != nil {
		return Manifest{}, fmt.Errorf("read manifest: %w: %w", err, errdefs.ErrInvalidArgument)
	}
	if err := m.Validate(); err != nil {
		return Manifest{}, err
	}
	return m, nil
}

// WriteManifest writes m as ReadManifest reads it.
func WriteManifest(w io.Writer, m Manifest) error {
	if err := m.Validate(); err != nil {
		return err
	}
	text, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return fmt.Errorf("write manifest: %w", err)
	}
	if _, err := w.Write(append(text, '\n')); err != nil {
		return fmt.Errorf("write manifest: %w", err)
	}
	return nil
}

// Validate returns all that is wrong with m, as one InvalidArgument error.
func (m *Manifest) Validate() error {
	var errs []error
	wrong := func(format string, args ...any) {
		errs = append(errs, fmt.Errorf("manifest: "+format+": %w", append(args, errdefs.ErrInvalidArgument)...))
	}
	if m.Version != ManifestVersion {
		wrong("version is %d, want %d", m.Version, ManifestVersion)
	}
	if m.Kernel.Flavour != Debian && m.Kernel.Flavour != Small {
		wrong("kernel flavour %q is not known", m.Kernel.Flavour)
	}
	if m.Kernel.Release == "" {
		wrong("kernel has no release")
	}
	if !isSHA256(m.Kernel.ConfigSHA256) {
		wrong("kernel config_sha256 is not a SHA-256 digest")
	}
	seen := map[string]bool{}
	for _, f := range m.Files {
		if f.Name != KernelFile && f.Name != InitrdFile || seen[f.Name] {
			wrong("file %q is not expected or given twice", f.Name)
		}
		seen[f.Name] = true
		if !isSHA256(f.SHA256) || f.Size <= 0 {
			wrong("file %q has no digest or size", f.Name)
		}
	}
	for _, name := range []string{KernelFile, InitrdFile} {
		if !seen[name] {
			wrong("file %q is missing", name)
		}
	}
	for i, p := range m.Parts {
		if p.Name == "" || p.Version == "" || p.Source == "" {
			wrong("part %d (%q) lacks a name, a version or a source", i, p.Name)
		}
		if p.Path != "" && (!path.IsAbs(p.Path) || path.Clean(p.Path) != p.Path) {
			wrong("part %q has a path that is not clean and absolute", p.Name)
		}
		if p.SHA256 != "" && !isSHA256(p.SHA256) || p.SourceSHA256 != "" && !isSHA256(p.SourceSHA256) || p.Size < 0 {
			wrong("part %q has a bad digest or size", p.Name)
		}
	}
	return errors.Join(errs...)
}

func isSHA256(s string) bool {
	b, err := hex.DecodeString(s)
	return err == nil && len(b) == 32
}
