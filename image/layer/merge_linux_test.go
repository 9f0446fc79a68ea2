package layer

import (
	"archive/tar"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/porthole-run/porthole/internal/testneed"
)

// merge returns the path of the VHD that layers become together.
func merge(t testing.TB, lowest bool, tars ...[]byte) string {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), "merged.vhd"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := Merge(context.Background(), parts(tars...), f, MergeOptions{Lowest: lowest}); err != nil {
		t.Fatalf("Merge: %v", err)
	}
	check(t, f.Name())
	return f.Name()
}

// overlay stacks roots of layers, bottom first.
func overlay(t testing.TB, roots []string) string {
	t.Helper()
	// There must be two at least; below the others an empty one shows nothing of itself.
	topFirst := append([]string{t.TempDir()}, roots...)
	slices.Reverse(topFirst)
	dir := t.TempDir()
	if err := unix.Mount("overlay", dir, "overlay", unix.MS_RDONLY, "lowerdir="+strings.Join(topFirst, ":")); err != nil {
		testneed.Skip(t, "overlay mounts: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, 0); err != nil {
			t.Errorf("umount: %v", err)
		}
	})
	return dir
}

// shown is all that a mounted tree tells.
type shown struct {
	lines  []string        // one for each name
	ghosts map[string]bool // names that are listed and not there
	links  map[string]bool // names of files that have another number of links than of names
}

func show(t testing.TB, root string) shown {
	t.Helper()
	s := shown{ghosts: map[string]bool{}, links: map[string]bool{}}
	type file struct{ dev, ino uint64 }
	type name struct {
		rel, line string
		file      file
		links     uint64
	}
	var names []name
	all := map[file][]string{}
	err := filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(root, p)
		fi, err := d.Info()
		if errors.Is(err, fs.ErrNotExist) {
			s.ghosts[rel] = true
			return nil
		}
		if err != nil {
			return err
		}
		st := fi.Sys().(*syscall.Stat_t)
		line := fmt.Sprintf("%s %v %d:%d m%d.%09d a%d.%09d c%d.%09d", rel, fi.Mode(), st.Uid, st.Gid,
			st.Mtim.Sec, st.Mtim.Nsec, st.Atim.Sec, st.Atim.Nsec, st.Ctim.Sec, st.Ctim.Nsec)
		switch {
		case fi.Mode()&fs.ModeSymlink != 0:
			to, _ := os.Readlink(p)
			line += " -> " + to
		case fi.Mode()&fs.ModeDevice != 0:
			line += fmt.Sprintf(" %d,%d", unix.Major(st.Rdev), unix.Minor(st.Rdev))
		case fi.Mode().IsRegular():
			line += fmt.Sprintf(" %d %s", fi.Size(), sum(p))
		}
		attrs := strings.SplitAfter(xattrs(t, p), "} ")
		slices.Sort(attrs)
		n := name{rel, line + strings.Join(attrs, " "), file{st.Dev, st.Ino}, uint64(st.Nlink)}
		if !d.IsDir() {
			all[n.file] = append(all[n.file], rel)
		}
		names = append(names, n)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range names {
		if also := all[n.file]; len(also) > 0 {
			n.line += fmt.Sprint(" names ", also)
			s.links[n.rel] = n.links != uint64(len(also))
		}
		s.lines = append(s.lines, n.line)
	}
	return s
}

// mountAll shows each layer by itself.
func mountAll(t testing.TB, tars [][]byte) (roots []string) {
	t.Helper()
	testneed.Root(t)
	for _, b := range tars {
		vhd, _ := convert(t, b)
		roots = append(roots, mount(t, vhd))
	}
	return roots
}

// same compares layers, which apart shows, stacked by overlayfs, with the same where those
// from first until end are merged.
func same(t testing.TB, tars [][]byte, apart []string, first, end int) {
	t.Helper()
	merged := mount(t, merge(t, first == 0, tars[first:end]...))
	together := slices.Concat(apart[:first], []string{merged}, apart[end:])
	want, got := show(t, overlay(t, apart)), show(t, overlay(t, together))
	if diff := cmp.Diff(want.lines, got.lines); diff != "" {
		t.Errorf("layers %d to %d merged (-apart +merged):\n%s", first, end, diff)
	}
	for rel := range got.ghosts {
		if !want.ghosts[rel] {
			t.Errorf("%s is listed and not there", rel)
		}
	}
	for rel, wrong := range got.links {
		if wrong && end == len(tars) && !want.links[rel] {
			t.Errorf("%s has not as many links as names", rel)
		}
	}
	if first == 0 { // it may be mounted without overlayfs
		if raw := list(t, merged); strings.Contains(raw, "trusted.overlay") || strings.Contains(raw, " 0,0") {
			t.Errorf("the lowest layers have marks for lower ones:\n%s", raw)
		}
	}
}

