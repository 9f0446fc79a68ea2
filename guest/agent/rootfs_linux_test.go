package agent

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/containerd/errdefs"
	"github.com/google/go-cmp/cmp"
	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// TestMakeVolume has images that have a volume as a folder, as another thing, as a link, and
// not at all.
func TestMakeVolume(t *testing.T) {
	dir := t.TempDir()
	if err := errors.Join(
		os.Mkdir(filepath.Join(dir, "there"), 0o700), os.WriteFile(filepath.Join(dir, "file"), nil, 0o644),
		os.Symlink("/srv/data", filepath.Join(dir, "link")), os.Symlink("loop", filepath.Join(dir, "loop")),
		os.Symlink("../../../../outside", filepath.Join(dir, "out")),
	); err != nil {
		t.Fatal(err)
	}
	root, err := openRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.close()
	for _, tt := range []struct {
		name, at string // at: what is there then, below dir; empty: InvalidArgument
		mode     os.FileMode
	}{
		{"/there", "there", os.ModeDir | 0o700},
		{"/file", "file", 0o644},
		{"/new/deep", "new/deep", os.ModeDir | 0o755},
		{"/link", "srv/data", os.ModeDir | 0o755},
		{"/out", "outside", os.ModeDir | 0o755},
		{"/loop", "", 0},
		{"/file/x", "", 0},
	} {
		err := root.makeVolume(tt.name)
		if tt.at == "" {
			if !errdefs.IsInvalidArgument(err) {
				t.Errorf("%s: %v, want InvalidArgument", tt.name, err)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		if info, err := os.Lstat(filepath.Join(dir, tt.at)); err != nil || info.Mode() != tt.mode {
			t.Errorf("%s: %s is %v, %v", tt.name, tt.at, info, err)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "../outside")); err == nil {
		t.Error("a link led out of the root")
	}
}

// TestLeadMounts has the links of images, some of which lead nowhere or out.
func TestLeadMounts(t *testing.T) {
	root := t.TempDir()
	for link, to := range map[string]string{
		"etc/resolv.conf": "../run/systemd/resolve/stub-resolv.conf", // as systemd makes it
		"etc/abs":         "/var/abs",
		"etc/out":         "../../../../../out",
		"etc/chain":       "abs/below",
		"etc/self":        "self",
		"etc/there":       "/usr/there",
		"data":            "/srv/data",
		"etc/through":     "passwd/x",
	} {
		if err := os.MkdirAll(filepath.Join(root, filepath.Dir(link)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(to, filepath.Join(root, link)); err != nil {
			t.Fatal(err)
		}
	}
	for _, dir := range []string{"usr/there", "plain"} {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(root, "etc/passwd"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	for dst, want := range map[string]string{
		"/plain":            "/plain",
		"/plain/new/deep":   "/plain/new/deep",
		"/new":              "/new",
		"/etc/resolv.conf":  "/run/systemd/resolve/stub-resolv.conf",
		"/etc/abs":          "/var/abs",
		"/etc/abs/deep":     "/var/abs/deep",
		"/etc/out":          "/out",
		"/etc/chain":        "/var/abs/below",
		"/data/new":         "/srv/data/new",
		"/etc/there":        "/etc/there", // which the runtime can open
		"/etc/there/new":    "/usr/there/new",
		"/etc/abs/../up":    "/var/up",
		"/etc/self":         "",
		"/etc/self/x":       "",
		"/etc/passwd/x":     "",
		"/etc/through":      "",
		"/etc/through/more": "",
	} {
		mounts := []specs.Mount{{Destination: dst}}
		err := leadMounts(root, mounts)
		if want == "" {
			if !errdefs.IsInvalidArgument(err) {
				t.Errorf("%s: %v, %v, want InvalidArgument", dst, mounts[0].Destination, err)
			}
			continue
		}
		if err != nil || mounts[0].Destination != want {
			t.Errorf("%s leads to %s, %v, want %s", dst, mounts[0].Destination, err, want)
		}
	}
	// What lies in a mount is none of the image's.
	mounts := []specs.Mount{{Destination: "/etc"}, {Destination: "/etc/resolv.conf"}}
	if err := leadMounts(root, mounts); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff([]specs.Mount{{Destination: "/etc"}, {Destination: "/etc/resolv.conf"}}, mounts); d != "" {
		t.Error(d)
	}
}
