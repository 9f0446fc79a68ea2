package image

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/containerd/errdefs"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/opencontainers/go-digest"

	"github.com/porthole-run/porthole/test/registry"
)

// waitFiles waits until a store has just these files, however busy the machine.
func waitFiles(t *testing.T, root string, want files) {
	t.Helper()
	poll := time.NewTicker(5 * time.Millisecond)
	defer poll.Stop()
	for deadline := time.Now().Add(time.Minute); ; <-poll.C {
		got := countFiles(t, root)
		if got == want {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("files = %+v, want %+v", got, want)
		}
	}
}

// cutPull pulls an image of two layers whose second does not come, until the first is
// there, and gives up.
func cutPull(t *testing.T, s *Store, reg *registry.Registry, ref string, img v1.Image) {
	t.Helper()
	reg.Inject(registry.Fault{Path: layerDigest(t, img, 1).String(), Method: "GET", Stall: true})
	defer reg.Heal()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	pulled := make(chan error, 1)
	go func() { _, err := s.Pull(ctx, ref, Auth{}); pulled <- err }()
	config, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	first := digest.Digest(config.RootFS.DiffIDs[0].String())
	poll := time.NewTicker(time.Millisecond)
	defer poll.Stop()
	for deadline := time.Now().Add(time.Minute); !s.haveLayer(first); <-poll.C {
		if time.Now().After(deadline) {
			t.Fatal("the first layer does not come")
		}
	}
	cancel()
	if err := <-pulled; !errors.Is(err, context.Canceled) {
		t.Fatalf("Pull = %v, want Canceled", err)
	}
}

func stalls(c *Config) { c.ProgressTimeout = time.Hour } // for as long as the test wants

// TestFailedPullIsKept keeps what a pull brought that was cut, for the next attempt. Once
// that has come through, the image's end is the end of it.
func TestFailedPullIsKept(t *testing.T) {
	reg, root := startRegistry(t), t.TempDir()
	img := twoLayers(t)
	ref := push(t, reg, "cut", "v1", img)
	s := openStore(t, root, stalls)
	cutPull(t, s, reg, ref, img)
	if got := countFiles(t, root); got.Layers != 1 || got.Blobs != 3 {
		t.Errorf("files = %+v, want the first layer, its blob and two documents", got)
	}
	pull(t, s, ref)
	if n := reg.BlobGets("cut", layerDigest(t, img, 0)); n != 1 {
		t.Errorf("the first layer was fetched %d times, want once", n)
	}
	if err := s.Remove(t.Context(), ref); err != nil {
		t.Fatal(err)
	}
	if got := countFiles(t, root); got != (files{}) {
		t.Errorf("files = %+v, want none", got)
	}
}

// TestFailedPullGoes lets nothing happen on the node after a pull that was cut.
func TestFailedPullGoes(t *testing.T) {
	reg, root := startRegistry(t), t.TempDir()
	img := twoLayers(t)
	s := openStore(t, root, func(c *Config) { stalls(c); c.KeepFailed = 10 * time.Millisecond })
	cutPull(t, s, reg, push(t, reg, "cut", "v1", img), img)
	waitFiles(t, root, files{})
}

// TestRemoveTakesWhatAFailedPullKept removes an image that was pulled again, and that
// pull was cut.
func TestRemoveTakesWhatAFailedPullKept(t *testing.T) {
	reg, root := startRegistry(t), t.TempDir()
	img := twoLayers(t)
	ref := push(t, reg, "cut", "v1", img)
	s := openStore(t, root, stalls)
	pull(t, s, ref)
	removeGlob(t, root, "layers/*.vhd")
	removeGlob(t, root, "content/blobs/sha256/"+layerDigest(t, img, 1).Hex)
	cutPull(t, s, reg, ref, img)
	if err := s.Remove(t.Context(), ref); err != nil {
		t.Fatal(err)
	}
	if got := countFiles(t, root); got != (files{}) {
		t.Errorf("files = %+v, want none", got)
	}
}

// TestOpenAfterKilledDownload opens a store whose process was killed as it began a
// download, or as it ended one: of its files one is not there, or is empty.
func TestOpenAfterKilledDownload(t *testing.T) {
	reg, root := startRegistry(t), t.TempDir()
	img := twoLayers(t)
	ref := push(t, reg, "cut", "v1", img)
	s := openStore(t, root, stalls)
	cutPull(t, s, reg, ref, img)
	s.Close()
	parts, err := filepath.Glob(filepath.Join(root, "content/ingest/*/*"))
	if err != nil || len(parts) < 4 {
		t.Fatalf("files of a download: %v, %v", parts, err)
	}
	harms := map[string]func(path string) error{"lost": os.Remove, "empty": func(path string) error { return os.Truncate(path, 0) }}
	for name, harm := range harms {
		for _, part := range parts {
			t.Run(name+"-"+filepath.Base(part), func(t *testing.T) {
				at := t.TempDir()
				rel, err := filepath.Rel(root, part)
				if err := errors.Join(err, os.CopyFS(at, os.DirFS(root)), harm(filepath.Join(at, rel))); err != nil {
					t.Fatal(err)
				}
				s := openStore(t, at, nil)
				pull(t, s, ref)
				if err := s.Remove(t.Context(), ref); err != nil {
					t.Fatal(err)
				}
				if got := countFiles(t, at); got != (files{}) {
					t.Errorf("files = %+v, want none", got)
				}
			})
		}
	}
}

