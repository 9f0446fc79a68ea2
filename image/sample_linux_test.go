package image

import (
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/containerd/errdefs"

	"github.com/porthole-run/porthole/image/layer"
	"github.com/porthole-run/porthole/internal/testneed"
	"github.com/porthole-run/porthole/test/registry/debimage"
)

// TestSampleStacks pulls the sample image and stacks its layers with overlayfs, as
// the guest does.
func TestSampleStacks(t *testing.T) {
	testneed.Root(t)
	testneed.Program(t, "apt-get", "dpkg-deb", "mount")
	img, err := debimage.Layered(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	ref := push(t, startRegistry(t), "sample", "v1", img)
	for name, tt := range map[string]struct {
		change func(*Config)
		disks  int
	}{"apart": {nil, 6}, "merged": {merges, 4}} {
		t.Run(name, func(t *testing.T) {
			s := openStore(t, t.TempDir(), tt.change)
			fs, err := s.Prepare(t.Context(), pull(t, s, ref), "c")
			if err != nil || len(fs.Layers) != tt.disks {
				t.Fatalf("Prepare = %d disks, %v; want %d", len(fs.Layers), err, tt.disks)
			}
			checkStack(t, fs)
		})
	}
}

func checkStack(t *testing.T, fs RootFS) {
	mount := func(dir string, args ...string) {
		t.Helper()
		if out, err := exec.Command("mount", append(args, dir)...).CombinedOutput(); err != nil {
			testneed.Skip(t, "mounts: %s", out)
		}
		t.Cleanup(func() { exec.Command("umount", dir).Run() })
	}
	var lower []string // top first
	for _, l := range fs.Layers {
		dir := t.TempDir()
		mount(dir, "-o", "loop,ro", "-t", "ext4", l.Path)
		lower = append([]string{filepath.Join(dir, layer.Root)}, lower...)
	}
	root := t.TempDir()
	mount(root, "-t", "overlay", "-o", "ro,lowerdir="+strings.Join(lower, ":"), "overlay")
	for path, want := range map[string]string{
		"data/kept": "one\n", "data/changed": "two\n", "replaced/now": "a folder\n", "hidden/new": "three\n",
		"data/gone": "", "hidden/old": "",
	} {
		got, err := os.ReadFile(filepath.Join(root, path))
		if string(got) != want || (err != nil) != (want == "") {
			t.Errorf("%s = %q, %v; want %q", path, got, err, want)
		}
	}
	out, err := exec.Command("chroot", root, "/bin/busybox", "id", "demo").CombinedOutput()
	if err != nil || !strings.Contains(string(out), "uid=1000(demo) gid=1000(demo)") {
		t.Errorf("id demo = %q, %v", out, err)
	}
}

// TestPullFullDisk pulls onto a disk that is too small.
func TestPullFullDisk(t *testing.T) {
	testneed.Root(t)
	root := t.TempDir()
	if out, err := exec.Command("mount", "-t", "tmpfs", "-o", "size=300k", "tmpfs", root).CombinedOutput(); err != nil {
		testneed.Skip(t, "tmpfs mounts: %s", out)
	}
	defer exec.Command("umount", root).Run()
	s := openStore(t, root, nil)
	defer s.Close()
	_, err := s.Pull(t.Context(), push(t, startRegistry(t), "big", "v1", twoLayers(t)), Auth{})
	if !errdefs.IsResourceExhausted(err) || !strings.Contains(err.Error(), root) {
		t.Errorf("Pull = %v, want ResourceExhausted that names %s", err, root)
	}
	if got := countFiles(t, root); got != (files{}) {
		t.Errorf("files = %+v, want none", got)
	}
}

// TestPullProxy runs itself with HTTP_PROXY set, which Go reads once a process.
func TestPullProxy(t *testing.T) {
	if os.Getenv("IMAGE_TEST_PROXY") == "1" {
		certs := t.TempDir()
		dir := filepath.Join(certs, "registry.example")
		os.Mkdir(dir, 0o700)
		os.WriteFile(filepath.Join(dir, "hosts.toml"), []byte("server = \"http://registry.example\"\n"), 0o600)
		s := openStore(t, t.TempDir(), func(c *Config) { c.RegistryConfigDir = certs })
		pull(t, s, "registry.example/app:v1")
		return
	}
	reg := startRegistry(t)
	push(t, reg, "app", "v1", twoLayers(t))
	var asked sync.Map // layers are fetched side by side
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Store(r.URL.Host, true)
		reg.ServeHTTP(w, r)
	}))
	defer proxy.Close()
	cmd := exec.Command(os.Args[0], "-test.run=^TestPullProxy$")
	cmd.Env = append(os.Environ(), "IMAGE_TEST_PROXY=1", "HTTP_PROXY="+proxy.URL, "NO_PROXY=", "no_proxy=")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("pull through a proxy: %v\n%s", err, out)
	}
	if _, ok := asked.Load("registry.example"); !ok {
		t.Error("the proxy was not asked for registry.example")
	}
}
