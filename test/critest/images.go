package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"

	"github.com/porthole-run/porthole/test/apps/appimage"
	"github.com/porthole-run/porthole/test/harness"
	"github.com/porthole-run/porthole/test/registry"
	"github.com/porthole-run/porthole/test/registry/debimage"
)

// upstream are the registries that the suite's references name.
var upstream = []string{"registry.k8s.io", "k8s.gcr.io", "gcr.io"}

// staging is the folder of the suite's own images, at gcr.io.
const staging = "k8s-staging-cri-tools/"

// shell stands in for busybox, whose words some specs expect to the letter. Its ls is
// that of coreutils: one that is busybox by another name could not be masked alone.
var shell = appimage.App{
	Name:     "busybox",
	Packages: []string{"busybox"}, // busybox-static runs its applets whatever is in their place
	Files: map[string]debimage.File{
		"usr/bin/sh":      {Symlink: "busybox"},
		"usr/bin/touch":   {Symlink: "busybox"},
		"usr/bin/top":     {Symlink: "busybox"}, // that of procps wants a terminal
		"usr/bin/mount":   {Symlink: "busybox"},
		"usr/bin/ping":    {Symlink: "busybox"},
		"usr/bin/pidof":   {Symlink: "busybox"},
		"usr/bin/netstat": {Symlink: "busybox"},
		"usr/sbin/brctl":  {Symlink: "../bin/busybox"},
	},
}

// webserver stands in for nginx and httpd.
func webserver(name string, port int) appimage.App {
	return appimage.App{
		Name:     name,
		Packages: []string{"nginx-light", "busybox"},
		Omit:     []string{"iproute2", "media-types"},
		User:     "www-data", UID: 33,
		Files: map[string]debimage.File{
			"etc/nginx/nginx.conf": {Content: fmt.Sprintf(`user www-data;
pid /run/nginx.pid;
worker_processes 1;
error_log /dev/stderr;
events {}
http {
  access_log /dev/stdout;
  server { listen %d; location / { root /srv; } }
}
`, port)},
			"usr/bin/grep":      {Symlink: "busybox"}, // takes /proc/1/cmdline for text
			"srv/index.html":    {Content: "<title>Welcome</title>\n"},
			"var/run":           {Symlink: "/run"},
			"var/log/nginx":     {Folder: true},
			"var/lib/nginx":     {Folder: true},
			"usr/bin/which-web": {Content: name + "\n"}, // two web servers are two images
		},
	}
}

// images builds what the suite pulls, by repository:tag. nnp is the path of the program
// of the image that tests no_new_privs; without it there is no such image.
func images(ctx context.Context, cache, nnp string) (map[string]v1.Image, error) {
	dir := filepath.Join(cache, "apps")
	base, err := appimage.Build(ctx, dir, shell)
	if err != nil {
		return nil, err
	}
	all := map[string]v1.Image{}
	var errs []error
	add := func(ref string, img v1.Image, err error) {
		all[ref] = img
		errs = append(errs, err)
	}
	variant := func(ref string, change func(*v1.Config), files map[string]debimage.File) {
		img, err := with(base, change, files)
		add(ref, img, err)
	}
	keep := func(*v1.Config) {}
	variant("e2e-test-images/busybox:1.29-2", keep, nil)
	for ref, port := range map[string]int{"e2e-test-images/nginx:1.14-2": 80, "e2e-test-images/httpd:2.4.39-4": 80, staging + "hostnet-nginx-amd64:latest": 12003} {
		name, _, _ := strings.Cut(filepath.Base(ref), ":")
		img, err := appimage.Build(ctx, dir, webserver(name, port))
		if err == nil {
			img, err = with(img, func(c *v1.Config) {
				// A spec looks for httpd in httpd's log.
				c.Cmd = []string{"sh", "-c", "echo " + name + " starts; exec nginx -g 'daemon off;'"}
			}, nil)
		}
		add(ref, img, err)
	}
	if nnp != "" {
		program, err := os.ReadFile(nnp)
		errs = append(errs, err)
		variant("e2e-test-images/nonewprivs:1.3", func(c *v1.Config) { c.Cmd = []string{"/nnp"} },
			map[string]debimage.File{"nnp": {Mode: 0o4755, Content: string(program)}})
	}
	variant(staging+"test-image-predefined-group:latest", func(c *v1.Config) { c.User = "1000" }, map[string]debimage.File{
		"etc/passwd": {Content: "root:x:0:0:root:/root:/bin/sh\ndefault-user:x:1000:1000::/:/bin/sh\n"},
		"etc/group":  {Content: "root:x:0:\ndefault-user:x:1000:\ngroup-defined-in-image:x:50000:default-user\n"},
	})
	small := func(ref, user string) {
		variant(ref, func(c *v1.Config) { c.User = user }, map[string]debimage.File{"name": {Content: ref + "\n"}})
	}
	for name, user := range map[string]string{"uid": "1002", "username": "www-data", "uid-group": "1003:1004", "username-group": "www-data:1004"} {
		small(staging+"test-image-user-"+name+":latest", user)
	}
	for _, name := range []string{"test-image-latest:latest", "test-image-tag:test", "test-image-tag:all", "test-image-1:latest", "test-image-2:latest", "test-image-3:latest", "test-image-tags:1"} {
		small(staging+name, "")
	}
	variant("pause:3.9", func(c *v1.Config) { c.Cmd = []string{"sleep", "infinity"} }, nil)
	for _, tag := range []string{"2", "3"} {
		add(staging+"test-image-tags:"+tag, all[staging+"test-image-tags:1"], nil)
	}
	return all, errors.Join(errs...)
}

// with changes an image's config and puts files above it.
func with(img v1.Image, change func(*v1.Config), files map[string]debimage.File) (v1.Image, error) {
	if len(files) > 0 {
		layer, err := debimage.FileLayer(files)
		if err != nil {
			return nil, err
		}
		if img, err = mutate.AppendLayers(img, layer); err != nil {
			return nil, err
		}
	}
	file, err := img.ConfigFile()
	if err != nil {
		return nil, err
	}
	config := *file.Config.DeepCopy()
	change(&config)
	return mutate.Config(img, config)
}

// push puts all images into a registry.
func push(ctx context.Context, r *registry.Registry, all map[string]v1.Image) error {
	for ref, img := range all {
		repository, tag, _ := strings.Cut(ref, ":")
		if _, err := r.Push(ctx, repository, tag, img); err != nil {
			return err
		}
	}
	return nil
}

// mirror makes a server take a registry on loopback for those of the suite.
func mirror(s *harness.Server, r *registry.Registry) error {
	for _, host := range upstream {
		dir := filepath.Join(s.Dir, "certs.d", host)
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
		text := fmt.Sprintf("server = %q\n[host.%q]\ncapabilities = [\"pull\", \"resolve\"]\n", r.URL(), r.URL())
		if err := os.WriteFile(filepath.Join(dir, "hosts.toml"), []byte(text), 0o644); err != nil {
			return err
		}
	}
	return nil
}
