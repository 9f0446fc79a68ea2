package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/containerd/errdefs"
)

const (
	suite         = "bookworm"
	debianKeyring = "/usr/share/keyrings/debian-archive-keyring.gpg"
	defaultMirror = "http://deb.debian.org/debian"
)

// archive is Debian's archive as seen by apt, with lists of its own. It is
// used by one goroutine.
type archive struct {
	dir     string
	log     *console
	updated bool
}

func newArchive(dir string, log *console) *archive { return &archive{dir: dir, log: log} }

// options are given on each command line: they stand above the machine's
// configuration, which still tells about proxies.
func (a *archive) options() []string {
	var o []string
	for _, kv := range [][2]string{
		{"Dir::State::Lists", filepath.Join(a.dir, "lists")},
		{"Dir::Cache", a.dir},
		{"Dir::Cache::archives", filepath.Join(a.dir, "archives")},
		{"Dir::Etc::sourcelist", filepath.Join(a.dir, "sources.list")},
		{"Dir::Etc::sourceparts", "-"},
		{"Dir::Etc::preferences", "-"},
		{"Dir::Etc::preferencesparts", "-"},
		{"APT::Default-Release", ""},
		{"APT::Install-Recommends", "false"},
		{"APT::Get::AllowUnauthenticated", "false"},
		{"Acquire::AllowInsecureRepositories", "false"},
		{"APT::Sandbox::User", "root"}, // the cache may lie where user _apt cannot reach
		{"Acquire::Languages", "none"},
		{"Acquire::Retries", "3"},
		{"DPkg::Lock::Timeout", "120"},
	} {
		o = append(o, "-o", kv[0]+"="+kv[1])
	}
	return o
}

func (a *archive) command(dir, program string, args ...string) command {
	return command{dir: dir, args: append(append([]string{program}, a.options()...), args...)}
}

// update reads the lists anew, once a run.
func (a *archive) update(ctx context.Context) error {
	if a.updated {
		return nil
	}
	err := a.log.step("read Debian's package lists", func() error {
		for _, d := range []string{"lists/partial", "archives/partial"} {
			if err := os.MkdirAll(filepath.Join(a.dir, d), 0o755); err != nil {
				return err
			}
		}
		if _, err := os.Stat(debianKeyring); err != nil {
			return fmt.Errorf("%w; mkguest needs Debian 12 with the package debian-archive-keyring", err)
		}
		targets, err := command{args: []string{"apt-get", "indextargets", "--format", "$(SITE)|$(RELEASE)|$(COMPONENT)", "Created-By: Packages"}}.output(ctx)
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(a.dir, "sources.list"), []byte(sourcesList(targets)), 0o644); err != nil {
			return err
		}
		return a.command("", "apt-get", "-q", "--error-on=any", "update").run(ctx)
	})
	a.updated = err == nil
	return err
}

// sourcesList makes apt's list from the machine's own index targets
// ("site|release|component" a line): those of Debian's main component for
// this release, as binary and as source packages. What a machine does not
// name comes from Debian's mirror network: all of it, or just the security
// updates, which a guest must not go without.
func sourcesList(targets string) string {
	var lines []string
	add := func(site, release string) {
		for _, kind := range []string{"deb", "deb-src"} {
			l := fmt.Sprintf("%s [signed-by=%s] %s %s main", kind, debianKeyring, site, release)
			if !slices.Contains(lines, l) {
				lines = append(lines, l)
			}
		}
	}
	for line := range strings.Lines(targets) {
		f := strings.Split(strings.TrimSpace(line), "|")
		if len(f) != 3 || f[2] != "main" {
			continue
		}
		// Other vendors call their suites bookworm too; mirrors of Debian end so.
		// Cloud images name a file with mirrors: .../debian.list.
		base := strings.TrimSuffix(path.Base(strings.TrimRight(f[0], "/")), ".list")
		switch {
		case base == "debian" && (f[1] == suite || f[1] == suite+"-updates"),
			base == "debian-security" && f[1] == suite+"-security":
			add(f[0], f[1])
		}
	}
	has := func(release string) bool {
		return slices.ContainsFunc(lines, func(l string) bool { return strings.HasSuffix(l, " "+release+" main") })
	}
	if !has(suite) {
		add(defaultMirror, suite)
		add(defaultMirror, suite+"-updates")
	}
	if !has(suite + "-security") {
		add(defaultMirror+"-security", suite+"-security")
	}
	return strings.Join(lines, "\n") + "\n"
}

