package e2e

import (
	"bytes"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
)

func TestImages(t *testing.T) {
	s := ownServer(t, serverConfig{})
	ctx := testContext(t)
	id := s.pull(t, env.registry.sample)
	st, err := s.Images.ImageStatus(ctx, &cri.ImageStatusRequest{Image: &cri.ImageSpec{Image: id}, Verbose: true})
	if err != nil || st.Image == nil {
		t.Fatalf("ImageStatus(%s): %v, %v", id, st, err)
	}
	if st.Image.Id != id || !slices.Contains(st.Image.RepoTags, env.registry.sample) || st.Image.Size == 0 || len(st.Image.RepoDigests) != 1 {
		t.Errorf("ImageStatus: %v", st.Image)
	}
	fs, err := s.Images.ImageFsInfo(ctx, &cri.ImageFsInfoRequest{})
	if err != nil || len(fs.ImageFilesystems) != 1 || fs.ImageFilesystems[0].UsedBytes.GetValue() < 1<<20 {
		t.Errorf("ImageFsInfo: %v, %v", fs, err)
	}

	// In use: the image may be removed, its container goes on and can exec.
	p := runPod(t, s)
	k := p.start(sh("sleeper", "exec sleep 600"))
	if _, err := s.Images.RemoveImage(ctx, &cri.RemoveImageRequest{Image: &cri.ImageSpec{Image: id}}); err != nil {
		t.Logf("RemoveImage of an image in use: %v", err)
	}
	if got := k.exec("busybox true && echo fine"); got != "fine" {
		t.Errorf("a container whose image was removed: %q", got)
	}
	p.remove()
	if _, err := s.Images.RemoveImage(ctx, &cri.RemoveImageRequest{Image: &cri.ImageSpec{Image: id}}); err != nil {
		t.Error(err)
	}
	list, err := s.Images.ListImages(ctx, &cri.ListImagesRequest{})
	if err != nil || len(list.Images) != 0 {
		t.Errorf("images after RemoveImage: %v, %v", list.GetImages(), err)
	}
	if layers, _ := filepath.Glob(filepath.Join(s.Dir, "root", "images", "layers", "*.vhd")); len(layers) != 0 {
		t.Errorf("layers after RemoveImage: %v", layers)
	}
}

func TestConcurrentPulls(t *testing.T) {
	s := ownServer(t, serverConfig{})
	before := env.registry.blobGets()
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			if _, err := s.Images.PullImage(testContext(t), &cri.PullImageRequest{Image: &cri.ImageSpec{Image: env.registry.layered}}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if got, want := env.registry.blobGets()-before, len(env.registry.layeredBlobs); got != want {
		t.Errorf("8 pulls of one image fetched %d blobs, want %d", got, want)
	}
}

// TestLayers runs an image whose layers hide and replace what is below. Some of them share a
// disk, which alone has /data.
func TestLayers(t *testing.T) {
	p := runPod(t, env.server)
	out := p.output("layers", `cat /data/kept; ls -A /data; ls /data/gone 2>&1; cat /data/changed; cat /replaced/now; ls -A /hidden; stat -c %u:%a /hidden/new`,
		func(c *cri.ContainerConfig) { c.Image.Image = env.registry.layered })
	want := "one\nchanged\nkept\nls: /data/gone: No such file or directory\ntwo\na folder\nnew\n1000:600"
	if out != want {
		t.Errorf("the layered image shows:\n%s\nwant:\n%s", out, want)
	}
}

func TestImageCommands(t *testing.T) {
	a := ownServer(t, serverConfig{})
	a.pull(t, env.registry.sample)
	archive := filepath.Join(t.TempDir(), "sample.tar")
	porthole := func(s *server, args ...string) string {
		t.Helper()
		var stderr bytes.Buffer
		cmd := s.Porthole(testContext(t), args...)
		cmd.Stderr = &stderr
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("porthole %v: %v\n%s%s", args, err, out, &stderr)
		}
		return string(out)
	}
	porthole(a, "image", "export", "--config", a.ConfigPath, archive, env.registry.sample)
	b := ownServer(t, serverConfig{})
	porthole(b, "image", "import", "--config", b.ConfigPath, archive)
	if got := porthole(b, "image", "list", "--config", b.ConfigPath); !strings.Contains(got, env.registry.sample) {
		t.Errorf("porthole image list: %s", got)
	}
	p := runPod(t, b)
	if got := p.output("imported", "echo from an import"); got != "from an import" {
		t.Errorf("%q", got)
	}
}
