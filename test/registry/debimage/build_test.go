package debimage

import (
	"archive/tar"
	"errors"
	"io"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"

	"github.com/porthole-run/porthole/internal/testneed"
)

func TestFileLayerIsDeterministic(t *testing.T) {
	files := map[string]File{"a/b": {Content: "x"}, "a": {Folder: true, Mode: 0o700}, "c/d/e": {Symlink: "/a"}}
	var digests []v1.Hash
	for range 2 {
		l, err := FileLayer(files)
		if err != nil {
			t.Fatal(err)
		}
		d, err := l.Digest()
		if err != nil {
			t.Fatal(err)
		}
		digests = append(digests, d)
	}
	if digests[0] != digests[1] {
		t.Errorf("digests = %v, want two equal ones", digests)
	}
}

func TestFetchPackageRefusesNames(t *testing.T) {
	for _, name := range []string{"", "-o", "--help"} {
		if _, err := fetchPackage(t.Context(), t.TempDir(), name); err == nil {
			t.Errorf("fetchPackage(%q): no error", name)
		}
	}
}

// TestSample builds the sample twice and looks into it.
func TestSample(t *testing.T) {
	testneed.Program(t, "apt-get", "dpkg-deb")
	cache := t.TempDir()
	first, err := Layered(t.Context(), cache)
	if err != nil {
		t.Fatal(err)
	}
	second, err := Layered(t.Context(), cache)
	if err != nil {
		t.Fatal(err)
	}
	a, err1 := first.Digest()
	b, err2 := second.Digest()
	if errors.Join(err1, err2) != nil || a != b {
		t.Errorf("digests = %v, %v (%v, %v), want equal ones", a, b, err1, err2)
	}
	files := map[string]*tar.Header{}
	r := mutate.Extract(first)
	defer r.Close()
	tr := tar.NewReader(r)
	for {
		h, err := tr.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		files[strings.Trim(h.Name, "./")] = h
	}
	for _, want := range []string{"bin/busybox", "bin/sh", "bin/httpd", "etc/passwd", "www/index.html", "data/kept", "hidden/new"} {
		if files[want] == nil {
			t.Errorf("image has no %s", want)
		}
	}
	for _, gone := range []string{"data/gone"} {
		if files[gone] != nil {
			t.Errorf("image has %s", gone)
		}
	}
	if f := files["bin/sh"]; f != nil && f.Linkname != "/bin/busybox" {
		t.Errorf("bin/sh -> %s, want /bin/busybox", f.Linkname)
	}
}
