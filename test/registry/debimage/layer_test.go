package debimage

import (
	"archive/tar"
	"bytes"
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/v1/validate"

	"github.com/porthole-run/porthole/internal/testneed"
)

func TestCopyMerged(t *testing.T) {
	var b bytes.Buffer
	w, made := tar.NewWriter(&b), map[string]bool{}
	for _, h := range []tar.Header{
		{Name: "./", Typeflag: tar.TypeDir},
		{Name: "./bin/", Typeflag: tar.TypeDir},
		{Name: "./usr/bin/", Typeflag: tar.TypeDir},
		{Name: "./bin/ls", Typeflag: tar.TypeReg},
		{Name: "./usr/bin/dir", Typeflag: tar.TypeLink, Linkname: "./bin/ls"},
		{Name: "./lib64", Typeflag: tar.TypeSymlink, Linkname: "usr/lib64"},
		{Name: "./library", Typeflag: tar.TypeReg},
		{Name: "./usr/share/doc/ls/copyright", Typeflag: tar.TypeReg},
		{Name: "./usr/share/docs", Typeflag: tar.TypeReg},
	} {
		if err := copyMerged(w, &h, strings.NewReader(""), made); err != nil {
			t.Fatal(err)
		}
	}
	if err := copyMerged(w, &tar.Header{Name: "./usr/bin/ls"}, nil, made); err == nil {
		t.Error("a file of two packages: no error")
	}
	var got []string
	for r := tar.NewReader(&b); ; {
		h, err := r.Next()
		if err == io.EOF || err == io.ErrUnexpectedEOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, strings.TrimSpace(h.Name+" "+h.Linkname))
	}
	want := []string{"usr/bin/", "usr/bin/ls", "usr/bin/dir usr/bin/ls", "library", "usr/share/docs"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("files of the layer (-want +got):\n%s", diff)
	}
}

// TestArchive resolves a package with what it depends on, and makes its layer twice.
func TestArchive(t *testing.T) {
	testneed.Program(t, "apt-get", "dpkg-deb")
	testneed.File(t, keyring)
	cache := t.TempDir()
	a, err := OpenArchive(t.Context(), cache, "bookworm")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := a.Resolve(t.Context(), []string{"-o"}, nil); err == nil {
		t.Error("Resolve(-o): no error")
	}
	packages, err := a.Resolve(t.Context(), []string{"zlib1g"}, []string{"gcc-12-base"})
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, p := range packages {
		names = append(names, p.Name)
	}
	if want := []string{"libgcc-s1", "libc6", "zlib1g"}; !sameSet(names, want) {
		t.Fatalf("zlib1g needs %v, want %v", names, want)
	}
	for range 2 {
		l, err := Layer(t.Context(), cache, packages)
		if err != nil {
			t.Fatal(err)
		}
		if err := validate.Layer(l); err != nil {
			t.Error(err)
		}
	}
}

func sameSet(a, b []string) bool {
	count := map[string]int{}
	for _, s := range a {
		count[s]++
	}
	for _, s := range b {
		count[s]--
	}
	for _, n := range count {
		if n != 0 {
			return false
		}
	}
	return true
}
