package main

import (
	"archive/zip"
	"bytes"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	guestimage "github.com/porthole-run/porthole/guest/image"

	"github.com/porthole-run/porthole/cmd/porthole/setup"
	"github.com/porthole-run/porthole/internal/filesum"
)

// bundle makes a guest bundle that can be opened.
func bundle(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	m := guestimage.Manifest{
		Version: 1, Kernel: guestimage.Kernel{Flavour: guestimage.Debian, Release: "6.1.0", ConfigSHA256: strings.Repeat("0", 64)},
		Parts: []guestimage.Part{
			{Name: "kernel", Version: "6.1", Source: "linux-image=6.1+1", SourceSHA256: strings.Repeat("a", 64), SHA256: strings.Repeat("b", 64), Size: 1},
			{Name: "crun", Path: "/bin/crun", Version: "1.8", Source: "source:crun=1.8", SHA256: strings.Repeat("c", 64), Size: 1},
			{Name: "agent", Path: "/init", Version: "1", Source: "porthole", SHA256: strings.Repeat("d", 64), Size: 1},
		},
	}
	for _, name := range []string{guestimage.KernelFile, guestimage.InitrdFile} {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(name), 0o644); err != nil {
			t.Fatal(err)
		}
		sum, err := filesum.SHA256(path)
		if err != nil {
			t.Fatal(err)
		}
		m.Files = append(m.Files, guestimage.File{Name: name, SHA256: sum, Size: int64(len(name))})
	}
	text, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, guestimage.ManifestFile), text, 0o644); err != nil {
		t.Fatal(err)
	}
	return dir
}

// release stages a release of this repository with this test as the program.
func release(t *testing.T, system string) string {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "porthole-1.2.3")
	if err := run([]string{"stage", "-os", system, "-bin", self, "-guest", bundle(t), "-root", "../..", "-version", "1.2.3", "-out", dir}, io.Discard); err != nil {
		t.Fatal(err)
	}
	return dir
}

func sealed(t *testing.T, dir, suffix string) []byte {
	t.Helper()
	out := filepath.Join(t.TempDir(), "porthole"+suffix)
	if err := run([]string{"seal", "-dir", dir, "-out", out}, io.Discard); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestReproducible: the same files give the same bytes, whatever their times and modes.
func TestReproducible(t *testing.T) {
	for system, suffix := range map[string]string{"windows": ".zip", "linux": ".tar.gz"} {
		one, two := release(t, system), release(t, system)
		if err := os.Chtimes(filepath.Join(two, "guest", "initrd"), time.Unix(1, 0), time.Unix(1, 0)); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(filepath.Join(two, "README.md"), 0o600); err != nil {
			t.Fatal(err)
		}
		first := sealed(t, one, suffix)
		if !bytes.Equal(first, sealed(t, two, suffix)) || !bytes.Equal(first, sealed(t, one, suffix)) {
			t.Errorf("%s: two archives of the same files differ", system)
		}
		if err := os.WriteFile(filepath.Join(two, "README.md"), []byte("other"), 0o644); err != nil {
			t.Fatal(err)
		}
		if bytes.Equal(first, sealed(t, two, suffix)) {
			t.Errorf("%s: archives of different files are the same", system)
		}
	}
}

// TestWindows: the zip has what an installation wants, and setup takes it.
func TestWindows(t *testing.T) {
	b := sealed(t, release(t, "windows"), ".zip")
	z, err := zip.NewReader(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.CopyFS(dir, z); err != nil {
		t.Fatal(err)
	}
	var top []string
	for _, f := range z.File {
		if name, _, _ := strings.Cut(f.Name, "/"); !slices.Contains(top, name) {
			top = append(top, name)
		}
	}
	want := "CHANGELOG.md README.md SHA256SUMS cni config.toml docs guest install.ps1 kubernetes porthole.exe sbom.cdx.json"
	if got := strings.Join(top, " "); got != want {
		t.Errorf("the zip has %s, want %s", got, want)
	}
	if err := setup.Verify(dir); err != nil {
		t.Error(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "install.ps1"), []byte("other"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := setup.Verify(dir); err == nil {
		t.Error("setup takes a release with another script")
	}
}

func TestBOM(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(release(t, "linux"), bomFile))
	if err != nil {
		t.Fatal(err)
	}
	var d document
	if err := json.Unmarshal(text, &d); err != nil || d.Format != "CycloneDX" || d.Metadata.Component.Version != "1.2.3" {
		t.Errorf("%s, %v", text, err)
	}
	byName := map[string]component{}
	for _, c := range d.Components {
		byName[c.Name] = c
		for _, sub := range c.Components {
			byName["guest/"+sub.Name] = sub
		}
	}
	for name, purl := range map[string]string{
		"guest/kernel": "pkg:deb/debian/linux-image@6.1%2B1", "guest/crun": "pkg:deb/debian/crun@1.8?arch=source", "guest/agent": "",
	} {
		if c, ok := byName[name]; !ok || c.PURL != purl {
			t.Errorf("%s is %+v, want purl %s", name, c, purl)
		}
	}
	if c := byName["github.com/containerd/errdefs"]; !strings.HasPrefix(c.PURL, "pkg:golang/github.com/containerd/errdefs@v") || byName["std"].Version == "" {
		t.Errorf("Go modules: %+v, std %+v", c, byName["std"])
	}
}

func TestRefusals(t *testing.T) {
	dir := release(t, "linux")
	for _, args := range [][]string{
		nil, {"pack"}, {"stage", "-os", "plan9"}, {"stage", "-os", "linux"}, {"seal"}, {"seal", "-dir", dir, "-out", filepath.Join(t.TempDir(), "x.rar")},
		{"stage", "-os", "linux", "-bin", "x", "-guest", "x", "-version", "1", "-out", dir},
	} {
		if err := run(args, io.Discard); err == nil {
			t.Errorf("mkdist %v is no error", args)
		}
	}
	if err := os.Symlink("/etc/passwd", filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	if err := run([]string{"seal", "-dir", dir, "-out", filepath.Join(t.TempDir(), "x.zip")}, io.Discard); err == nil {
		t.Error("a link was packed")
	}
}
