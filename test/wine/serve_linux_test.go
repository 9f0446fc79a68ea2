package wine

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"

	"github.com/porthole-run/porthole/test/registry"
)

// names are files of an image that no folder of Windows could hold side by side.
var names = map[string]string{
	"bin/Tool": "one", "bin/tool": "two", "etc/a:b": "colon", "AUX": "device", "dir/ends.": "dot", `back\slash`: "slash",
}

// image makes an image of one layer with names and what noise adds.
func image(t *testing.T, noise int) v1.Image {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	add := func(name, text string) {
		if err := w.WriteHeader(&tar.Header{Name: name, Mode: 0o755, Size: int64(len(text)), Typeflag: tar.TypeReg}); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, text); err != nil {
			t.Fatal(err)
		}
	}
	for name, text := range names {
		add(name, text)
	}
	if noise > 0 {
		add("noise", strings.Repeat("0123456789abcdef", noise/16))
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(b.Bytes())), nil })
	if err != nil {
		t.Fatal(err)
	}
	img, err := mutate.AppendLayers(empty.Image, layer)
	if err == nil {
		img, err = mutate.ConfigFile(img, &v1.ConfigFile{
			Architecture: "amd64", OS: "linux", Config: v1.Config{Cmd: []string{"/bin/tool"}, User: "7:8"},
			RootFS: v1.RootFS{Type: "layers", DiffIDs: diffIDs(t, layer)},
		})
	}
	if err != nil {
		t.Fatal(err)
	}
	return img
}

func diffIDs(t *testing.T, layer v1.Layer) []v1.Hash {
	t.Helper()
	id, err := layer.DiffID()
	if err != nil {
		t.Fatal(err)
	}
	return []v1.Hash{id}
}

// pushed serves an image and returns its reference.
func pushed(t *testing.T, img v1.Image) (*registry.Registry, string) {
	t.Helper()
	r, err := registry.Start("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	if _, err := r.Push(t.Context(), "wine/sample", "1", img); err != nil {
		t.Fatal(err)
	}
	return r, r.Host() + "/wine/sample:1"
}

// layers are the converted layers of a daemon's store.
func (m *machine) layers() []string {
	m.t.Helper()
	var out []string
	err := filepath.WalkDir(m.Path(rootDir+`\images`), func(path string, e os.DirEntry, err error) error {
		if err == nil && strings.HasSuffix(path, ".vhd") {
			out = append(out, path)
		}
		return err
	})
	if err != nil {
		m.t.Fatal(err)
	}
	return out
}

// TestServe drives the daemon with crictl.exe through its pipe: what it says of itself, and
// an image from its pull to its removal.
func TestServe(t *testing.T) {
	m := newMachine(t)
	config, pipe := m.configure(t, "")
	d := m.serve(config, pipe)
	if got := d.crictl("version"); !strings.Contains(got, "RuntimeName:  porthole") {
		t.Errorf("version = %s", got)
	}
	var info struct {
		Status struct {
			Conditions []struct {
				Type    string
				Status  bool
				Message string
			}
		}
		Accelerator struct{ Accel string }
	}
	unmarshal(t, d.crictl("info"), &info)
	for _, c := range info.Status.Conditions {
		switch c.Type {
		case "RuntimeReady":
			if !c.Status {
				t.Errorf("runtime is not ready: %s", c.Message)
			}
		case "NetworkReady":
			if c.Status || !strings.Contains(c.Message, "Install-WindowsFeature Containers") {
				t.Errorf("network is ready (%t), or the reason is not what to install: %s", c.Status, c.Message)
			}
		}
	}
	if len(info.Status.Conditions) < 2 || info.Accelerator.Accel != "hyperv" {
		t.Errorf("info = %+v", info)
	}

	img := image(t, 0)
	_, ref := pushed(t, img)
	id, err := img.ConfigName()
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if got := d.crictl("pull", ref); !strings.Contains(got, id.Hex) {
			t.Errorf("pull = %s, want %s", got, id)
		}
	}
	checkLayer(t, m.layers())
	var inspected struct {
		Status struct {
			ID       string
			RepoTags []string
			UID      struct{ Value string }
		}
	}
	unmarshal(t, d.crictl("inspecti", ref), &inspected)
	if s := inspected.Status; s.ID != id.String() || s.UID.Value != "7" || len(s.RepoTags) != 1 || s.RepoTags[0] != ref {
		t.Errorf("inspecti = %+v", s)
	}
	var fs struct {
		Status struct {
			ImageFilesystems []struct {
				FsID      struct{ Mountpoint string }
				UsedBytes struct{ Value string }
			}
		}
	}
	unmarshal(t, d.crictl("imagefsinfo"), &fs)
	if f := fs.Status.ImageFilesystems; len(f) != 1 || f[0].FsID.Mountpoint != rootDir+`\images` || f[0].UsedBytes.Value == "0" {
		t.Errorf("imagefsinfo = %+v", fs)
	}
	images(t, d, ref)
	d.crictl("rmi", ref)
	if got := d.crictl("images", "-q"); got != "" {
		t.Errorf("images after rmi = %s", got)
	}
	eventually(t, "the layer's disk is removed", patience, func() bool { return len(m.layers()) == 0 })
	m.fails(1, []string{"not found"}, "crictl.exe", d.crictlArgs("pull", ref+"0")...)
	m.fails(1, []string{"refused"}, "crictl.exe", d.crictlArgs("pull", "127.0.0.1:1/none:1")...)
}

