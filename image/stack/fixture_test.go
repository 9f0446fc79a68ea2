package stack

import (
	"archive/tar"
	"bytes"
	"context"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/porthole-run/porthole/image/layer"
)

// ent is an entry of a layer's tar.
type ent struct {
	tar.Header
	data string
}

func file(name, data string) ent {
	return ent{tar.Header{Typeflag: tar.TypeReg, Name: name, Size: int64(len(data)), Mode: 0o644}, data}
}

func dirEnt(name string) ent {
	return ent{tar.Header{Typeflag: tar.TypeDir, Name: name, Mode: 0o755}, ""}
}

func symlink(name, to string) ent {
	return ent{tar.Header{Typeflag: tar.TypeSymlink, Name: name, Linkname: to, Mode: 0o777}, ""}
}

func hardlink(name, to string) ent {
	return ent{tar.Header{Typeflag: tar.TypeLink, Name: name, Linkname: to}, ""}
}

func special(kind byte, name string) ent {
	return ent{tar.Header{Typeflag: kind, Name: name, Mode: 0o644, Devmajor: 1, Devminor: 3}, ""}
}

// makeTar is a layer's tar.
func makeTar(t testing.TB, entries []ent) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, e := range entries {
		if err := w.WriteHeader(&e.Header); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, e.data); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func source(b []byte) layer.Source {
	return func(context.Context) (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(b)), nil }
}

func newDisk(t testing.TB) *os.File {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), "layer.vhd"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

// makeLayers makes the disks of layers, bottom first.
func makeLayers(t testing.TB, layers ...[]ent) []string {
	t.Helper()
	var disks []string
	for _, entries := range layers {
		f := newDisk(t)
		if _, err := layer.Convert(t.Context(), source(makeTar(t, entries)), f, layer.Options{}); err != nil {
			t.Fatal(err)
		}
		disks = append(disks, f.Name())
	}
	return disks
}

// mergeLayers makes one disk of layers, bottom first, that have something below.
func mergeLayers(t testing.TB, layers ...[]ent) string {
	t.Helper()
	var parts []layer.Part
	for _, entries := range layers {
		b := makeTar(t, entries)
		parts = append(parts, layer.Part{Source: source(b), DiffID: digest.FromBytes(b)})
	}
	f := newDisk(t)
	if _, err := layer.Merge(t.Context(), parts, f, layer.MergeOptions{}); err != nil {
		t.Fatal(err)
	}
	return f.Name()
}
