package image

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/porthole-run/porthole/test/registry"
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
	s := openStore(t, root, func(c *Config) { merges(c); stalls(c) })
	stalled := layerDigest(t, other, 0)
	reg.Inject(registry.Fault{Path: stalled.String(), Method: "GET", Delay: 500 * time.Millisecond})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	done := make(chan error, 1)
	go func() { _, err := s.Pull(ctx, otherRef, Auth{}); done <- err }()
	poll := time.NewTicker(time.Millisecond)
	defer poll.Stop()
	for reg.BlobGets("plain", stalled) == 0 {
		<-poll.C
	}
	id := pull(t, s, ref)
	before := prepared(t, s, id, "c")
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
	img := buildImage(t, v1.Config{}, fileMap{"a": {Content: "a"}}, fileMap{"b": {}}, fileMap{".wh.a": {}})
	ref := push(t, reg, "app", "v1", img)
	for _, discard := range []bool{false, true} {
		everyStepFails(t, ref, func(c *Config) { merges(c); c.DiscardBlobs = discard })
	}
}

// TestMergedCrash stops at each step, as a killed process does, and opens what it left.
func TestMergedCrash(t *testing.T) {
	reg := startRegistry(t)
	img := small(t, "1")
	ref := push(t, reg, "app", "v1", img)
	whole := files{Layers: 2, Records: 1, Blobs: 6}
	dead := errors.New("dead")
	steps := 1
	for n := 0; n < steps; n++ {
		at, count := t.TempDir(), 0
		var mu sync.Mutex
		s := openStore(t, at, func(c *Config) {
			merges(c)
			c.Logger = quietLog
			c.hook = func(string) error {
				mu.Lock()
				defer mu.Unlock()
				if count++; count > n {
					return fmt.Errorf("%w: %w", dead, errdefs.ErrInternal) // from then on nothing changes
				}
				return nil
			}
		})
		_, err := s.Pull(t.Context(), ref, Auth{})
		if err != nil {
			steps = n + 2 // there is one more at least, or none that fails
		}
		if count > n && err == nil {
			t.Errorf("step %d: Pull went on after its end", n)
		}
		s.Close()
		s = openStore(t, at, merges)
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