func device(name string, kind byte, major, minor int64) ent {
	return ent{tar.Header{Typeflag: kind, Name: name, Mode: 0o640, Devmajor: major, Devminor: minor, ModTime: stamp}, ""}
}

// TestMergeEqualsOverlay merges layers on one that has all names that they change.
func TestMergeEqualsOverlay(t *testing.T) {
	below := []ent{
		folder("d", 0o750), file("d/below", "below"), folder("d/sub", 0o711), file("d/sub/below", "below"), file("f", "below"),
		folder("g", 0o755), file("g/below", "below"), symlink("l", "d"), folder("n", 0o700), file("n/below", "1"),
	}
	type layers = [][]ent
	tests := map[string]layers{
		"plain":                      {{file("a", "1")}, {file("b", "2")}},
		"whiteout-of-below":          {{file(".wh.f", "")}, {file("d/.wh.below", "")}},
		"whiteout-of-merged":         {{file("new", "1"), folder("e", 0o700), file("e/x", "")}, {file(".wh.new", ""), file(".wh.e", "")}},
		"whiteout-of-both":           {{file("f", "1"), file("d/x", "")}, {file(".wh.f", ""), file(".wh.d", "")}},
		"whiteout-in-folder-of-ours": {{folder("e", 0o700), file("e/x", ""), file("e/y", "")}, {file("e/.wh.x", "")}},
		"whiteout-of-nothing":        {{folder("e", 0o700), file("e/.wh.x", "")}, {file("b", "")}},
		"new-after-whiteout":         {{file(".wh.d", "")}, {folder("d", 0o700), file("d/new", "1")}},
		"file-after-whiteout":        {{file(".wh.d", "")}, {file("d", "file")}},
		"new-in-whiteout-implied":    {{file(".wh.d", "")}, {file("d/sub/new", "1")}},
		"whiteout-and-new-same":      {{file(".wh.d", ""), folder("d", 0o711), file("d/a", "1")}, {file("d/b", "2")}},
		"new-and-whiteout-same":      {{folder("d", 0o711), file("d/a", "1"), file(".wh.d", "")}, {file("d/b", "2")}},
		"file-whiteout-either-order": {{file("f", "1"), file(".wh.f", ""), file(".wh.h", ""), file("h", "1")}, {file("b", "2")}},
		"opaque":                     {{file("d/.wh..wh..opq", ""), file("d/a", "1")}, {file("d/b", "2")}},
		"opaque-over-merged":         {{file("d/a", "1"), file("d/sub/x", "")}, {folder("d", 0o700), file("d/.wh..wh..opq", ""), file("d/b", "2")}},
		"opaque-then-whiteout":       {{file("d/.wh..wh..opq", ""), file("d/a", "1")}, {file("d/.wh.a", ""), file("d/.wh.below", "")}},
		"opaque-root":                {{file("a", "1")}, {file(".wh..wh..opq", ""), file("b", "2")}},
		"folder-for-file":            {{file("d", "file")}, {folder("d", 0o700), file("d/x", "1")}},
		"folder-for-file-implied":    {{file("d", "file")}, {file("d/sub/x", "1")}},
		"folder-for-symlink":         {{symlink("d", "g")}, {file("d/x", "1")}},
		"folder-for-device":          {{device("d", tar.TypeChar, 1, 3)}, {file("d/x", "1")}},
		"folder-for-null-device":     {{device("d", tar.TypeChar, 0, 0)}, {file("d/x", "1")}},
		"null-device":                {{file("a", "1"), device("d/below", tar.TypeChar, 0, 0)}, {device("a", tar.TypeChar, 0, 0)}},
		"null-device-linked":         {{device("d/x", tar.TypeChar, 0, 0), link("f", "d/x")}, {file("b", "")}},
		"file-for-folder":            {{folder("g", 0o700), file("g/x", "")}, {file("g", "file")}},
		"there-and-back":             {{file("d", "1")}, {folder("d", 0o700), file("d/x", "")}, {file("d", "2")}, {folder("d", 0o711), file("d/y", "")}},
		"folders-attributes": {
			{folder("d", 0o1777).owner(5, 6).xattr("user.one", "1"), folder("e", 0o700).xattr("user.a", "x").owner(1, 2), file("e/x", "")},
			{folder("d", 0o2755).owner(7, 8).xattr("user.two", "2"), file("e/y", "")}},
		"root-attributes":         {{folder(".", 0o700).owner(3, 4).xattr("user.r", "1")}, {folder("./", 0o711).owner(5, 6)}},
		"root-implied":            {{folder(".", 0o700).owner(3, 4)}, {file("a", "")}},
		"link-keeps-old-content":  {{file("a", "old"), link("b", "a"), link("d/c", "a")}, {file("a", "new")}},
		"linked-name-removed":     {{file("a", "old"), link("b", "a"), link("c", "a")}, {file(".wh.a", "")}},
		"links-in-both":           {{file("a", "1"), link("b", "a")}, {file("c", "2"), link("a", "c")}},
		"link-to-symlink":         {{symlink("s", "nowhere"), link("s2", "s")}, {file("s", "1")}},
		"first-name-of-link-gone": {{folder("e", 0o755), file("e/a", "kept"), link("z", "e/a")}, {file(".wh.e", "")}},
		"through-symlink":         {{folder("usr/bin", 0o755), symlink("bin", "usr/bin"), file("bin/sh", "1")}, {file("usr/bin/sh", "2")}},
		"symlink-of-lower-layer":  {{folder("usr/bin", 0o755), symlink("bin", "usr/bin")}, {file("bin/sh", "2")}},
		"devices":                 {{device("a", tar.TypeChar, 1, 3), device("b", tar.TypeBlock, 8, 70000), device("c", tar.TypeFifo, 0, 0)}, {device("b", tar.TypeFifo, 0, 0)}},
		"many-attributes": {{file("a", "").xattr("user.big", strings.Repeat("x", 2000)).xattr("trusted.t", "1")},
			{folder("d", 0o755).xattr("user.big", strings.Repeat("y", 3000)), file("d/.wh.below", "")}},
		"long-names":       {{file(longName, "1"), link("h", longName)}, {file(longName, "2"), symlink("s", "/"+longName)}},
		"lost-and-found":   {{file("lost+found", "a")}, {file(".wh.lost+found", ""), file("b", "")}},
		"same-layer-twice": {{file("a", "1"), file(".wh.f", "")}, {file(".wh.a", "")}, {file("a", "1"), file(".wh.f", "")}},
		"empty-layers":     {{}, {}, {}},
	}
	for name, ls := range tests {
		t.Run(name, func(t *testing.T) {
			tars := [][]byte{makeTar(t, below...)}
			for _, l := range ls {
				tars = append(tars, makeTar(t, l...))
			}
			roots := mountAll(t, tars)
			same(t, tars[1:], roots[1:], 0, len(roots)-1)
			same(t, tars, roots, 1, len(roots))
		})
	}
}

