package image

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/containerd/errdefs"
	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
)

func FuzzRecord(f *testing.F) {
	f.Add([]byte(`{"version":1,"id":"sha256:x"}`))
	f.Add([]byte(`null`))
	f.Add([]byte(`{"version":1,"layers":[{},{}],"merged":[{"first":0,"count":2}]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		root := t.TempDir()
		dir := filepath.Join(root, "images")
		os.MkdirAll(dir, 0o700)
		os.WriteFile(filepath.Join(dir, "sha256-"+strings.Repeat("a", 64)+".json"), b, 0o600)
		s := openStore(t, root, func(c *Config) { c.Logger = quietLog })
		if list, err := s.List(t.Context(), ""); err != nil || len(list) != 0 {
			t.Errorf("List = %v, %v", list, err)
		}
	})
}

func FuzzDockerConfig(f *testing.F) {
	f.Add([]byte(`{"auths":{"https://index.docker.io/v1/":{"auth":"dTpw"}}}`), "docker.io")
	f.Fuzz(func(t *testing.T, b []byte, host string) {
		if a, err := parseDockerConfig(b, host); err == nil {
			_, _, _ = a.login()
		}
	})
}

func TestConfigNamesAllFaults(t *testing.T) {
	_, err := Open(Config{Platform: "no/such/thing/at/all", MaxDownloads: -1})
	for _, want := range []string{"root is not set", "platform", "max downloads is negative"} {
		if !errdefs.IsInvalidArgument(err) || !strings.Contains(err.Error(), want) {
			t.Errorf("Open = %v, want %q in it", err, want)
		}
	}
}

func TestOpenTwice(t *testing.T) {
	root := t.TempDir()
	openStore(t, root, nil)
	if _, err := Open(Config{Root: root}); !errdefs.IsFailedPrecondition(err) {
		t.Errorf("Open = %v, want FailedPrecondition", err)
	}
}

func TestStatusReferences(t *testing.T) {
	reg := startRegistry(t)
	img := twoLayers(t)
	ref := push(t, reg, "app", "v1", img)
	push(t, reg, "app", "v2", img)
	push(t, reg, "other", "v1", img)
	s := openStore(t, t.TempDir(), func(c *Config) { c.Pinned = []string{reg.Host() + "/oth*"} })
	id := pull(t, s, ref)
	d, _ := img.Digest()
	byDigest := reg.Host() + "/app@" + d.String()
	hex := strings.TrimPrefix(id, "sha256:")
	for _, q := range []string{ref, id, hex, hex[:3], "sha256:" + hex[:12], byDigest, reg.Host() + "/app:zzz@" + d.String()} {
		if got, err := s.Status(t.Context(), q); err != nil || got.ID != id || got.Pinned {
			t.Errorf("Status(%q) = %v, %v; want %s, not pinned", q, got.ID, err, id)
		}
	}
	for _, q := range []string{reg.Host() + "/app:v2", "busybox", hex[:2], "sha256:" + strings.Repeat("0", 64)} {
		if got, err := s.Status(t.Context(), q); !errdefs.IsNotFound(err) {
			t.Errorf("Status(%q) = %v, %v; want NotFound", q, got.ID, err)
		}
	}
	pull(t, s, reg.Host()+"/app:v2")
	pull(t, s, reg.Host()+"/other:v1")
	pull(t, s, byDigest)
	list, err := s.List(t.Context(), "")
	if err != nil || len(list) != 1 {
		t.Fatalf("List = %v, %v; want one image", list, err)
	}
	want := []string{reg.Host() + "/app:v1", reg.Host() + "/app:v2", reg.Host() + "/other:v1"}
	if diff := cmp.Diff(want, list[0].RepoTags); diff != "" || !list[0].Pinned || len(list[0].RepoDigests) != 2 {
		t.Errorf("List = %+v, want pinned, two digests, tags (-want +got):\n%s", list[0], diff)
	}
	if got, err := s.List(t.Context(), "nothing:v1"); err != nil || len(got) != 0 {
		t.Errorf("List(nothing:v1) = %v, %v; want nothing", got, err)
	}
}

func TestStatusUser(t *testing.T) {
	reg := startRegistry(t)
	s := openStore(t, t.TempDir(), nil)
	for user, want := range map[string]string{"": "nil ", "1000": "1000 ", "1000:5": "1000 ", "demo": "nil demo", "demo:staff": "nil demo", "0": "0 "} {
		got, err := s.Status(t.Context(), pull(t, s, push(t, reg, "u", "v1", buildImage(t, v1.Config{User: user}, fileMap{"f": {}}))))
		if err != nil {
			t.Fatal(err)
		}
		uid := "nil"
		if got.UID != nil {
			uid = fmt.Sprint(*got.UID)
		}
		if uid+" "+got.Username != want {
			t.Errorf("user %q = %s %s, want %s", user, uid, got.Username, want)
		}
	}
}

func TestTagMoves(t *testing.T) {
	reg := startRegistry(t)
	root := t.TempDir()
	s := openStore(t, root, nil)
	ref := push(t, reg, "app", "v1", twoLayers(t))
	first := pull(t, s, ref)
	push(t, reg, "app", "v1", buildImage(t, v1.Config{}, fileMap{"new": {}}))
	second := pull(t, s, ref)
	check := func(s *Store) {
		t.Helper()
		if got, err := s.Status(t.Context(), ref); err != nil || got.ID != second {
			t.Errorf("Status(%s) = %s, %v; want %s", ref, got.ID, err, second)
		}
		if got, err := s.Status(t.Context(), first); err != nil || len(got.RepoTags) != 0 || len(got.RepoDigests) != 1 {
			t.Errorf("Status(%s) = %+v, %v; want no tags and a digest", first, got, err)
		}
	}
	check(s)
	s.Close()
	check(openStore(t, root, nil))
}

func TestRemove(t *testing.T) {
	reg := startRegistry(t)
	base := fileMap{"base": {Content: noise(3, 1000)}}
	a := buildImage(t, v1.Config{}, base, fileMap{"a": {}})
	b := buildImage(t, v1.Config{}, base, fileMap{"b": {}})
	root := t.TempDir()
	s := openStore(t, root, nil)
	refA, refB := push(t, reg, "a", "v1", a), push(t, reg, "b", "v1", b)
	idA := pull(t, s, refA)
	pull(t, s, push(t, reg, "a", "also", a))
	pull(t, s, refB)
	if err := s.Remove(t.Context(), refA); err != nil {
		t.Fatal(err)
	}
	for _, q := range []string{refA, idA, reg.Host() + "/a:also"} {
		if _, err := s.Status(t.Context(), q); !errdefs.IsNotFound(err) {
			t.Errorf("Status(%s) = %v, want NotFound", q, err)
		}
	}
	if got, want := countFiles(t, root), (files{Layers: 2, Records: 1, Blobs: 4}); got != want {
		t.Errorf("files = %+v, want %+v", got, want)
	}
	if err := s.Remove(t.Context(), refA); !errdefs.IsNotFound(err) {
		t.Errorf("second Remove = %v, want NotFound", err)
	}
	if err := s.Remove(t.Context(), refB); err != nil {
		t.Fatal(err)
	}
	if got := countFiles(t, root); got != (files{}) {
		t.Errorf("files = %+v, want none", got)
	}
}

func TestHoldKeepsLayers(t *testing.T) {
	reg := startRegistry(t)
	ref := push(t, reg, "app", "v1", twoLayers(t))
	root := t.TempDir()
	s := openStore(t, root, nil)
	id := pull(t, s, ref)
	if _, err := s.Prepare(t.Context(), "nothing", "c1"); !errdefs.IsNotFound(err) {
		t.Errorf("Prepare = %v, want NotFound", err)
	}
	before, err := s.Prepare(t.Context(), ref, "c1")
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Remove(t.Context(), ref); err != nil {
		t.Fatal(err)
	}
	if list, _ := s.List(t.Context(), ""); len(list) != 0 {
		t.Errorf("List = %v, want nothing", list)
	}
	if _, err := s.Prepare(t.Context(), id, "c2"); !errdefs.IsNotFound(err) {
		t.Errorf("Prepare of a removed image = %v, want NotFound", err)
	}
	s.Close()
	s = openStore(t, root, nil) // holds outlive the process
	if got := s.Holders(); !cmp.Equal(got, []string{"c1"}) {
		t.Errorf("Holders = %v, want c1", got)
	}
	after, err := s.Prepare(t.Context(), id, "c1")
	if diff := cmp.Diff(before, after); err != nil || diff != "" {
		t.Errorf("Prepare again: %v (-before +after):\n%s", err, diff)
	}
	if got := countFiles(t, root).Layers; got != 2 {
		t.Errorf("layers = %d, want 2", got)
	}
	for range 2 {
		if err := s.Release(t.Context(), "c1"); err != nil {
			t.Fatal(err)
		}
	}
	if got := countFiles(t, root); got != (files{}) {
		t.Errorf("files = %+v, want none", got)
	}
}

func TestPrepareRepeatedLayer(t *testing.T) {
	img := twoLayers(t)
	layers, _ := img.Layers()
	img, err := mutate.AppendLayers(img, layers[0])
	if err != nil {
		t.Fatal(err)
	}
	s := openStore(t, t.TempDir(), nil)
	got, err := s.Prepare(t.Context(), pull(t, s, push(t, startRegistry(t), "twice", "v1", img)), "c")
	if err != nil {
		t.Fatal(err)
	}
	d0, _ := layers[0].DiffID()
	d1, _ := layers[1].DiffID()
	if len(got.Layers) != 2 || got.Layers[0].DiffID != d1.String() || got.Layers[1].DiffID != d0.String() {
		t.Errorf("Layers = %v, want the second, then the first", got.Layers)
	}
}

func TestPrepareMendsLostLayer(t *testing.T) {
	root := t.TempDir()
	s := openStore(t, root, nil)
	id := pull(t, s, push(t, startRegistry(t), "app", "v1", twoLayers(t)))
	removeGlob(t, root, "layers/*.vhd")
	if _, err := s.Prepare(t.Context(), id, "c"); err != nil || countFiles(t, root).Layers != 2 {
		t.Errorf("Prepare = %v, %+v; want the layers back", err, countFiles(t, root))
	}
}

func TestDiscardBlobs(t *testing.T) {
	root := t.TempDir()
	s := openStore(t, root, func(c *Config) { c.DiscardBlobs = true })
	ref := push(t, startRegistry(t), "app", "v1", twoLayers(t))
	pull(t, s, ref)
	pull(t, s, ref)
	if got, want := countFiles(t, root), (files{Layers: 2, Records: 1, Blobs: 2}); got != want {
		t.Errorf("files = %+v, want %+v", got, want)
	}
	if err := s.Export(t.Context(), []string{ref}, new(bytes.Buffer)); !errdefs.IsFailedPrecondition(err) {
		t.Errorf("Export = %v, want FailedPrecondition", err)
	}
}

func TestFsInfo(t *testing.T) {
	root := t.TempDir()
	s := openStore(t, root, nil)
	before, err := s.FsInfo(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	id := pull(t, s, push(t, startRegistry(t), "app", "v1", twoLayers(t)))
	after, err := s.FsInfo(t.Context())
	if err != nil || after.Mountpoint != root || after.UsedBytes < before.UsedBytes+400_000 || after.InodesUsed <= before.InodesUsed {
		t.Errorf("FsInfo = %+v after %+v, %v; want blob and layer in it", after, before, err)
	}
	for _, holder := range []string{"a", "b"} {
		if _, err := s.Prepare(t.Context(), id, holder); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Release(t.Context(), "a"); err != nil {
		t.Fatal(err)
	}
	held, err := s.FsInfo(t.Context())
	if err != nil || held.InodesUsed != after.InodesUsed+1 || held.UsedBytes < after.UsedBytes+holdBytes {
		t.Errorf("FsInfo = %+v after %+v, %v; want one hold more", held, after, err)
	}
}

// TestOpenClearsLeftovers opens a store that a crash left at its worst.
func TestOpenClearsLeftovers(t *testing.T) {
	root := t.TempDir()
	s := openStore(t, root, nil)
	reg := startRegistry(t)
	good, lost := twoLayers(t), buildImage(t, v1.Config{}, fileMap{"lost": {}})
	ref, lostRef := push(t, reg, "good", "v1", good), push(t, reg, "lost", "v1", lost)
	pull(t, s, ref)
	pull(t, s, lostRef)
	s.Close()
	d, _ := lost.Layers()
	diff, _ := d[0].DiffID()
	zeros := strings.Repeat("0", 64)
	os.Remove(filepath.Join(root, "layers", "sha256-"+diff.Hex+layerSuffix))
	for name, text := range map[string]string{
		"layers/.tmp-123": "half a layer", "layers/sha256-" + zeros + layerSuffix: "a layer of no image",
		"layers/sha256-" + zeros + ".vhd":      "a layer of the first format",
		"layers/sha256-" + zeros + ".v999.vhd": "a layer of a later format",
		"images/sha256-" + zeros + ".json":     `{"version": 1, "id"`, "images/.atomic-x": "half a record",
		"holds/junk.json": "{}", "content/blobs/sha256/" + zeros: "a blob of no image",
	} {
		if err := os.WriteFile(filepath.Join(root, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s = openStore(t, root, func(c *Config) { c.Logger = quietLog })
	if got, want := countFiles(t, root), (files{Layers: 2, Records: 1, Blobs: 4}); got != want {
		t.Errorf("files = %+v, want %+v", got, want)
	}
	if list, _ := s.List(t.Context(), ""); len(list) != 1 || list[0].RepoTags[0] != ref {
		t.Errorf("List = %v, want %s alone", list, ref)
	}
	pull(t, s, lostRef)
}

// TestEveryStepFails fails each step of a life of an image once, as a full disk or a
// crash would, and looks that the store is sound with and without a restart.
func TestEveryStepFails(t *testing.T) {
	reg := startRegistry(t)
	everyStepFails(t, push(t, reg, "app", "v1", buildImage(t, v1.Config{}, fileMap{"a": {Content: "a"}})), func(*Config) {})
}

func everyStepFails(t *testing.T, ref string, change func(*Config)) {
	t.Helper()
	life := func(s *Store) error {
		id, err := s.Pull(t.Context(), ref, Auth{})
		if err != nil {
			return err
		}
		_, err = s.Prepare(t.Context(), id, "c")
		return errors.Join(err, s.Remove(t.Context(), id), s.Release(t.Context(), "c"))
	}
	boom := errors.New("boom")
	steps := 1
	for n := 0; n < steps; n++ {
		root := t.TempDir()
		count := 0
		var mu sync.Mutex // layers of one disk are fetched side by side
		s := openStore(t, root, func(c *Config) {
			change(c)
			c.MaxConversions, c.MaxDownloads, c.Logger = 1, 1, quietLog
			c.hook = func(string) error {
				mu.Lock()
				defer mu.Unlock()
				if count++; count-1 == n {
					return fmt.Errorf("%w: %w", boom, errdefs.ErrInternal)
				}
				return nil
			}
		})
		err := life(s)
		steps = max(steps, count)
		if count > n && err == nil {
			t.Logf("step %d: its failure was mended", n)
		}
		if got := countFiles(t, root).Temp; got != 0 {
			t.Errorf("step %d: %d temporary files left", n, got)
		}
		s.cfg.hook = nil
		if err := errors.Join(life(s), s.Close()); err != nil {
			t.Errorf("step %d: life after it: %v", n, err)
		}
		s = openStore(t, root, change)
		if err := life(s); err != nil {
			t.Errorf("step %d: life after a restart: %v", n, err)
		}
		if got := countFiles(t, root); got != (files{}) {
			t.Errorf("step %d: files = %+v, want none", n, got)
		}
		s.Close()
	}
	if steps < 15 {
		t.Errorf("there were %d steps, want 15 at least", steps)
	}
}

func removeGlob(t *testing.T, root, pattern string) {
	t.Helper()
	paths, _ := filepath.Glob(filepath.Join(root, pattern))
	for _, p := range paths {
		if err := os.Remove(p); err != nil {
			t.Fatal(err)
		}
	}
}
