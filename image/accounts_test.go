package image

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/opencontainers/go-digest"

	"github.com/porthole-run/porthole/internal/account"
	"github.com/porthole-run/porthole/test/registry/debimage"
)

type tree = map[string]debimage.File

func text(s string) debimage.File { return debimage.File{Content: s} }

func prepare(t testing.TB, s *Store, ref, holder string) RootFS {
	t.Helper()
	root, err := s.Prepare(t.Context(), ref, holder)
	if err != nil {
		t.Fatal(err)
	}
	return root
}

func TestAccounts(t *testing.T) {
	reg, s := startRegistry(t), openStore(t, t.TempDir(), nil)
	base := tree{"etc/passwd": text("passwd\n"), "etc/group": text("group\n")}
	tests := []struct {
		name   string
		layers []tree
		want   string // of both files; "unknown"
	}{
		{"both", []tree{base}, "passwd\n|group\n"},
		{"none", []tree{{"bin/sh": text("x")}}, "|"},
		{"one", []tree{{"etc/passwd": text("passwd\n")}}, "passwd\n|"},
		{"replaced", []tree{base, {"etc/group": text("other\n")}}, "passwd\n|other\n"},
		{"whiteout", []tree{base, {"etc/.wh.passwd": text("")}}, "|group\n"},
		{"link", []tree{base, {"etc/passwd": {Symlink: "../usr/passwd"}, "usr/passwd": text("linked\n")}}, "linked\n|group\n"},
		{"folder", []tree{base, {"etc/group": {Folder: true}}}, "unknown"},
		{"largest", []tree{{"etc/passwd": text(strings.Repeat("p", maxAccountFile))}}, strings.Repeat("p", maxAccountFile) + "|"},
		{"larger", []tree{{"etc/passwd": text(strings.Repeat("p", maxAccountFile+1))}}, "unknown"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			root := prepare(t, s, pull(t, s, push(t, reg, tt.name, "v1", buildImage(t, v1.Config{}, tt.layers...))), tt.name)
			for _, when := range []string{"read", "kept"} {
				if when == "kept" {
					root.Layers = nil // nothing could be read
				}
				files, ok := s.Accounts(t.Context(), root)
				got := "unknown"
				if ok {
					got = string(files.Passwd) + "|" + string(files.Group)
				}
				if got != tt.want {
					t.Errorf("%s: Accounts = %.50q, want %.50q", when, got, tt.want)
				}
			}
		})
	}
}

// TestAccounts_Gone: what is kept goes with the image, and nothing comes back of one that is gone.
func TestAccounts_Gone(t *testing.T) {
	reg, s := startRegistry(t), openStore(t, t.TempDir(), nil)
	img := buildImage(t, v1.Config{}, tree{"etc/passwd": text("x")})
	ref := push(t, reg, "app", "v1", img)
	root := prepare(t, s, pull(t, s, ref), "c")
	if _, ok := s.Accounts(t.Context(), root); !ok {
		t.Fatal("Accounts of an image: unknown")
	}
	if err := s.Remove(t.Context(), ref); err != nil {
		t.Fatal(err)
	}
	if _, ok := s.Accounts(t.Context(), root); !ok {
		t.Error("Accounts of an image that is held: unknown")
	}
	if err := s.Release(t.Context(), "c"); err != nil {
		t.Fatal(err)
	}
	if n := s.accounts.bytes; n != 0 {
		t.Errorf("%d bytes kept of no image", n)
	}
	if _, ok := s.Accounts(t.Context(), root); ok || s.accounts.bytes != 0 {
		t.Errorf("Accounts of an image that is gone: %v, %d bytes kept", ok, s.accounts.bytes)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if _, ok := s.Accounts(t.Context(), root); ok {
		t.Error("a closed store reads layers")
	}
}

// TestAccounts_Retried: an error of the host is not kept, what an image is for good is.
func TestAccounts_Retried(t *testing.T) {
	reg, s := startRegistry(t), openStore(t, t.TempDir(), nil)
	root := prepare(t, s, pull(t, s, push(t, reg, "app", "v1", buildImage(t, v1.Config{}, tree{"etc/passwd": text("x")}))), "c")
	path := root.Layers[0].Path
	if err := os.Rename(path, path+"-away"); err != nil {
		t.Fatal(err)
	}
	if _, ok := s.Accounts(t.Context(), root); ok {
		t.Error("Accounts without the layer: known")
	}
	if err := os.Rename(path+"-away", path); err != nil {
		t.Fatal(err)
	}
	if files, ok := s.Accounts(t.Context(), root); !ok || string(files.Passwd) != "x" {
		t.Errorf("Accounts with the layer again: %q, %v", files.Passwd, ok)
	}
}

// TestAccounts_Races: callers at once, while the image goes and comes.
func TestAccounts_Races(t *testing.T) {
	reg, s := startRegistry(t), openStore(t, t.TempDir(), nil)
	ref := push(t, reg, "app", "v1", buildImage(t, v1.Config{}, tree{"etc/passwd": text("x")}))
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() {
			holder := fmt.Sprint(i)
			for range 10 {
				if _, err := s.Pull(t.Context(), ref, Auth{}); err != nil {
					t.Error(err)
				}
				root, err := s.Prepare(t.Context(), ref, holder)
				if err != nil {
					continue // another one removed it
				}
				if files, ok := s.Accounts(t.Context(), root); !ok || string(files.Passwd) != "x" {
					t.Errorf("Accounts = %q, %v", files.Passwd, ok)
				}
				if err := errors.Join(s.Remove(t.Context(), root.ImageID), s.Release(t.Context(), holder)); err != nil {
					t.Log(err) // likewise
				}
			}
		})
	}
	wg.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.images) == 0 && s.accounts.bytes != 0 {
		t.Errorf("%d bytes kept of no image", s.accounts.bytes)
	}
}