// TestMergeSparse merges what tar makes of files with holes.
func TestMergeSparse(t *testing.T) {
	testneed.Program(t, "tar")
	dir := t.TempDir()
	script := `truncate -s 3M hole && printf x | dd of=hole bs=1 seek=900000 conv=notrunc status=none && ln hole also`
	var tars [][]byte
	for i, more := range []string{"", " && rm also && printf y >hole"} {
		cmd := exec.Command("sh", "-c", script+more)
		cmd.Dir = dir
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("make tree: %v\n%s", err, out)
		}
		out, err := exec.Command("tar", "--sparse", "--format="+[]string{"gnu", "pax"}[i], "-cf", "-", "-C", dir, ".").Output()
		if err != nil {
			t.Fatal(err)
		}
		os.Remove(filepath.Join(dir, "also"))
		tars = append(tars, out)
	}
	same(t, tars, mountAll(t, tars), 0, 2)

	cmd := exec.Command("truncate", "-s", "1G", "hole")
	cmd.Dir = dir
	if err := cmd.Run(); err != nil {
		t.Fatal(err)
	}
	huge, err := exec.Command("tar", "--sparse", "-cf", "-", "-C", dir, ".").Output()
	if err != nil || len(huge) > 1<<20 {
		t.Fatalf("tar of a hole: %d bytes, %v", len(huge), err)
	}
	if _, _, err := mergeTo(t, t.Context(), parts(tars[0], huge), MergeOptions{}); !errdefs.IsInvalidArgument(err) || !strings.Contains(err.Error(), "too long") {
		t.Errorf("Merge of a hole of 1 GiB = %v, want InvalidArgument", err)
	}
}

