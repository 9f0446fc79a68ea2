package image

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/containerd/containerd/v2/core/remotes/docker"
	"github.com/containerd/errdefs"
	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/opencontainers/go-digest"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/porthole-run/porthole/test/registry"
	"github.com/porthole-run/porthole/test/registry/debimage"
)

type fileMap = map[string]debimage.File

func twoLayers(t testing.TB) v1.Image {
	return buildImage(t, v1.Config{Entrypoint: []string{"/a"}, User: "demo:staff", StopSignal: "SIGQUIT"},
		fileMap{"a": {Content: noise(1, 200_000)}}, fileMap{".wh.a": {}, "b": {Content: "b"}})
}

func TestPull(t *testing.T) {
	reg := startRegistry(t)
	img := twoLayers(t)
	ref := push(t, reg, "team/app", "v1", img)
	root := t.TempDir()
	s := openStore(t, root, nil)
	id := pull(t, s, ref)
	if want := imageID(t, img); id != want {
		t.Fatalf("Pull = %s, want %s", id, want)
	}
	got, err := s.Status(t.Context(), ref)
	if err != nil {
		t.Fatal(err)
	}
	d, _ := img.Digest()
	got.Size, got.Created = 0, time.Time{}
	want := Image{
		ID: id, RepoTags: []string{ref}, RepoDigests: []string{reg.Host() + "/team/app@" + d.String()}, Username: "demo",
		Config: RunConfig{Entrypoint: []string{"/a"}, User: "demo:staff", StopSignal: "SIGQUIT"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("Status (-want +got):\n%s", diff)
	}
	if got, want := countFiles(t, root), (files{Layers: 2, Records: 1, Blobs: 4}); got != want {
		t.Errorf("files = %+v, want %+v", got, want)
	}
	fs, err := s.Prepare(t.Context(), id, "c1")
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range fs.Layers {
		fi, err := os.Stat(l.Path)
		if err != nil || fi.Mode().Perm() != 0o444 {
			t.Errorf("layer %s: %v, %v; want mode 0444", l.Path, fi, err)
		}
	}
}

func TestPullPlatformFromIndex(t *testing.T) {
	reg := startRegistry(t)
	img := twoLayers(t)
	arm := buildImage(t, v1.Config{}, fileMap{"arm": {}})
	idx := mutate.AppendManifests(empty.Index,
		mutate.IndexAddendum{Add: arm, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: "arm64"}}},
		mutate.IndexAddendum{Add: img, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: "amd64"}}},
		mutate.IndexAddendum{Add: arm, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "unknown", Architecture: "unknown"}}})
	for name, mt := range map[string]types.MediaType{"oci": types.OCIImageIndex, "docker": types.DockerManifestList} {
		t.Run(name, func(t *testing.T) {
			if err := reg.PushIndex(t.Context(), "multi", name, mutate.IndexMediaType(idx, mt)); err != nil {
				t.Fatal(err)
			}
			s := openStore(t, t.TempDir(), nil)
			if id := pull(t, s, reg.Host()+"/multi:"+name); id != imageID(t, img) {
				t.Errorf("Pull = %s, want the amd64 image", id)
			}
		})
	}
	s := openStore(t, t.TempDir(), func(c *Config) { c.Platform = "linux/riscv64" })
	_, err := s.Pull(t.Context(), reg.Host()+"/multi:oci", Auth{})
	if !errdefs.IsNotFound(err) || !strings.Contains(err.Error(), "linux/riscv64") {
		t.Errorf("Pull = %v, want NotFound that names the platform", err)
	}
}