func TestAccountCache_Bounded(t *testing.T) {
	var c accountCache
	image := func(i int) digest.Digest { return digest.FromString(fmt.Sprint(i)) }
	const size = 100 << 10
	for i := range 100 {
		c.put(accounts{image: image(i), files: account.Files{Passwd: make([]byte, size)}, known: true})
		c.put(accounts{image: image(i), files: account.Files{Group: make([]byte, size)}, known: true}) // again
		if _, ok := c.get(image(0)); !ok {
			t.Fatalf("what is used all the time is gone after %d images", i+1)
		}
		if c.bytes > maxAccounts || c.used.Len() != len(c.byImage) || c.bytes != c.used.Len()*(size+accountsCost) {
			t.Fatalf("%d bytes, %d in order, %d by image", c.bytes, c.used.Len(), len(c.byImage))
		}
	}
	if _, ok := c.get(image(1)); ok {
		t.Error("what was not used is still there")
	}
	if _, ok := c.get(image(99)); !ok {
		t.Error("what came last is not there")
	}
	for i := range 100 {
		c.drop(image(i))
	}
	if c.bytes != 0 || c.used.Len() != 0 || len(c.byImage) != 0 {
		t.Errorf("all dropped: %d bytes, %d, %d", c.bytes, c.used.Len(), len(c.byImage))
	}
}

// BenchmarkAccounts reads the files of images of few and many layers, and finds what is kept.
func BenchmarkAccounts(b *testing.B) {
	reg, s := startRegistry(b), openStore(b, b.TempDir(), nil)
	for _, n := range []int{1, 20} {
		layers := []tree{{"etc/passwd": text("root:x:0:0::/root:/bin/sh\n"), "etc/group": text("root:x:0:\n")}}
		for i := range n - 1 {
			layers = append(layers, tree{fmt.Sprintf("etc/conf.d/%d", i): text("x")})
		}
		name := fmt.Sprintf("layers-%d", n)
		root := prepare(b, s, pull(b, s, push(b, reg, name, "v1", buildImage(b, v1.Config{}, layers...))), name)
		for _, kept := range []bool{false, true} {
			b.Run(fmt.Sprintf("%s/kept=%v", name, kept), func(b *testing.B) {
				for b.Loop() {
					if !kept {
						s.accounts.drop(digest.Digest(root.ImageID))
					}
					if _, ok := s.Accounts(b.Context(), root); !ok {
						b.Fatal("unknown")
					}
				}
			})
		}
	}
}
