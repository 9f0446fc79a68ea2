package image

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/containerd/errdefs"
	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// plainLayers is an image with the same config whose layers are not compressed.
func plainLayers(t *testing.T, img v1.Image) v1.Image {
	t.Helper()
	layers, err := img.Layers()
	if err != nil {
		t.Fatal(err)
	}
	out := v1.Image(empty.Image)
	for _, l := range layers {
		r, err := l.Uncompressed()
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		out, err = mutate.Append(out, mutate.Addendum{Layer: static.NewLayer(b, types.OCIUncompressedLayer), MediaType: types.OCIUncompressedLayer})
		if err != nil {
			t.Fatal(err)
		}
	}
	config, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	if out, err = mutate.ConfigFile(out, config); err != nil {
		t.Fatal(err)
	}
	return out
}

// TestOneImageOfTwoManifests pulls an image twice at once, whose layers are small by one of its
// manifests alone. A container that has come between keeps its disks.
func TestOneImageOfTwoManifests(t *testing.T) {
	reg, root := startRegistry(t), t.TempDir()
	img := buildImage(t, v1.Config{}, fileMap{"a": {Content: strings.Repeat("a", 2*mergeLayer)}}, fileMap{"b": {Content: strings.Repeat("b", 2*mergeLayer)}})
	other := plainLayers(t, img)
	if imageID(t, img) != imageID(t, other) {
		t.Fatal("the images differ")
	}
	ref, otherRef := push(t, reg, "packed", "v1", img), push(t, reg, "plain", "v1", other)
	var blobs atomic.Int32
	waits, goOn := make(chan struct{}), make(chan struct{})
	s := openStore(t, root, func(c *Config) {
		merges(c)
		stalls(c)
		c.hook = func(step string) error {
			if step == "write blob" && blobs.Add(1) == 3 { // after manifest and config, a layer
				close(waits)
				<-goOn
			}
			return nil
		}
	})
	done := make(chan error, 1)
	go func() { _, err := s.Pull(t.Context(), otherRef, Auth{}); done <- err }()
	<-waits
	id := pull(t, s, ref)
	before := prepared(t, s, id, "c")
	close(goOn)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(before, prepared(t, s, id, "c")); diff != "" || len(before) != 1 {
		t.Errorf("Prepare (-before +after), want one disk:\n%s", diff)
	}
	if got := countFiles(t, root); got.Layers != 1 || got.Records != 1 {
		t.Errorf("files = %+v, want one disk", got)
	}
}

// TestEveryMergedStepFails is TestEveryStepFails for an image whose layers share a disk.
func TestEveryMergedStepFails(t *testing.T) {
	reg := startRegistry(t)
	everyStepFails(t, push(t, reg, "app", "v1", buildImage(t, v1.Config{}, fileMap{"a": {Content: "a"}}, fileMap{".wh.a": {}})), merges)
}

// TestMergedCrash stops at each step, as a killed process does, and opens what it left. Blobs
// go once their disk is made.
func TestMergedCrash(t *testing.T) {
	reg := startRegistry(t)
	ref := push(t, reg, "app", "v1", buildImage(t, v1.Config{}, fileMap{"a": {Content: "a"}}, fileMap{".wh.a": {}}))
	whole := files{Layers: 1, Records: 1, Blobs: 2}
	dead := errors.New("dead")
	steps := 1
	for n := 0; n < steps; n++ {
		at, count := t.TempDir(), 0
		var mu sync.Mutex
		s := openStore(t, at, func(c *Config) {
			merges(c)
			c.DiscardBlobs, c.Logger = true, quietLog
			c.hook = func(string) error {
				mu.Lock()
				defer mu.Unlock()
				if count++; count > n {
					return fmt.Errorf("%w: %w", dead, errdefs.ErrInternal) // from then on nothing changes
				}
				return nil
			}
		})
		if _, err := s.Pull(t.Context(), ref, Auth{}); err == nil && len(s.images) == 0 {
			t.Errorf("step %d: Pull succeeded without a record", n)
		}
		if count > n {
			steps = n + 2 // it did not come through
		}
		s.Close()
		s = openStore(t, at, func(c *Config) { merges(c); c.DiscardBlobs = true })
		pull(t, s, ref)
		prepared(t, s, ref, "c")
		if got := countFiles(t, at); got != whole {
			t.Errorf("step %d: files = %+v, want %+v", n, got, whole)
		}
		s.Close()
	}
	if steps < 12 {
		t.Errorf("there were %d steps, want 12 at least", steps)
	}
}
