package appimage

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"

	"github.com/porthole-run/porthole/test/registry/debimage"
)

// App is one application's image.
type App struct {
	Name  string
	Suite string // of Debian's archive; "": bookworm
	// Packages are installed with what they depend on, but for those in Omit.
	Packages, Omit []string
	// User is who the application runs as: its name, and the same number as user and
	// group.
	User string
	UID  int
	// Files lie above the packages.
	Files map[string]debimage.File
}

// base are the packages of the layer below every application.
var base = []string{"base-files", "bash", "coreutils", "debianutils", "findutils", "grep", "gzip", "hostname", "libc-bin", "procps", "sed", "util-linux"}

// unused are packages that dependencies name for maintainer scripts, for PAM logins and
// for boot, none of which an image has.
var unused = []string{
	"adduser", "ca-certificates", "cron", "cron-daemon-common", "debconf", "dpkg", "init-system-helpers", "libaudit-common",
	"libpam-modules", "libpam-modules-bin", "libpam-runtime", "libsemanage-common", "libsemanage2", "logrotate",
	"lsb-base", "passwd", "perl", "perl-modules-5.36", "perl-modules-5.42", "libperl5.36", "libperl5.42", "sensible-utils", "sysvinit-utils",
	"ucf", "usrmerge", "tar", "util-linux-extra",
}

// Build builds an application's image for linux/amd64.
func Build(ctx context.Context, cacheDir string, app App) (v1.Image, error) {
	img, err := build(ctx, cacheDir, app)
	if err != nil {
		return nil, fmt.Errorf("build image %s: %w", app.Name, err)
	}
	return img, nil
}

func build(ctx context.Context, cacheDir string, app App) (v1.Image, error) {
	suite := app.Suite
	if suite == "" {
		suite = "bookworm"
	}
	archive, err := debimage.OpenArchive(ctx, cacheDir, suite)
	if err != nil {
		return nil, err
	}
	lower, err := archive.Resolve(ctx, base, unused)
	if err != nil {
		return nil, err
	}
	all, err := archive.Resolve(ctx, slices.Concat(base, app.Packages), slices.Concat(unused, app.Omit))
	if err != nil {
		return nil, err
	}
	upper := slices.DeleteFunc(all, func(p debimage.Package) bool {
		return slices.ContainsFunc(lower, func(l debimage.Package) bool { return l.Name == p.Name })
	})
	img, err := debimage.Build(ctx, debimage.Spec{Config: v1.Config{
		Cmd:    []string{"/bin/bash"},
		Env:    []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C.UTF-8"},
		Labels: map[string]string{"org.opencontainers.image.title": app.Name},
	}})
	if err != nil {
		return nil, err
	}
	var layers []v1.Layer
	for _, packages := range [][]debimage.Package{lower, upper} {
		if len(packages) == 0 {
			continue
		}
		l, err := debimage.Layer(ctx, cacheDir, packages)
		if err != nil {
			return nil, err
		}
		layers = append(layers, l)
	}
	top, err := debimage.FileLayer(app.files())
	if err != nil {
		return nil, err
	}
	return mutate.AppendLayers(img, append(layers, top)...)
}

// files are what every image has above its packages, and the application's own.
func (a App) files() map[string]debimage.File {
	var passwd, group strings.Builder
	passwd.WriteString("root:x:0:0:root:/root:/bin/bash\n")
	group.WriteString("root:x:0:\n")
	if a.User != "" {
		fmt.Fprintf(&passwd, "%s:x:%d:%d::/nonexistent:/bin/bash\n", a.User, a.UID, a.UID)
		fmt.Fprintf(&group, "%s:x:%d:\n", a.User, a.UID)
	}
	passwd.WriteString("nobody:x:65534:65534:nobody:/nonexistent:/bin/false\n")
	group.WriteString("nogroup:x:65534:\n")
	files := debimage.MergedLinks()
	maps.Copy(files, map[string]debimage.File{
		"etc/passwd":        {Content: passwd.String()},
		"etc/group":         {Content: group.String()},
		"etc/hosts":         {Content: "127.0.0.1 localhost\n"},
		"etc/nsswitch.conf": {Content: "passwd: files\ngroup: files\nhosts: files dns\n"},
		"usr/bin/sh":        {Symlink: "bash"},
		"usr/bin/awk":       {Symlink: "mawk"},
		"root":              {Folder: true, Mode: 0o700},
		"tmp":               {Folder: true, Mode: 0o1777},
		"run":               {Folder: true},
		"run/lock":          {Folder: true, Mode: 0o1777},
		"proc":              {Folder: true, Mode: 0o555},
		"sys":               {Folder: true, Mode: 0o555},
		"dev":               {Folder: true},
		"data":              {Folder: true},
	})
	maps.Copy(files, a.Files)
	return files
}
