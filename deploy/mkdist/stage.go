package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	guestimage "github.com/porthole-run/porthole/guest/image"
)

// stage is what a release is laid out from.
type stage struct {
	system, program, guest, root, version, out string
}

// source is one file, or all of a folder, of the repository, and where it goes.
type source struct{ from, to string }

// common are for every system; systems' own follow.
var common = []source{
	{"README.md", "README.md"}, {"CHANGELOG.md", "CHANGELOG.md"}, {"docs", "docs"},
	{"deploy/kubernetes", "kubernetes"},
}

var bySystem = map[string]struct {
	program string
	files   []source
}{
	"windows": {"porthole.exe", []source{
		{"deploy/windows/install.ps1", "install.ps1"}, {"deploy/windows/config.toml", "config.toml"},
		{"deploy/windows/cni", "cni"},
	}},
	"linux": {"bin/porthole", []source{
		{"deploy/config/config.toml", "config.toml"}, {"deploy/systemd/porthole.service", "porthole.service"},
		{"deploy/cni", "cni"}, {"deploy/crictl.yaml", "crictl.yaml"},
	}},
}

// bundleFiles are the guest's.
var bundleFiles = []string{guestimage.KernelFile, guestimage.InitrdFile, guestimage.ManifestFile}

func (s stage) run() error {
	sys, ok := bySystem[s.system]
	if !ok {
		return fmt.Errorf("%q is neither windows nor linux", s.system)
	}
	if s.program == "" || s.guest == "" || s.version == "" || s.out == "" {
		return errors.New("stage needs -bin, -guest, -version and -out")
	}
	if _, err := os.Stat(s.out); err == nil {
		return fmt.Errorf("%s is there already", s.out)
	}
	if err := place(s.program, filepath.Join(s.out, sys.program), 0o755); err != nil {
		return err
	}
	for _, name := range bundleFiles {
		if err := place(filepath.Join(s.guest, name), filepath.Join(s.out, "guest", name), 0o644); err != nil {
			return err
		}
	}
	for _, src := range append(append([]source(nil), common...), sys.files...) {
		if err := s.copy(src); err != nil {
			return err
		}
	}
	b, err := guestimage.Open(s.guest)
	if err != nil {
		return err
	}
	text, err := bom(filepath.Join(s.out, sys.program), s.version, b.Manifest())
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(s.out, bomFile), text, 0o644)
}

func (s stage) copy(src source) error {
	from := filepath.Join(s.root, filepath.FromSlash(src.from))
	return filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		rel := strings.TrimPrefix(strings.TrimPrefix(path, from), string(filepath.Separator))
		return place(path, filepath.Join(s.out, filepath.FromSlash(src.to), rel), 0o644)
	})
}

func place(from, to string, mode fs.FileMode) (err error) {
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	_, err = io.Copy(out, in)
	return err
}