func TestPullSharesWork(t *testing.T) {
	reg := startRegistry(t)
	img := twoLayers(t)
	ref := push(t, reg, "shared", "v1", img)
	reg.Inject(registry.Fault{Path: "/blobs/", Delay: 50 * time.Millisecond})
	prom := prometheus.NewRegistry()
	m, err := NewMetrics(prom)
	if err != nil {
		t.Fatal(err)
	}
	s := openStore(t, t.TempDir(), func(c *Config) { c.Metrics = m })
	var wg sync.WaitGroup
	for range 10 {
		wg.Go(func() {
			if _, err := s.Pull(t.Context(), ref, Auth{}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	for i := range 2 {
		if n := reg.BlobGets("shared", layerDigest(t, img, i)); n != 1 {
			t.Errorf("layer %d was fetched %d times, want once", i, n)
		}
	}
	if n := testutil.ToFloat64(m.layers); n != 2 {
		t.Errorf("layers converted = %v, want 2", n)
	}
	if n := testutil.ToFloat64(m.pulls.WithLabelValues("ok")); n != 10 {
		t.Errorf("pulls = %v, want 10", n)
	}
}

func TestPullGoesOnWhenOneCallerLeaves(t *testing.T) {
	reg := startRegistry(t)
	img := twoLayers(t)
	ref := push(t, reg, "shared", "v1", img)
	blob := layerDigest(t, img, 0)
	reg.Inject(registry.Fault{Path: blob.String(), Method: "GET", Delay: 300 * time.Millisecond})
	s := openStore(t, t.TempDir(), nil)
	ctx, cancel := context.WithCancel(t.Context())
	left := make(chan error, 1)
	go func() { _, err := s.Pull(ctx, ref, Auth{}); left <- err }()
	poll := time.NewTicker(time.Millisecond) // neither registry nor flights tell by themselves
	defer poll.Stop()
	for reg.BlobGets("shared", blob) == 0 {
		<-poll.C
	}
	stays := make(chan error, 1)
	go func() { _, err := s.Pull(t.Context(), ref, Auth{}); stays <- err }()
	for joined := false; !joined; <-poll.C {
		s.flights.mu.Lock()
		f := s.flights.flying["blob:"+blob.String()]
		joined = f == nil || f.waiters == 2
		s.flights.mu.Unlock()
	}
	cancel()
	if err := <-left; !errors.Is(err, context.Canceled) {
		t.Errorf("Pull of the one who left = %v, want Canceled", err)
	}
	if err := <-stays; err != nil {
		t.Errorf("Pull of the one who stays = %v", err)
	}
	if n := reg.BlobGets("shared", blob); n != 1 {
		t.Errorf("blob was fetched %d times, want once", n)
	}
}

func TestPullResumes(t *testing.T) {
	reg := startRegistry(t)
	img := twoLayers(t)
	ref := push(t, reg, "cut", "v1", img)
	for name, fault := range map[string]registry.Fault{
		"cut-twice": {CutAfter: 50_000, Times: 2}, "no-range": {CutAfter: 50_000, Times: 1, NoRange: true},
		"server-error-once": {Status: 503, Times: 1},
	} {
		t.Run(name, func(t *testing.T) {
			fault.Path, fault.Method = layerDigest(t, img, 0).String(), "GET"
			reg.Inject(fault)
			defer reg.Heal()
			pull(t, openStore(t, t.TempDir(), nil), ref)
		})
	}
}

// TestPullResumesAfterRestart keeps the part of a download that a first store has got.
func TestPullResumesAfterRestart(t *testing.T) {
	reg := startRegistry(t)
	img := twoLayers(t)
	ref := push(t, reg, "cut", "v1", img)
	root := t.TempDir()
	came, err := NewMetrics(prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	s := openStore(t, root, func(c *Config) { stalls(c); c.Metrics = came })
	reg.Inject(registry.Fault{Path: layerDigest(t, img, 0).String(), Method: "GET", Stall: true})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	pulled := make(chan error, 1)
	go func() { _, err := s.Pull(ctx, ref, Auth{}); pulled <- err }()
	poll := time.NewTicker(time.Millisecond)
	defer poll.Stop()
	for testutil.ToFloat64(came.bytes) < 90_000 { // the fault sends half of 200,000
		select {
		case err := <-pulled:
			t.Fatalf("Pull = %v before the half of it has come", err)
		case <-poll.C:
		}
	}
	cancel()
	if err := <-pulled; !errors.Is(err, context.Canceled) {
		t.Fatalf("Pull = %v, want Canceled", err)
	}
	s.Close()
	reg.Heal()
	s = openStore(t, root, nil)
	if countFiles(t, root).Ingests == 0 { // the other layer's may be one too
		t.Error("no unfinished download is there")
	}
	var got int64
	m, err := NewMetrics(prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	s.cfg.Metrics = m
	pull(t, s, ref)
	got = int64(testutil.ToFloat64(m.bytes))
	if got > 150_000 {
		t.Errorf("fetched %d bytes after the restart, want the rest of 200,000 only", got)
	}
}

func TestPullBadInput(t *testing.T) {
	reg := startRegistry(t)
	good := twoLayers(t)
	var evil bytes.Buffer
	w := tar.NewWriter(&evil)
	w.WriteHeader(&tar.Header{Name: "../../etc/cron.d/evil", Typeflag: tar.TypeReg})
	w.Close()
	blob := layerDigest(t, good, 0).String()
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed.Close()
	push(t, reg, "good", "v1", good)
	push(t, reg, "no-tar", "v1", appendRaw(t, good, []byte(strings.Repeat("not a tar ", 200))))
	push(t, reg, "climbs", "v1", appendRaw(t, good, evil.Bytes()))
	windows, _ := good.ConfigFile()
	windows = windows.DeepCopy()
	windows.OS = "windows"
	winImage, _ := mutate.ConfigFile(good, windows)
	push(t, reg, "windows", "v1", winImage)
	wrongDiff, _ := good.ConfigFile()
	wrongDiff = wrongDiff.DeepCopy()
	wrongDiff.RootFS.DiffIDs[1].Hex = strings.Repeat("ab", 32)
	diffImage, _ := mutate.ConfigFile(good, wrongDiff)
	push(t, reg, "wrong-diff", "v1", diffImage)
	short := wrongDiff.DeepCopy()
	short.RootFS.DiffIDs = short.RootFS.DiffIDs[:1]
	shortImage, _ := mutate.ConfigFile(good, short)
	push(t, reg, "short-config", "v1", shortImage)
	if err := reg.PushManifest(t.Context(), "junk", "v1", types.OCIManifestSchema1, []byte(`{"layers": 3}`)); err != nil {
		t.Fatal(err)
	}
	huge := []byte(`{"schemaVersion": 2, "layers": []` + strings.Repeat(" ", 50<<20) + "}")
	if err := reg.PushManifest(t.Context(), "huge", "v1", types.OCIManifestSchema1, huge); err != nil {
		t.Fatal(err)
	}
	hugeSays := fmt.Sprintf("manifest of %d bytes is too large, %d are taken at most", len(huge), docker.MaxManifestSize)
	tests := []struct {
		name  string
		ref   string
		fault *registry.Fault
		is    func(error) bool
		says  string
	}{
		{"unknown-image", reg.Host() + "/nothing:v1", nil, errdefs.IsNotFound, reg.Host() + "/nothing:v1"},
		{"unknown-tag", reg.Host() + "/good:v9", nil, errdefs.IsNotFound, "good:v9"},
		{"bad-reference", "UPPER//case", nil, errdefs.IsInvalidArgument, "UPPER//case"},
		{"registry-down", closed.Addr().String() + "/good:v1", nil, errdefs.IsUnavailable, "connection refused"},
		{"server-error", reg.Host() + "/good:v1", &registry.Fault{Status: 500}, errdefs.IsUnavailable, "500"},
		{"forbidden", reg.Host() + "/good:v1", &registry.Fault{Status: 403}, errdefs.IsPermissionDenied, "403"},
		{"wrong-digest", reg.Host() + "/good:v1", &registry.Fault{Path: blob, Corrupt: true}, errdefs.IsDataLoss, blob},
		{"wrong-manifest", reg.Host() + "/good:v1", &registry.Fault{Path: "/manifests/", Method: "GET", Corrupt: true}, errdefs.IsDataLoss, "sha256:"},
		{"blob-missing", reg.Host() + "/good:v1", &registry.Fault{Path: blob, Status: 404}, errdefs.IsNotFound, "good:v1"},
		{"always-cut", reg.Host() + "/good:v1", &registry.Fault{Path: blob, Method: "GET", CutAfter: 1, NoRange: true}, errdefs.IsUnavailable, "good:v1"},
		{"slow-answer", reg.Host() + "/good:v1", &registry.Fault{Path: "/manifests/", Delay: time.Minute}, errdefs.IsUnavailable, "progress timeout"},
		{"slow-blob", reg.Host() + "/good:v1", &registry.Fault{Path: blob, Stall: true}, errdefs.IsUnavailable, "progress timeout"},
		{"layer-is-no-tar", reg.Host() + "/no-tar:v1", nil, errdefs.IsInvalidArgument, "not a whole tar"},
		{"layer-climbs-out", reg.Host() + "/climbs:v1", nil, errdefs.IsInvalidArgument, `"../../etc/cron.d/evil": path climbs out`},
		{"other-platform", reg.Host() + "/windows:v1", nil, errdefs.IsInvalidArgument, "windows/amd64"},
		{"wrong-diff-id", reg.Host() + "/wrong-diff:v1", nil, errdefs.IsFailedPrecondition, strings.Repeat("ab", 32)},
		{"config-lacks-layer", reg.Host() + "/short-config:v1", nil, errdefs.IsInvalidArgument, "manifest has 2 layers, config 1"},
		{"manifest-is-huge", reg.Host() + "/huge:v1", nil, errdefs.IsInvalidArgument, hugeSays},
		{"manifest-of-digest-is-huge", reg.Host() + "/huge@" + digest.FromBytes(huge).String(), nil, errdefs.IsInvalidArgument, hugeSays},
		{"manifest-is-junk", reg.Host() + "/junk:v1", nil, errdefs.IsInvalidArgument, "not valid JSON"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			root := t.TempDir()
			s := openStore(t, root, func(c *Config) {
				c.ProgressTimeout = time.Minute // what is only slow, on a busy machine, is not what is tested
				if tt.says == "progress timeout" {
					c.ProgressTimeout = 300 * time.Millisecond
				}
			})
			if tt.fault != nil {
				reg.Inject(*tt.fault)
				defer reg.Heal()
			}
			_, err := s.Pull(t.Context(), tt.ref, Auth{Username: "me", Password: "secret!"})
			if err == nil || !tt.is(err) || !strings.Contains(err.Error(), tt.says) {
				t.Errorf("Pull = %v, want another kind or %q in it", err, tt.says)
			}
			if strings.Contains(fmt.Sprint(err), "secret!") {
				t.Errorf("Pull = %v, with the password in it", err)
			}
			if list, _ := s.List(t.Context(), ""); len(list) != 0 {
				t.Errorf("List = %v, want nothing", list)
			}
			if got := countFiles(t, root); got.Temp+got.Records != 0 || !errdefs.IsUnavailable(err) && got != (files{}) {
				t.Errorf("files = %+v, want nothing left", got)
			}
			reg.Heal()
			s.cfg.ProgressTimeout = time.Minute
			pull(t, s, reg.Host()+"/good:v1") // the store still works
		})
	}
}

func TestPullAuth(t *testing.T) {
	img := buildImage(t, v1.Config{}, fileMap{"a": {Content: "a"}})
	dockerConfig := filepath.Join(t.TempDir(), "config.json")
	tests := []struct {
		name  string
		setup func(*registry.Registry)
		auth  Auth
		file  string // docker config; %s is the host
		ok    bool
	}{
		{"basic", func(r *registry.Registry) { r.RequireBasic("u", "p") }, Auth{Username: "u", Password: "p"}, "", true},
		{"basic-encoded", func(r *registry.Registry) { r.RequireBasic("u", "p") }, Auth{Auth: "dTpw"}, "", true},
		{"basic-wrong", func(r *registry.Registry) { r.RequireBasic("u", "p") }, Auth{Username: "u", Password: "x"}, "", false},
		{"none", func(r *registry.Registry) { r.RequireBasic("u", "p") }, Auth{}, "", false},
		{"other-server", func(r *registry.Registry) { r.RequireBasic("u", "p") }, Auth{Username: "u", Password: "p", ServerAddress: "https://elsewhere"}, "", false},
		{"token", func(r *registry.Registry) { r.RequireToken("u", "p", "") }, Auth{Username: "u", Password: "p"}, "", true},
		{"identity-token", func(r *registry.Registry) { r.RequireToken("u", "p", "id") }, Auth{IdentityToken: "id"}, "", true},
		{"registry-token", func(r *registry.Registry) { r.RequireToken("u", "p", ""); r.AllowToken("tok") }, Auth{RegistryToken: "tok"}, "", true},
		{"registry-token-wrong", func(r *registry.Registry) { r.RequireToken("u", "p", "") }, Auth{RegistryToken: "tok"}, "", false},
		{"docker-config", func(r *registry.Registry) { r.RequireBasic("u", "p") }, Auth{}, `{"auths":{"http://%s/v2/":{"auth":"dTpw"}}}`, true},
		{"docker-config-other", func(r *registry.Registry) { r.RequireBasic("u", "p") }, Auth{}, `{"auths":{"not%s":{"auth":"dTpw"}}}`, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			reg := startRegistry(t)
			ref := push(t, reg, "private", "v1", img)
			tt.setup(reg)
			file := tt.file
			if file != "" {
				file = fmt.Sprintf(file, reg.Host())
			}
			if err := os.WriteFile(dockerConfig, []byte(file+" "), 0o600); err != nil {
				t.Fatal(err)
			}
			s := openStore(t, t.TempDir(), func(c *Config) {
				if file != "" {
					c.DockerConfigPath = dockerConfig
				}
			})
			_, err := s.Pull(t.Context(), ref, tt.auth)
			if tt.ok && err != nil || !tt.ok && !errdefs.IsPermissionDenied(err) {
				t.Errorf("Pull = %v, want success: %v, else PermissionDenied", err, tt.ok)
			}
		})
	}
}

func TestPullMirror(t *testing.T) {
	mirror, reg := startRegistry(t), startRegistry(t)
	img := twoLayers(t)
	push(t, mirror, "team/app", "v1", img)
	certs := t.TempDir()
	dir := filepath.Join(certs, "registry.example")
	os.Mkdir(dir, 0o700)
	hosts := fmt.Sprintf("server = %q\n[host.%q]\n  capabilities = [\"pull\", \"resolve\"]\n", reg.URL(), mirror.URL())
	if err := os.WriteFile(filepath.Join(dir, "hosts.toml"), []byte(hosts), 0o600); err != nil {
		t.Fatal(err)
	}
	s := openStore(t, t.TempDir(), func(c *Config) { c.RegistryConfigDir = certs })
	pull(t, s, "registry.example/team/app:v1")
	push(t, reg, "team/app", "v2", img) // only the server has it
	pull(t, s, "registry.example/team/app:v2")

	os.WriteFile(filepath.Join(dir, "hosts.toml"), []byte("server = 3"), 0o600)
	if _, err := s.Pull(t.Context(), "registry.example/team/app:v1", Auth{}); !errdefs.IsFailedPrecondition(err) {
		t.Errorf("Pull with a bad hosts.toml = %v, want FailedPrecondition", err)
	}
}