// writerFunc is a stream that calls.
type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(b []byte) (int, error) { return f(b) }

// TestRemoveWhileExported takes an image away whose files an export reads: they go when
// it ends.
func TestRemoveWhileExported(t *testing.T) {
	root := t.TempDir()
	s := openStore(t, root, nil)
	id := pull(t, s, push(t, startRegistry(t), "app", "v1", twoLayers(t)))
	removed := false
	err := s.Export(t.Context(), []string{id}, writerFunc(func(b []byte) (int, error) {
		if removed {
			return len(b), nil
		}
		removed = true
		return len(b), s.Remove(t.Context(), id)
	}))
	if err != nil || !removed {
		t.Errorf("Export = %v, removed meanwhile: %v", err, removed)
	}
	if got := countFiles(t, root); got != (files{}) {
		t.Errorf("files = %+v, want none", got)
	}
}

// TestReleaseIsMended lets the end of an image fail with its last holder's.
func TestReleaseIsMended(t *testing.T) {
	archive := dockerArchive(t, twoLayers(t), "quay.io/team/app:v1")
	for _, step := range []string{"remove record", "remove layer", "remove blob"} {
		t.Run(step, func(t *testing.T) {
			root := t.TempDir()
			synctest.Test(t, func(t *testing.T) {
				boom := errors.New("boom")
				armed := false
				s := openStore(t, root, func(c *Config) {
					c.Logger = quietLog
					c.hook = func(name string) error {
						if armed && name == step {
							armed = false
							return boom
						}
						return nil
					}
				})
				ids, err := s.Import(t.Context(), bytes.NewReader(archive))
				if err != nil {
					t.Fatal(err)
				}
				_, err = s.Prepare(t.Context(), ids[0], "c")
				if err := errors.Join(err, s.Remove(t.Context(), ids[0])); err != nil {
					t.Fatal(err)
				}
				armed = true
				if err := s.Release(t.Context(), "c"); !errors.Is(err, boom) {
					t.Errorf("Release = %v, want %v", err, boom)
				}
				time.Sleep(collectAgain + time.Second)
				synctest.Wait()
				if got := countFiles(t, root); got != (files{}) {
					t.Errorf("files = %+v, want none", got)
				}
			})
		})
	}
}

// readerFunc is a stream that calls.
type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(b []byte) (int, error) { return f(b) }

// TestCloseWaits closes a store in the midst of an import, which has an end of its own:
// after Close the folder may be another store's.
func TestCloseWaits(t *testing.T) {
	root := t.TempDir()
	s := openStore(t, root, nil)
	archive := bytes.NewReader(dockerArchive(t, twoLayers(t), "quay.io/team/app:v1"))
	closed := make(chan struct{})
	var once sync.Once
	_, err := s.Import(t.Context(), readerFunc(func(b []byte) (int, error) {
		once.Do(func() {
			go func() { defer close(closed); s.Close() }()
			poll := time.NewTicker(time.Millisecond)
			defer poll.Stop()
			for isClosed := false; !isClosed; <-poll.C {
				s.gate.mu.Lock()
				isClosed = s.gate.closed
				s.gate.mu.Unlock()
			}
			select {
			case <-closed:
				t.Error("Close returned though an import was at work")
			case <-time.After(100 * time.Millisecond):
			}
		})
		return archive.Read(b)
	}))
	<-closed
	const ref = "quay.io/team/app:v1"
	_, pullErr := s.Pull(t.Context(), ref, Auth{})
	_, prepareErr := s.Prepare(t.Context(), ref, "c")
	_, importErr := s.Import(t.Context(), new(bytes.Buffer))
	for name, err := range map[string]error{
		"Import": err, "second Import": importErr, "Pull": pullErr, "Prepare": prepareErr, "Remove": s.Remove(t.Context(), ref),
		"Release": s.Release(t.Context(), "c"), "Export": s.Export(t.Context(), []string{ref}, new(bytes.Buffer)),
	} {
		if !errdefs.IsUnavailable(err) {
			t.Errorf("%s after Close = %v, want Unavailable", name, err)
		}
	}
	openStore(t, root, nil)
	if got := countFiles(t, root); got != (files{}) {
		t.Errorf("files = %+v, want none", got)
	}
}
