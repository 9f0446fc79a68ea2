package stack

import (
	"archive/tar"
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/porthole-run/porthole/image/layer/ext4"
)

const (
	name    = "/etc/passwd"
	none    = "<none>"
	unknown = "<unknown>"
	maxSize = 100
)

// look is what a stack says of name, as text.
func look(t testing.TB, disks []string) string {
	t.Helper()
	s, err := Open(disks)
	if errors.Is(err, ErrUnsettled) {
		return unknown
	}
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	b, err := s.ReadFile(name, maxSize)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return none
	case errors.Is(err, ErrUnsettled):
		return unknown
	case err != nil:
		t.Fatal(err)
	}
	return string(b)
}

type image struct {
	name   string
	want   string
	layers [][]ent // bottom first
}

func guardedLink(mode int64, uid int) []ent {
	dir, link := dirEnt("tmp"), symlink("tmp/l", "/x")
	dir.Mode, link.Uid = mode, uid
	return []ent{dir, link, dirEnt("etc"), symlink("etc/passwd", "/tmp/l"), file("x", "found")}
}

// images are ways in which layers show, hide and replace what is below.
func images() []image {
	base := []ent{dirEnt("etc"), file("etc/passwd", "base"), file("etc/other", "other")}
	long := strings.Repeat("x", 300)
	return []image{
		{"one_layer", "base", [][]ent{base}},
		{"nothing", none, [][]ent{{dirEnt("bin")}}},
		{"empty_layer_above", "base", [][]ent{base, nil}},
		{"empty_file", "", [][]ent{{file("etc/passwd", "")}}},
		{"as_large_as_may_be", strings.Repeat("l", maxSize), [][]ent{{file("etc/passwd", strings.Repeat("l", maxSize))}}},
		{"larger", unknown, [][]ent{{file("etc/passwd", strings.Repeat("l", maxSize+1))}}},
		{"replaced", "above", [][]ent{base, {file("etc/passwd", "above")}}},
		{"other_in_the_folder", "base", [][]ent{base, {file("etc/group", "g")}, {dirEnt("etc")}}},
		{"whiteout", none, [][]ent{base, {file("etc/.wh.passwd", "")}}},
		{"whiteout_then_again", "again", [][]ent{base, {file("etc/.wh.passwd", "")}, {file("etc/passwd", "again")}}},
		{"whiteout_above", none, [][]ent{base, {file("etc/passwd", "mid")}, {file("etc/.wh.passwd", "")}, {file("etc/x", "")}}},
		{"folder_whiteout", none, [][]ent{base, {file(".wh.etc", "")}}},
		{"folder_whiteout_then_again", none, [][]ent{base, {file(".wh.etc", "")}, {file("etc/x", "")}}},
		{"whiteout_and_folder_in_one", none, [][]ent{base, {file(".wh.etc", ""), file("etc/x", "")}}},
		{"opaque", none, [][]ent{base, {dirEnt("etc"), file("etc/.wh..wh..opq", "")}, {file("etc/x", "")}}},
		{"opaque_with_one", "mine", [][]ent{base, {dirEnt("etc"), file("etc/.wh..wh..opq", ""), file("etc/passwd", "mine")}, {file("etc/x", "")}}},
		{"file_over_folder", none, [][]ent{base, {file("etc", "a file")}}},
		{"folder_over_file", none, [][]ent{{file("etc", "a file")}, {file("etc/x", "")}}},
		{"folder_file_folder", "top", [][]ent{base, {file("etc", "a file")}, {file("etc/passwd", "top")}}},
		{"folder_file_folder_without", none, [][]ent{base, {file("etc", "a file")}, {file("etc/x", "")}}},
		{"folder_at_the_name", unknown, [][]ent{base, {dirEnt("etc/passwd")}}},
		{"hard_link", "linked", [][]ent{{file("a", "linked"), hardlink("etc/passwd", "a")}}},
		{"link", "other", [][]ent{base, {symlink("etc/passwd", "other")}}},
		{"link_absolute", "other", [][]ent{base, {symlink("etc/passwd", "/etc/other")}}},
		{"link_up", "there", [][]ent{base, {symlink("etc/passwd", "../usr/lib/p")}, {file("usr/lib/p", "there")}}},
		{"link_out_of_the_image", "there", [][]ent{base, {symlink("etc/passwd", "../../../../there"), file("there", "there")}}},
		{"link_to_nothing", none, [][]ent{base, {symlink("etc/passwd", "gone")}}},
		{"link_to_hidden", none, [][]ent{base, {symlink("etc/passwd", "other")}, {file("etc/.wh.other", "")}}},
		{"link_to_file_as_folder", none, [][]ent{base, {symlink("etc/passwd", "other/")}}},
		{"link_to_file_dot", none, [][]ent{base, {symlink("etc/passwd", "other/.")}}},
		{"link_through_file", none, [][]ent{base, {symlink("etc/passwd", "other/x")}}},
		{"link_through_missing", none, [][]ent{base, {symlink("etc/passwd", "gone/../other")}}},
		{"link_dots", "other", [][]ent{base, {symlink("etc/passwd", ".././etc//./other")}}},
		{"link_replaced", "file", [][]ent{base, {symlink("etc/passwd", "other")}, {file("etc/passwd", "file")}}},
		{"link_to_folder", unknown, [][]ent{base, {symlink("etc/passwd", "/etc")}}},
		{"link_to_root", unknown, [][]ent{base, {symlink("etc/passwd", "/")}}},
		{"links", "other", [][]ent{base, {symlink("etc/passwd", "a"), symlink("etc/a", "/b"), symlink("b", "etc/other")}}},
		{"link_loop", unknown, [][]ent{base, {symlink("etc/passwd", "a"), symlink("etc/a", "passwd")}}},
		{"link_long", none, [][]ent{base, {symlink("etc/passwd", strings.Repeat("d/", 1000))}}},
		{"link_name_too_long", unknown, [][]ent{base, {symlink("etc/passwd", long)}}},
		{"etc_is_a_link", "base", [][]ent{{symlink("etc", "private/etc"), file("private/etc/passwd", "base")}}},
		{"etc_is_a_link_over_layers", "two", [][]ent{{symlink("etc", "p"), file("p/passwd", "one")}, {file("p/passwd", "two")}}},
		{"link_over_folder", none, [][]ent{base, {symlink("etc", "gone")}}},
		{"folder_over_link", none, [][]ent{{symlink("etc", "p"), file("p/passwd", "one")}, {dirEnt("etc")}}},
		{"link_in_sticky_folder", unknown, [][]ent{guardedLink(0o1777, 7)}},
		{"link_of_root_in_sticky_folder", "found", [][]ent{guardedLink(0o1777, 0)}},
		{"link_in_sticky_folder_of_one", "found", [][]ent{guardedLink(0o1755, 7)}},
		{"fifo", unknown, [][]ent{base, {special(tar.TypeFifo, "etc/passwd")}}},
		{"device", unknown, [][]ent{base, {special(tar.TypeChar, "etc/passwd")}}},
		{"fifo_as_folder", none, [][]ent{base, {special(tar.TypeFifo, "etc")}}},
		{"opaque_root", unknown, [][]ent{base, {file(".wh..wh..opq", ""), file("etc/x", "")}}},
		{"opaque_root_at_the_bottom", "base", [][]ent{append(base[:3:3], file(".wh..wh..opq", ""))}},
	}
}

