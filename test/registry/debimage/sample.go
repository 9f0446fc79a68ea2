package debimage

import (
	"archive/tar"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path"
	"path/filepath"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

const (
	busyboxPackage = "busybox-static"

	passwd = "root:x:0:0:root:/root:/bin/sh\n" +
		"demo:x:1000:1000:demo:/home/demo:/bin/sh\n" +
		"nobody:x:65534:65534:nobody:/:/bin/false\n"
	group = "root:x:0:\ntty:x:5:demo\ndemo:x:1000:\nstaff:x:2000:demo\nnogroup:x:65534:\n"

	page = "<!doctype html>\n<title>Porthole</title>\n<p>Hello from a pod in its own virtual machine.</p>\n"
)

// Sample builds the image of the demo and of most tests: a static busybox with all of
// its applets, the users root and demo (uid 1000, also in the groups tty and staff),
// and a page in /www for busybox httpd. Without a command it runs a shell.
func Sample(ctx context.Context, cacheDir string) (v1.Image, error) {
	spec, err := SampleSpec(ctx, cacheDir)
	if err != nil {
		return nil, err
	}
	return Build(ctx, spec)
}

// SampleSpec is what Sample builds, to build variants from.
func SampleSpec(ctx context.Context, cacheDir string) (Spec, error) {
	deb, err := fetchPackage(ctx, cacheDir, busyboxPackage)
	if err != nil {
		return Spec{}, fmt.Errorf("sample image: %w", err)
	}
	files, err := sampleFiles(ctx, deb)
	if err != nil {
		return Spec{}, fmt.Errorf("sample image: %w", err)
	}
	return Spec{
		Packages: []string{busyboxPackage},
		Files:    []map[string]File{files},
		CacheDir: cacheDir,
		fetched:  map[string]string{busyboxPackage: deb},
		Config: v1.Config{
			Cmd:    []string{"/bin/sh"},
			Env:    []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"},
			Labels: map[string]string{"org.opencontainers.image.title": "Porthole sample"},
		},
	}, nil
}

// Variant builds the sample image with another config.
func Variant(ctx context.Context, cacheDir string, change func(*v1.Config)) (v1.Image, error) {
	spec, err := SampleSpec(ctx, cacheDir)
	if err != nil {
		return nil, err
	}
	change(&spec.Config)
	return Build(ctx, spec)
}

// Layered builds the sample image with a layer of 2 MB above it, too large to be merged with
// others, and three small ones that hide and replace:
// /data/kept is left of the first, /data/gone is removed, /data/changed says "two",
// /replaced is a folder over a file, and the opaque /hidden holds only "new".
func Layered(ctx context.Context, cacheDir string) (v1.Image, error) {
	spec, err := SampleSpec(ctx, cacheDir)
	if err != nil {
		return nil, err
	}
	noise := make([]byte, 2<<20)
	rand.NewChaCha8([32]byte{}).Read(noise)
	spec.Files = append(spec.Files,
		map[string]File{"var/lib/noise": {Content: string(noise)}},
		map[string]File{
			"data/kept": {Content: "one\n"}, "data/gone": {Content: "one\n"}, "data/changed": {Content: "one\n"},
			"replaced": {Content: "a file\n"}, "hidden/old": {Content: "one\n"},
		},
		map[string]File{
			"data/.wh.gone": {}, "data/changed": {Content: "two\n"},
			".wh.replaced": {}, "replaced/now": {Content: "a folder\n"},
		},
		map[string]File{"hidden/.wh..wh..opq": {}, "hidden/new": {Content: "three\n", UID: 1000, GID: 1000, Mode: 0o600}},
	)
	return Build(ctx, spec)
}

func sampleFiles(ctx context.Context, deb string) (map[string]File, error) {
	where, applets, err := listApplets(ctx, deb)
	if err != nil {
		return nil, err
	}
	files := map[string]File{
		"etc/passwd":     {Content: passwd},
		"etc/group":      {Content: group},
		"home/demo":      {Folder: true, UID: 1000, GID: 1000, Mode: 0o750},
		"root":           {Folder: true, Mode: 0o700},
		"tmp":            {Folder: true, Mode: 0o1777},
		"proc":           {Folder: true, Mode: 0o555},
		"sys":            {Folder: true, Mode: 0o555},
		"dev":            {Folder: true},
		"www/index.html": {Content: page},
		"etc/os-release": {Content: "ID=porthole-sample\nNAME=\"Porthole sample\"\n"},
		"var/run":        {Folder: true},
		"usr/local/bin":  {Folder: true},
	}
	for _, a := range applets {
		if name := path.Join("bin", a); name != where {
			files[name] = File{Symlink: "/" + where}
		}
	}
	return files, nil
}

// listApplets returns where busybox is in its package and what it can do.
func listApplets(ctx context.Context, deb string) (where string, applets []string, err error) {
	dir, err := os.MkdirTemp("", "busybox-")
	if err != nil {
		return "", nil, err
	}
	defer os.RemoveAll(dir)
	bin := filepath.Join(dir, "busybox")
	err = eachFile(ctx, deb, func(h *tar.Header, r io.Reader) error {
		if h.Typeflag != tar.TypeReg || path.Base(h.Name) != "busybox" || path.Base(path.Dir(h.Name)) != "bin" {
			return nil
		}
		where = path.Clean(h.Name)
		f, err := os.OpenFile(bin, os.O_CREATE|os.O_WRONLY, 0o700)
		if err != nil {
			return err
		}
		defer f.Close()
		_, err = io.Copy(f, r)
		return err
	})
	if err != nil {
		return "", nil, err
	}
	if where == "" {
		return "", nil, fmt.Errorf("no busybox in %s", deb)
	}
	out, err := run(ctx, dir, bin, "--list")
	return where, strings.Fields(out), err
}
