package stack

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/porthole-run/porthole/image/layer"
	"github.com/porthole-run/porthole/internal/testneed"
)

// lookKernel is what the kernel says of name where layers are stacked as the agent does it, opened as the
// agent opens it.
func lookKernel(t *testing.T, disks []string) string {
	t.Helper()
	testneed.Root(t)
	dirs := []string{t.TempDir()} // in place of the writable layer
	for _, disk := range slices.Backward(disks) {
		dir := t.TempDir()
		if out, err := exec.Command("mount", "-o", "loop,ro", "-t", "ext4", disk, dir).CombinedOutput(); err != nil {
			testneed.Skip(t, "loop mounts: %s", out)
		}
		defer unix.Unmount(dir, unix.MNT_DETACH)
		dirs = append(dirs, filepath.Join(dir, layer.Root))
	}
	root := t.TempDir()
	if err := unix.Mount("overlay", root, "overlay", unix.MS_RDONLY, "lowerdir="+strings.Join(dirs, ":")); err != nil {
		testneed.Skip(t, "overlay mounts: %v", err)
	}
	defer unix.Unmount(root, unix.MNT_DETACH)

	dir, err := unix.Open(root, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(dir)
	fd, err := -1, error(unix.EAGAIN)
	for errors.Is(err, unix.EAGAIN) { // something else was mounted meanwhile
		fd, err = unix.Openat2(dir, name, &unix.OpenHow{
			Flags:   unix.O_RDONLY | unix.O_NONBLOCK | unix.O_NOCTTY | unix.O_CLOEXEC,
			Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS,
		})
	}
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) {
		return none
	}
	if err != nil {
		return unknown
	}
	f := os.NewFile(uintptr(fd), name)
	defer f.Close()
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		return unknown
	}
	b, err := io.ReadAll(f)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// TestReadFile_AsTheKernel: what a stack is certain of is what the kernel finds.
func TestReadFile_AsTheKernel(t *testing.T) {
	for _, tt := range images() {
		t.Run(tt.name, func(t *testing.T) {
			for _, disks := range [][]string{makeLayers(t, tt.layers...), mergeAbove(t, tt.layers)} {
				if got, kernel := look(t, disks), lookKernel(t, disks); got != kernel && got != unknown {
					t.Errorf("%d disks: %s = %q, in the kernel %q", len(disks), name, got, kernel)
				}
			}
		})
	}
}

// TestReadFile_AnyStack compares stacks of any shape. Most have to be settled, or it tells nothing.
func TestReadFile_AnyStack(t *testing.T) {
	rnd := rand.New(rand.NewPCG(7, 9))
	paths := []string{"etc", "etc/passwd", "etc/a", "a", "b", "b/passwd", "b/etc"}
	targets := []string{"a", "/a", "../b", "/b/passwd", "passwd", "/etc/a", "b/", "..", "../../b/etc", "etc/../a"}
	settled := map[string]int{}
	for i := range 24 {
		var layers [][]ent
		for k := range 1 + rnd.IntN(3) {
			var all []ent
			for range 1 + rnd.IntN(5) {
				p := paths[rnd.IntN(len(paths))]
				if slices.ContainsFunc(all, func(e ent) bool { return strings.HasPrefix(p, e.Name+"/") && e.Typeflag != tar.TypeDir }) {
					continue // below what is no folder: refused as a layer
				}
				switch rnd.IntN(8) {
				case 0:
					dir, base := filepath.Split(p)
					all = append(all, file(dir+".wh."+base, ""))
				case 1:
					all = append(all, dirEnt(p), file(p+"/.wh..wh..opq", ""))
				case 2, 3:
					all = append(all, symlink(p, targets[rnd.IntN(len(targets))]))
				case 4:
					all = append(all, dirEnt(p))
				default:
					all = append(all, file(p, fmt.Sprintf("%s of layer %d", p, k)))
				}
			}
			layers = append(layers, all)
		}
		disks := makeLayers(t, layers...)
		got, kernel := look(t, disks), lookKernel(t, disks)
		if got != kernel && got != unknown {
			t.Errorf("stack %d: %s = %q, in the kernel %q: %v", i, name, got, kernel, layers)
		}
		switch got {
		case unknown, none:
			settled[got]++
		default:
			settled["found"]++
		}
	}
	t.Log(settled)
	if settled["found"] < 4 || settled[none] < 4 || settled[unknown] > 12 {
		t.Errorf("of 24 stacks: %v", settled)
	}
}
