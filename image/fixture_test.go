package image

import (
	"bytes"
	"log/slog"
	"math/rand/v2"
	"path/filepath"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"

	"github.com/porthole-run/porthole/test/registry"
	"github.com/porthole-run/porthole/test/registry/debimage"
)

func startRegistry(t testing.TB) *registry.Registry {
	t.Helper()
	r, err := registry.Start("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	return r
}

type testLog struct{ t testing.TB }

func (l testLog) Write(b []byte) (int, error) {
	l.t.Log(string(bytes.TrimSpace(b)))
	return len(b), nil
}

// openStore opens a store whose stalls are short and which merges no layers. change may be nil.
func openStore(t testing.TB, root string, change func(*Config)) *Store {
	t.Helper()
	cfg := Config{Root: root, ProgressTimeout: 5 * time.Second, apart: true,
		Logger: slog.New(slog.NewTextHandler(testLog{t}, &slog.HandlerOptions{Level: slog.LevelWarn}))}
	if change != nil {
		change(&cfg)
	}
	s, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// buildImage makes an image with one layer for each set of files.
func buildImage(t testing.TB, config v1.Config, layers ...map[string]debimage.File) v1.Image {
	t.Helper()
	img, err := debimage.Build(t.Context(), debimage.Spec{Files: layers, Config: config})
	if err != nil {
		t.Fatal(err)
	}
	return img
}

// noise is text that does not compress.
func noise(seed uint64, n int) string {
	b := make([]byte, n)
	rand.NewChaCha8([32]byte{byte(seed)}).Read(b)
	return string(b)
}

func push(t testing.TB, r *registry.Registry, repository, tag string, img v1.Image) string {
	t.Helper()
	if _, err := r.Push(t.Context(), repository, tag, img); err != nil {
		t.Fatal(err)
	}
	return r.Host() + "/" + repository + ":" + tag
}

func pull(t testing.TB, s *Store, ref string) string {
	t.Helper()
	id, err := s.Pull(t.Context(), ref, Auth{})
	if err != nil {
		t.Fatalf("Pull(%s): %v", ref, err)
	}
	return id
}

func imageID(t testing.TB, img v1.Image) string {
	t.Helper()
	h, err := img.ConfigName()
	if err != nil {
		t.Fatal(err)
	}
	return h.String()
}

// files counts what a store has on disk: layers, records, blobs, unfinished downloads
// and temporary files.
type files struct{ Layers, Records, Blobs, Ingests, Temp int }

func countFiles(t testing.TB, root string) files {
	t.Helper()
	count := func(pattern string) int {
		m, err := filepath.Glob(filepath.Join(root, pattern))
		if err != nil {
			t.Fatal(err)
		}
		return len(m)
	}
	return files{
		Layers: count("layers/*.vhd"), Records: count("images/*.json"), Blobs: count("content/blobs/sha256/*"),
		Ingests: count("content/ingest/*"), Temp: count("layers/.tmp-*") + count("images/.atomic-*"),
	}
}

// appendRaw puts a layer of any bytes on an image.
func appendRaw(t testing.TB, img v1.Image, b []byte) v1.Image {
	t.Helper()
	l, err := debimage.TarLayer(b)
	if err != nil {
		t.Fatal(err)
	}
	img, err = mutate.AppendLayers(img, l)
	if err != nil {
		t.Fatal(err)
	}
	return img
}

func layerDigest(t testing.TB, img v1.Image, i int) v1.Hash {
	t.Helper()
	m, err := img.Manifest()
	if err != nil {
		t.Fatal(err)
	}
	return m.Layers[i].Digest
}

var quietLog = slog.New(slog.DiscardHandler)