// randomLayers makes layers of few names, so that they meet.
func randomLayers(t testing.TB, r *rand.Rand) [][]byte {
	pick := func(of ...string) string { return of[r.IntN(len(of))] }
	path := func() string {
		p := pick("a", "b", "c")
		for range r.IntN(3) {
			p += "/" + pick("a", "b", "c")
		}
		return p
	}
	entry := func(i int) ent {
		p := path()
		at := func(e ent) ent {
			e.ModTime = stamp.Add(time.Duration(r.IntN(1000)) * time.Second)
			e.AccessTime, e.Format = stamp.Add(time.Duration(r.IntN(1000))*time.Second), tar.FormatPAX
			if r.IntN(3) == 0 {
				name := pick("user.x", "user.y", "trusted.z")
				if e.Typeflag != tar.TypeReg && e.Typeflag != tar.TypeDir {
					name = "trusted.z" // Linux has no other for them
				}
				e = e.xattr(name, strings.Repeat("v", r.IntN(200)))
			}
			return e.owner(r.IntN(3), r.IntN(3))
		}
		dir, base := filepath.Split(p)
		switch r.IntN(14) {
		case 0, 1, 2:
			return at(file(p, fmt.Sprint("content ", i, r.IntN(1000))))
		case 3, 4, 5:
			return at(folder(p, int64(0o700+r.IntN(0o100))))
		case 6:
			return at(symlink(p, pick("a", "b", "c/a", "../b", "nowhere")))
		case 7, 8:
			return link(p, path())
		case 9, 10:
			return file(dir+".wh."+base, "")
		case 11:
			return file(p+"/.wh..wh..opq", "")
		case 12:
			return at(device(p, []byte{tar.TypeChar, tar.TypeBlock, tar.TypeFifo}[r.IntN(3)], int64(r.IntN(2)), int64(r.IntN(2))))
		}
		return at(folder(".", int64(0o700+r.IntN(0o100))))
	}
	var tars [][]byte
	for range 2 + r.IntN(4) {
		norm, err := newNormalizer(1000)
		if err != nil {
			t.Fatal(err)
		}
		var entries []ent
		for range r.IntN(10) {
			e := entry(len(entries))
			if norm.entry(0, &e.Header, nil) == nil { // else the layer would be refused
				entries = append(entries, e)
			} else if norm, err = newNormalizer(1000); err != nil { // it may have been half done
				t.Fatal(err)
			} else {
				for _, e := range entries {
					if err := norm.entry(0, &e.Header, nil); err != nil {
						t.Fatal(err)
					}
				}
			}
		}
		tars = append(tars, makeTar(t, entries...))
	}
	return tars
}

// randomSame merges some of the layers that r makes.
func randomSame(t testing.TB, r *rand.Rand) {
	tars := randomLayers(t, r)
	first := r.IntN(len(tars) - 1)
	end := first + 2 + r.IntN(len(tars)-first-1)
	same(t, tars, mountAll(t, tars), first, end)
}

func TestMergeRandom(t *testing.T) {
	runs := uint64(20)
	if os.Getenv("PORTHOLE_LONG") == "1" {
		runs = 500
	}
	seed := uint64(time.Now().UnixNano())
	if s := os.Getenv("PORTHOLE_MERGE_SEED"); s != "" {
		if _, err := fmt.Sscan(s, &seed); err != nil {
			t.Fatal(err)
		}
	}
	for i := range runs {
		t.Run(fmt.Sprint(seed+i), func(t *testing.T) { // set as PORTHOLE_MERGE_SEED it is the first
			randomSame(t, rand.New(rand.NewPCG(seed+i, 0)))
		})
	}
}

// bytesRand draws what a fuzzer says, and then what rest does.
type bytesRand struct {
	b    []byte
	rest *rand.PCG
}

func (s *bytesRand) Uint64() uint64 {
	if len(s.b) == 0 {
		return s.rest.Uint64()
	}
	// What is drawn from few numbers is the high bits of each.
	var v [8]byte
	n := copy(v[:2], s.b)
	s.b = s.b[n:]
	return binary.BigEndian.Uint64(v[:])
}

func FuzzMergeEqualsOverlay(f *testing.F) {
	for seed := range uint64(4) {
		b := make([]byte, 400)
		rand.NewChaCha8([32]byte{byte(seed)}).Read(b)
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		randomSame(t, rand.New(&bytesRand{b[:min(len(b), 2000)], rand.NewPCG(1, 2)}))
	})
}
