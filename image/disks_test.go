package image

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/porthole-run/porthole/image/layer"
	"github.com/porthole-run/porthole/test/registry"
)

func merges(c *Config) { c.apart = false }

func TestSpans(t *testing.T) {
	const k, m = 1 << 10, 1 << 20
	for _, tt := range []struct {
		name  string
		sizes []int64
		want  []span
	}{
		{"none", nil, nil},
		{"one", []int64{k}, nil},
		{"all_small", []int64{k, 0, k}, []span{{0, 3}}},
		{"large_alone", []int64{30 * m, 40 * m}, nil},
		{"base_and_small", []int64{30 * m, k, k, 2 * m, k}, []span{{1, 2}}},
		{"small_at_both_ends", []int64{k, k, 2 * m, k, k}, []span{{0, 2}, {3, 2}}},
		{"just_small_enough", []int64{m, m + 1, m, m}, []span{{2, 2}}},
		{"full", []int64{m, m, m, m, m, m, m, m, m, k}, []span{{0, 8}, {8, 2}}},
		{"full_and_one", []int64{m, m, m, m, m, m, m, m, k, 2 * m}, []span{{0, 8}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var layers []layerRecord
			for _, n := range tt.sizes {
				layers = append(layers, layerRecord{Blob: ocispec.Descriptor{Size: n}})
			}
			got := spans(layers)
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("spans (-want +got):\n%s", diff)
			}
			if err := validSpans(got, len(layers)); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestSpansOfRecords(t *testing.T) {
	for _, bad := range [][]span{{{0, 1}}, {{-1, 2}}, {{0, 2}, {1, 2}}, {{2, 2}, {0, 2}}, {{0, 5}}, {{3, 2}}, {{1, 1 << 62}}, {{5, 2}}} {
		if validSpans(bad, 4) == nil {
			t.Errorf("%v is valid", bad)
		}
	}
}

// small is an image of a layer that is large, and of small ones.
func small(t testing.TB, last string) v1.Image {
	return buildImage(t, v1.Config{}, fileMap{"base": {Content: noise(1, 2*mergeLayer)}},
		fileMap{"a": {Content: "a"}}, fileMap{"b": {Content: "b"}}, fileMap{".wh.a": {}, "last": {Content: last}})
}

func diffIDs(t testing.TB, img v1.Image) (ids []digest.Digest) {
	t.Helper()
	c, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	for _, h := range c.RootFS.DiffIDs {
		ids = append(ids, digest.Digest(h.String()))
	}
	return ids
}

// prepared are the ids of the disks that a container gets, which must be there.
func prepared(t testing.TB, s *Store, ref, holder string) (ids []string) {
	t.Helper()
	fs, err := s.Prepare(t.Context(), ref, holder)
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range fs.Layers {
		if fi, err := os.Stat(l.Path); err != nil || fi.Mode().Perm() != 0o444 {
			t.Errorf("layer %s: %v, %v; want mode 0444", l.Path, fi, err)
		}
		ids = append(ids, l.DiffID)
	}
	return ids
}

func TestPullMerges(t *testing.T) {
	img := small(t, "1")
	d := diffIDs(t, img)
	want := []string{d[0].String(), layer.MergedID(d[1:], false).String()}
	ref := push(t, startRegistry(t), "app", "v1", img)
	for _, discard := range []bool{false, true} {
		t.Run(fmt.Sprint("discard=", discard), func(t *testing.T) {
			root := t.TempDir()
			open := func() *Store { return openStore(t, root, func(c *Config) { merges(c); c.DiscardBlobs = discard }) }
			s := open()
			id := pull(t, s, ref)
			if diff := cmp.Diff(want, prepared(t, s, id, "c")); diff != "" {
				t.Errorf("Prepare (-want +got):\n%s", diff)
			}
			whole := files{Layers: 2, Records: 1, Blobs: 6}
			if discard {
				whole.Blobs = 2
			}
			pull(t, s, ref)
			if got := countFiles(t, root); got != whole {
				t.Errorf("files = %+v, want %+v", got, whole)
			}
			got, err := s.Status(t.Context(), id)
			var onDisk int64
			for _, name := range want {
				fi, serr := os.Stat(s.layerPath(digest.Digest(name)))
				if serr != nil {
					t.Fatal(serr)
				}
				onDisk += allocated(fi)
			}
			if err != nil || got.Size < onDisk || got.Size > onDisk+10_000 {
				t.Errorf("Status = %d bytes, %v; want %d and the documents", got.Size, err, onDisk)
			}
			s.Close()
			s = open() // what is recorded is what is kept
			if got := countFiles(t, root); got != whole {
				t.Errorf("files after a restart = %+v, want %+v", got, whole)
			}
			if err := s.Remove(t.Context(), ref); err != nil {
				t.Fatal(err)
			}
			if got := countFiles(t, root); got.Layers != 2 {
				t.Errorf("files of a held image = %+v, want both disks", got)
			}
			if err := s.Release(t.Context(), "c"); err != nil {
				t.Fatal(err)
			}
			if got := countFiles(t, root); got != (files{}) {
				t.Errorf("files = %+v, want none", got)
			}
		})
	}
}

// TestMergedIsMended loses a merged disk: it is made anew from its blobs, where they are kept.
func TestMergedIsMended(t *testing.T) {
	ref := push(t, startRegistry(t), "app", "v1", small(t, "1"))
	for _, discard := range []bool{false, true} {
		root := t.TempDir()
		s := openStore(t, root, func(c *Config) { merges(c); c.DiscardBlobs = discard })
		id := pull(t, s, ref)
		before := prepared(t, s, id, "c")
		kept := map[string]string{}
		for _, d := range before {
			b, err := os.ReadFile(s.layerPath(digest.Digest(d)))
			if err != nil {
				t.Fatal(err)
			}
			kept[d] = string(b)
		}
		removeGlob(t, root, "layers/*.vhd")
		if discard {
			if _, err := s.Prepare(t.Context(), id, "c"); err == nil || !strings.Contains(err.Error(), "pull the image again") {
				t.Errorf("Prepare = %v, want that the image has to be pulled again", err)
			}
			pull(t, s, ref)
		}
		for _, d := range prepared(t, s, id, "c") {
			if b, err := os.ReadFile(s.layerPath(digest.Digest(d))); err != nil || kept[d] != string(b) {
				t.Errorf("layer %s differs from what it was, or %v", d, err)
			}
		}
	}
}

// TestMergedIsShared pulls images, at once, of which two are alike but for their configs, and
// one parts from them in its last layer.
func TestMergedIsShared(t *testing.T) {
	reg := startRegistry(t)
	prom, err := NewMetrics(prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	img := small(t, "1")
	twin, err := mutate.Config(img, v1.Config{User: "1"})
	if err != nil {
		t.Fatal(err)
	}
	refs := []string{push(t, reg, "app", "v1", img), push(t, reg, "app", "v2", twin), push(t, reg, "app", "v3", small(t, "other"))}
	reg.Inject(registry.Fault{Path: "/blobs/", Delay: 20 * time.Millisecond})
	root := t.TempDir()
	s := openStore(t, root, func(c *Config) { merges(c); c.Metrics = prom })
	var wg sync.WaitGroup
	for i := range 9 {
		wg.Go(func() {
			if _, err := s.Pull(t.Context(), refs[i%3], Auth{}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	for i := range 4 {
		if n := reg.BlobGets("app", layerDigest(t, img, i)); n != 1 {
			t.Errorf("layer %d was fetched %d times, want once", i, n)
		}
	}
	// The base, once, and three layers for each of two disks.
	if n, m := testutil.ToFloat64(prom.layers), testutil.ToFloat64(prom.merged); n != 7 || m != 6 {
		t.Errorf("layers converted = %v, merged of them %v; want 7, 6", n, m)
	}
	if got := countFiles(t, root).Layers; got != 3 {
		t.Errorf("disks = %d, want 3", got)
	}
	if err := errors.Join(s.Remove(t.Context(), refs[0]), s.Remove(t.Context(), refs[2])); err != nil {
		t.Fatal(err)
	}
	if got := countFiles(t, root).Layers; got != 2 {
		t.Errorf("disks = %d, want the twin's 2", got)
	}
	prepared(t, s, refs[1], "c")
}

// TestTooLargeToMerge pulls what packs so well that it would be a large disk.
func TestTooLargeToMerge(t *testing.T) {
	const most = 4 << 20
	merges := func(c *Config) { merges(c); c.maxMerged = most }
	bomb := strings.Repeat("x", most/2)
	img := buildImage(t, v1.Config{}, fileMap{"a": {Content: bomb}}, fileMap{"b": {Content: bomb}}, fileMap{"c": {}})
	for i := range 3 {
		l, err := img.Layers()
		if err != nil {
			t.Fatal(err)
		}
		if n, err := l[i].Size(); err != nil || n > mergeLayer {
			t.Fatalf("layer %d has %d bytes, %v", i, n, err)
		}
	}
	root := t.TempDir()
	s := openStore(t, root, merges)
	ref := push(t, startRegistry(t), "bomb", "v1", img)
	var want []string
	for _, d := range diffIDs(t, img) {
		want = append(want, d.String())
	}
	for range 2 {
		if diff := cmp.Diff(want, prepared(t, s, pull(t, s, ref), "c")); diff != "" {
			t.Errorf("Prepare (-want +got):\n%s", diff)
		}
	}
	s.Close()
	s = openStore(t, root, merges)
	if r := s.images[digest.Digest(imageID(t, img))]; r == nil || len(r.Merged) != 0 {
		t.Errorf("record = %+v, want no merged layers", r)
	}
	if got, want := countFiles(t, root), (files{Layers: 3, Records: 1, Blobs: 5}); got != want {
		t.Errorf("files = %+v, want %+v", got, want)
	}
}

// TestMergedFaults pulls images of small layers of which one is at fault: errors are as those
// of layers that are not merged.
func TestMergedFaults(t *testing.T) {
	reg := startRegistry(t)
	good := small(t, "1")
	wrong, err := good.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	wrong = wrong.DeepCopy()
	wrong.RootFS.DiffIDs[2].Hex = strings.Repeat("ab", 32)
	wrongImage, err := mutate.ConfigFile(good, wrong)
	if err != nil {
		t.Fatal(err)
	}
	noTar := appendRaw(t, good, []byte(strings.Repeat("not a tar ", 200)))
	for name, tt := range map[string]struct {
		img  v1.Image
		is   func(error) bool
		says string
	}{
		"no-tar":     {noTar, errdefs.IsInvalidArgument, "convert layer " + layerDigest(t, noTar, 4).String()},
		"wrong-diff": {wrongImage, errdefs.IsFailedPrecondition, "convert layer " + layerDigest(t, good, 2).String()},
	} {
		t.Run(name, func(t *testing.T) {
			root := t.TempDir()
			s := openStore(t, root, merges)
			_, err := s.Pull(t.Context(), push(t, reg, "faults", name, tt.img), Auth{})
			if err == nil || !tt.is(err) || !strings.Contains(err.Error(), tt.says) {
				t.Errorf("Pull = %v, want another kind or %q in it", err, tt.says)
			}
			if got := countFiles(t, root); got != (files{}) {
				t.Errorf("files = %+v, want none", got)
			}
		})
	}
}

// TestOlderRecordStaysApart opens a store of a build that merged no layers, and pulls again.
func TestOlderRecordStaysApart(t *testing.T) {
	root := t.TempDir()
	ref := push(t, startRegistry(t), "app", "v1", small(t, "1"))
	s := openStore(t, root, nil)
	id := pull(t, s, ref)
	before := prepared(t, s, id, "c")
	b, err := os.ReadFile(s.recordPath(digest.Digest(id)))
	var fields map[string]any
	if err := errors.Join(err, json.Unmarshal(b, &fields)); err != nil || fields["merged"] != nil {
		t.Fatalf("record %s, %v: want none that knows of merged layers", b, err)
	}
	s.Close()
	s = openStore(t, root, merges)
	for range 2 {
		if diff := cmp.Diff(before, prepared(t, s, id, "c")); diff != "" || len(before) != 4 {
			t.Errorf("Prepare (-before +after):\n%s", diff)
		}
		pull(t, s, ref)
	}
	if got := countFiles(t, root).Layers; got != 4 {
		t.Errorf("disks = %d, want 4", got)
	}
}