// images moves an image out of the store and back, through the pipe of the image commands.
func images(t *testing.T, d *daemon, ref string) {
	t.Helper()
	porthole := func(args ...string) string {
		return d.m.must("porthole.exe", append(args[:2:2], append([]string{"--config", d.config}, args[2:]...)...)...)
	}
	archive := Windows(filepath.Join(t.TempDir(), "image.tar"))
	porthole("image", "export", archive, ref)
	d.crictl("rmi", ref)
	porthole("image", "import", archive)
	if got := porthole("image", "list"); !strings.Contains(got, ref) {
		t.Errorf("image list after export and import:\n%s", got)
	}
}

// checkLayer looks that the one layer is a whole ext4 in a fixed VHD, with all its names.
func checkLayer(t *testing.T, layers []string) {
	t.Helper()
	if len(layers) != 1 {
		t.Fatalf("layers = %q, want one", layers)
	}
	b, err := os.ReadFile(layers[0])
	if err != nil {
		t.Fatal(err)
	}
	foot := b[len(b)-512:]
	if string(foot[:8]) != "conectix" || foot[63] != 2 {
		t.Errorf("footer = %q, want a fixed VHD's", foot[:64])
	}
	if out, err := exec.CommandContext(t.Context(), "e2fsck", "-fn", layers[0]).CombinedOutput(); err != nil {
		t.Errorf("e2fsck: %v\n%s", err, out)
	}
	for name, want := range names {
		cat := exec.CommandContext(t.Context(), "debugfs", "-R", `cat "/root/`+name+`"`, layers[0])
		var errs bytes.Buffer
		cat.Stderr = &errs
		if out, err := cat.Output(); err != nil || string(out) != want {
			t.Errorf("%s in the layer = %q, %v, want %q\n%s", name, out, err, want, &errs)
		}
	}
}

func unmarshal(t *testing.T, text string, to any) {
	t.Helper()
	if err := json.Unmarshal([]byte(text), to); err != nil {
		t.Fatalf("%v in %s", err, text)
	}
}

// TestServe_Killed: an image outlives the daemon, and a pull that was cut short leaves
// nothing that keeps the next one from its end.
func TestServe_Killed(t *testing.T) {
	m := newMachine(t)
	config, pipe := m.configure(t, "")
	d := m.serve(config, pipe)
	_, ref := pushed(t, image(t, 0))
	d.crictl("pull", ref)
	img := image(t, 1<<20)
	r, big := pushed(t, img)
	layers, err := img.Layers()
	if err != nil {
		t.Fatal(err)
	}
	blob, err := layers[0].Digest()
	if err != nil {
		t.Fatal(err)
	}
	r.Inject(registry.Fault{Path: "wine/sample/blobs/" + blob.String(), Stall: true})
	ctx := t.Context()
	pull := m.Command(ctx, filepath.Join(env.bin, "crictl.exe"), d.crictlArgs("pull", big)...)
	if err := pull.Start(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the daemon asks for a blob", patience, func() bool { return r.BlobGets("wine/sample", blob) > 0 })
	d.kill()
	if err := pull.Wait(); err == nil {
		t.Error("a pull succeeded though the daemon was killed")
	}
	r.Heal()
	d.start()
	if got := d.crictl("images"); !strings.Contains(got, "wine/sample") {
		t.Errorf("images after the restart = %s", got)
	}
	d.crictl("pull", big)
	if got := m.layers(); len(got) != 2 {
		t.Errorf("layers = %q, want two", got)
	}
}

// TestServe_Second: two daemons share neither folders nor a pipe.
func TestServe_Second(t *testing.T) {
	m := newMachine(t)
	config, pipe := m.configure(t, "")
	d := m.serve(config, pipe)
	const running = 4 // the exit code
	m.fails(running, []string{`lock`, "another porthole is using it"}, "porthole.exe", "serve", "--config", config)
	other := m.write("other.toml", strings.ReplaceAll(readConfig(t, config), `C:\ph\`, `C:\other\`))
	m.fails(running, []string{"pipe", "another porthole is using it"}, "porthole.exe", "serve", "--config", other)
	d.crictl("version") // the first goes on
}
