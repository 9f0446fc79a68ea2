package image

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/containerd/errdefs"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/klauspost/compress/gzip"
)

func dockerArchive(t testing.TB, img v1.Image, tag string) []byte {
	t.Helper()
	ref, err := name.NewTag(tag)
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := tarball.Write(ref, img, &b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestImportDockerSave(t *testing.T) {
	img := twoLayers(t)
	plain := dockerArchive(t, img, "quay.io/team/app:v1")
	var zipped bytes.Buffer
	z := gzip.NewWriter(&zipped)
	z.Write(plain)
	z.Close()
	for name, b := range map[string][]byte{"plain": plain, "gzip": zipped.Bytes()} {
		t.Run(name, func(t *testing.T) {
			root := t.TempDir()
			s := openStore(t, root, nil)
			ids, err := s.Import(t.Context(), bytes.NewReader(b))
			if err != nil || !cmp.Equal(ids, []string{imageID(t, img)}) {
				t.Fatalf("Import = %v, %v; want %s", ids, err, imageID(t, img))
			}
			if got, err := s.Status(t.Context(), "quay.io/team/app:v1"); err != nil || got.ID != ids[0] {
				t.Errorf("Status = %v, %v", got, err)
			}
			if got, want := countFiles(t, root), (files{Layers: 2, Records: 1, Blobs: 4}); got != want {
				t.Errorf("files = %+v, want %+v", got, want)
			}
		})
	}
}

func TestImportLayoutFolder(t *testing.T) {
	img := twoLayers(t)
	dir := t.TempDir()
	p, err := layout.Write(dir, empty.Index)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.AppendImage(img, layout.WithAnnotations(map[string]string{"org.opencontainers.image.ref.name": "latest"})); err != nil {
		t.Fatal(err)
	}
	s := openStore(t, t.TempDir(), nil)
	ids, err := s.ImportPath(t.Context(), dir)
	if err != nil || !cmp.Equal(ids, []string{imageID(t, img)}) {
		t.Fatalf("ImportPath = %v, %v; want %s", ids, err, imageID(t, img))
	}
	if got, err := s.Status(t.Context(), ids[0]); err != nil || len(got.RepoTags) != 0 {
		t.Errorf("Status = %+v, %v; want an image without a name", got, err)
	}
}

func TestExportImportAgain(t *testing.T) {
	reg := startRegistry(t)
	img := twoLayers(t)
	ref := push(t, reg, "app", "v1", img)
	s := openStore(t, t.TempDir(), nil)
	id := pull(t, s, ref)
	var b bytes.Buffer
	if err := s.Export(t.Context(), []string{ref}, &b); err != nil {
		t.Fatal(err)
	}
	found := map[string]bool{}
	for tr := tar.NewReader(bytes.NewReader(b.Bytes())); ; {
		h, err := tr.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		found[h.Name] = true
	}
	for _, want := range []string{"oci-layout", "index.json", "manifest.json"} {
		if !found[want] {
			t.Errorf("archive has no %s", want)
		}
	}
	other := openStore(t, t.TempDir(), nil)
	file := filepath.Join(t.TempDir(), "image.tar")
	if err := os.WriteFile(file, b.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	ids, err := other.ImportPath(t.Context(), file)
	if err != nil || !cmp.Equal(ids, []string{id}) {
		t.Fatalf("ImportPath = %v, %v; want %s", ids, err, id)
	}
	if _, err := other.Status(t.Context(), ref); err != nil {
		t.Error(err)
	}
	if err := s.Export(t.Context(), []string{"nothing"}, io.Discard); !errdefs.IsNotFound(err) {
		t.Errorf("Export = %v, want NotFound", err)
	}
}

func TestImportBadArchives(t *testing.T) {
	good := dockerArchive(t, twoLayers(t), "quay.io/team/app:v1")
	small := func(files map[string]string) []byte {
		var b bytes.Buffer
		w := tar.NewWriter(&b)
		for n, text := range files {
			w.WriteHeader(&tar.Header{Name: n, Size: int64(len(text)), Mode: 0o600})
			io.WriteString(w, text)
		}
		w.Close()
		return b.Bytes()
	}
	missing, _ := json.Marshal([]map[string]any{{"Config": "c.json", "Layers": []string{"l.tar"}}})
	for name, b := range map[string][]byte{
		"no-tar": []byte(strings.Repeat("not a tar", 100)), "empty": nil, "cut": good[:len(good)/2],
		"no-manifest": small(map[string]string{"a": "b"}), "missing-config": small(map[string]string{"manifest.json": string(missing)}),
		"climbing-index": small(map[string]string{"oci-layout": `{"imageLayoutVersion":"1.0.0"}`,
			"index.json": `{"manifests":[{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"sha256:../../x","size":3}]}`}),
		"missing-blob": small(map[string]string{"oci-layout": `{"imageLayoutVersion":"1.0.0"}`,
			"index.json": `{"manifests":[{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"sha256:` + strings.Repeat("a", 64) + `","size":3}]}`}),
	} {
		t.Run(name, func(t *testing.T) {
			root := t.TempDir()
			s := openStore(t, root, nil)
			if _, err := s.Import(t.Context(), bytes.NewReader(b)); !errdefs.IsInvalidArgument(err) {
				t.Errorf("Import = %v, want InvalidArgument", err)
			}
			if got := countFiles(t, root); got != (files{}) {
				t.Errorf("files = %+v, want none", got)
			}
			if _, err := s.Import(t.Context(), bytes.NewReader(good)); err != nil {
				t.Errorf("Import of a good archive after it = %v", err)
			}
		})
	}
}
