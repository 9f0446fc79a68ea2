package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/porthole-run/porthole/guest/image"
)

// checkOut refuses to replace a folder that holds something else than a
// bundle.
func checkOut(dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("look at --out: %w", err)
	}
	for _, e := range entries {
		switch e.Name() {
		case image.KernelFile, image.InitrdFile, image.ManifestFile:
		default:
			return fmt.Errorf("--out %s holds %s, which is no part of a bundle; name a folder that is new or a bundle's, as it is replaced as a whole", dir, e.Name())
		}
	}
	return nil
}

// writeBundle writes the bundle into a folder next to out and puts that in
// its place. Whoever has files of an older bundle open keeps them.
func writeBundle(out string, m image.Manifest, vmlinux, initrd []byte) (err error) {
	m.Files = []image.File{
		{Name: image.KernelFile, SHA256: digestOfBytes(vmlinux), Size: int64(len(vmlinux))},
		{Name: image.InitrdFile, SHA256: digestOfBytes(initrd), Size: int64(len(initrd))},
	}
	var manifest bytes.Buffer
	if err := image.WriteManifest(&manifest, m); err != nil {
		return err
	}
	parent := filepath.Dir(out)
	if err := os.MkdirAll(parent, 0o755); err != nil {
		return err
	}
	tmp, err := os.MkdirTemp(parent, "."+filepath.Base(out)+"-")
	if err != nil {
		return err
	}
	defer func() {
		if rmErr := os.RemoveAll(tmp); err == nil {
			err = rmErr
		}
	}()
	// QEMU reads the bundle as another user.
	fresh := filepath.Join(tmp, "new")
	if err := os.Mkdir(fresh, 0o755); err != nil {
		return err
	}
	for name, content := range map[string][]byte{image.KernelFile: vmlinux, image.InitrdFile: initrd, image.ManifestFile: manifest.Bytes()} {
		if err := writeSynced(filepath.Join(fresh, name), content); err != nil {
			return err
		}
	}
	old := filepath.Join(tmp, "old")
	if err := os.Rename(out, old); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.Rename(fresh, out); err != nil {
		// Put the older one back, if there was one.
		if back := os.Rename(old, out); back != nil && !errors.Is(back, fs.ErrNotExist) {
			err = errors.Join(err, back)
		}
		return err
	}
	return nil
}

func writeSynced(name string, content []byte) error {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	return errors.Join(err, f.Sync(), f.Close())
}