func TestReadFile(t *testing.T) {
	for _, tt := range images() {
		t.Run(tt.name, func(t *testing.T) {
			if got := look(t, makeLayers(t, tt.layers...)); got != tt.want {
				t.Errorf("%s = %q, want %q", name, got, tt.want)
			}
		})
	}
}

// TestReadFile_Strange: what no layer of this build has is not explained.
func TestReadFile_Strange(t *testing.T) {
	good := makeLayers(t, []ent{file("etc/passwd", "base")}, []ent{file("etc/x", "")})
	b, err := os.ReadFile(good[1])
	if err != nil {
		t.Fatal(err)
	}
	change := func(f func(b []byte) []byte) []string {
		p := t.TempDir() + "/changed.vhd"
		if err := os.WriteFile(p, f(bytes.Clone(b)), 0o600); err != nil {
			t.Fatal(err)
		}
		return []string{good[0], p}
	}
	for name, disks := range map[string][]string{
		"not_ext4":  change(func(b []byte) []byte { return bytes.Repeat([]byte("porthole"), 10000) }),
		"empty":     change(func(b []byte) []byte { return nil }),
		"cut":       change(func(b []byte) []byte { return b[:2*ext4.BlockSize] }),
		"no_root":   change(func(b []byte) []byte { return bytes.Replace(b, []byte("\x04\x02root"), []byte("\x04\x02rood"), 1) }),
		"root_file": change(func(b []byte) []byte { return withMode(t, b, "root", 0x8180) }),
		"redirect":  attribute(t, "trusted.overlay.redirect", "/elsewhere"),
		"opaque_x":  attribute(t, "trusted.overlay.opaque", "x"),
	} {
		if got := look(t, disks); got != unknown {
			t.Errorf("%s: %q, want %q", name, got, unknown)
		}
	}
	if got := look(t, change(func(b []byte) []byte { return b })); got != "base" {
		t.Errorf("unchanged: %q", got)
	}
	if _, err := Open([]string{good[0], t.TempDir() + "/gone.vhd"}); !errors.Is(err, fs.ErrNotExist) || errors.Is(err, ErrUnsettled) {
		t.Errorf("a disk that is not there: %v", err)
	}
}