// find returns the digest of a package in the given version: of the .deb
// file, or of the .dsc file of a source package. A version that the archive
// does not have (any more) is a NotFound error.
func (a *archive) find(ctx context.Context, pkg, version string, isSource bool) (string, error) {
	all, err := a.show(ctx, pkg, isSource)
	if err != nil {
		return "", err
	}
	for _, s := range all {
		if s["version"] != version {
			continue
		}
		if digest := digestOf(s, isSource); digest != "" {
			return digest, nil
		}
	}
	return "", fmt.Errorf("package %s=%s: %w", pkg, version, errdefs.ErrNotFound)
}

// newest returns what the archive has of a package now.
func (a *archive) newest(ctx context.Context, pkg string, isSource bool) (stanza, error) {
	all, err := a.show(ctx, pkg, isSource)
	if err != nil {
		return nil, err
	}
	var best stanza
	for _, s := range all {
		if digestOf(s, isSource) == "" {
			continue // known from dpkg's status only, not in the archive
		}
		if best != nil {
			newer, err := newerVersion(ctx, s["version"], best["version"])
			if err != nil {
				return nil, err
			}
			if !newer {
				continue
			}
		}
		best = s
	}
	if best == nil {
		return nil, fmt.Errorf("package %s is not in Debian's archive for %s: %w", pkg, suite, errdefs.ErrNotFound)
	}
	return best, nil
}

func digestOf(s stanza, isSource bool) string {
	if isSource {
		return s.dscDigest()
	}
	return s["sha256"]
}

func newerVersion(ctx context.Context, a, b string) (bool, error) {
	if err := (command{args: []string{"dpkg", "--validate-version", a}}).run(ctx); err != nil {
		return false, err
	}
	err := command{args: []string{"dpkg", "--compare-versions", a, "gt", b}}.run(ctx)
	return err == nil, ctx.Err()
}

func (a *archive) show(ctx context.Context, pkg string, isSource bool) ([]stanza, error) {
	if err := a.update(ctx); err != nil {
		return nil, err
	}
	args := []string{"show", pkg}
	if isSource {
		args = []string{"showsrc", "--only-source", pkg}
	}
	out, err := a.command("", "apt-cache", args...).output(ctx)
	if err != nil {
		if ctx.Err() == nil && strings.Contains(err.Error(), "No packages found") {
			return nil, nil
		}
		return nil, err
	}
	return parseStanzas(out), nil
}

// download puts the package's files into dir, which must be empty, and
// returns the path of the .deb or .dsc file.
func (a *archive) download(ctx context.Context, dir string, p Pin) (string, error) {
	if err := a.update(ctx); err != nil {
		return "", err
	}
	args, pattern := []string{"-q", "download", p.Package + "=" + p.Version}, "*.deb"
	if p.IsSource {
		args, pattern = []string{"-q", "source", "--download-only", "--only-source", p.Package + "=" + p.Version}, "*.dsc"
	}
	if err := a.command(dir, "apt-get", args...).run(ctx); err != nil {
		return "", err
	}
	found, err := filepath.Glob(filepath.Join(dir, pattern))
	if err != nil || len(found) != 1 {
		return "", errors.Join(err, fmt.Errorf("download %s: apt left %d files %s", p.Package, len(found), pattern))
	}
	return found[0], nil
}

// install adds packages to the machine.
func (a *archive) install(ctx context.Context, packages []string) error {
	if err := a.update(ctx); err != nil {
		return err
	}
	return a.log.step("install "+strings.Join(packages, " ")+" on this machine", func() error {
		err := a.command("", "apt-get", append([]string{"-q", "-y", "install"}, packages...)...).run(ctx)
		if err != nil && os.Geteuid() != 0 {
			err = fmt.Errorf("%w\ninstalling needs root: run mkguest as root, or first: sudo apt-get install %s", err, strings.Join(packages, " "))
		}
		return err
	})
}