// withMode changes the mode of what a folder at the file system's root is.
func withMode(t *testing.T, b []byte, name string, mode uint16) []byte {
	t.Helper()
	r, err := ext4.NewReader(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	root, err := r.Open(ext4.Root)
	if err != nil {
		t.Fatal(err)
	}
	i, err := root.Lookup(name)
	if err != nil {
		t.Fatal(err)
	}
	table := int(binary.LittleEndian.Uint32(b[ext4.BlockSize+8:])) * ext4.BlockSize
	binary.LittleEndian.PutUint16(b[table+int(i-1)*256:], mode)
	return b
}

// attribute is a layer whose folder etc has an attribute that package layer would leave out.
func attribute(t *testing.T, key, value string) []string {
	t.Helper()
	f, err := os.Create(t.TempDir() + "/layer.vhd")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var names ext4.Names
	add := func(s string) ext4.Name {
		n, err := names.Add(s)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	w, err := ext4.NewWriter(f, &names, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	root, err := w.AddFolder(ext4.Root, add("root"), ext4.Attr{})
	if err != nil {
		t.Fatal(err)
	}
	etc, err := w.AddFolder(root, add("etc"), ext4.Attr{Xattrs: map[string]string{key: value}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.AddFile(etc, add("passwd"), ext4.Attr{}, 1); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(w, "x"); err != nil {
		t.Fatal(err)
	}
	size, err := w.Close()
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Truncate(size); err != nil {
		t.Fatal(err)
	}
	return []string{f.Name()}
}

// mergeAbove makes a disk of the lowest layer, and one of all above it and of two more.
func mergeAbove(t testing.TB, layers [][]ent) []string {
	t.Helper()
	above := append(slices.Clone(layers[1:]), []ent{file("opt/x", "")}, []ent{file("opt/y", "")})
	return append(makeLayers(t, layers[0]), mergeLayers(t, above...))
}

// TestReadFile_Merged: what is certain of layers is so when those above the lowest share a disk.
func TestReadFile_Merged(t *testing.T) {
	for _, tt := range images() {
		t.Run(tt.name, func(t *testing.T) {
			if got := look(t, mergeAbove(t, tt.layers)); got != tt.want && tt.want != unknown {
				t.Errorf("%s = %q, want %q", name, got, tt.want)
			}
		})
	}
}
