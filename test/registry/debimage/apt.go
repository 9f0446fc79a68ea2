package debimage

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/porthole-run/porthole/internal/filesum"
)

// fetchPackage returns the path of a package in the cache. apt checks what it
// downloads against Debian's signed lists; what is in the cache already is checked
// against the digest in the same lists. Lists that are not there, or name a version that
// the archive has replaced, are fetched anew, once.
func fetchPackage(ctx context.Context, cacheDir, name string) (string, error) {
	if name == "" || strings.HasPrefix(name, "-") {
		return "", fmt.Errorf("package name %q is not one", name)
	}
	if err := os.MkdirAll(cacheDir, 0o755); err != nil {
		return "", err
	}
	path, err := download(ctx, cacheDir, name)
	if err == nil || ctx.Err() != nil {
		return path, err
	}
	if _, again := run(ctx, cacheDir, "apt-get", "update", "-qq"); again != nil {
		return "", err
	}
	return download(ctx, cacheDir, name)
}

// download fetches a package by the lists that are there.
func download(ctx context.Context, cacheDir, name string) (string, error) {
	empty, err := os.MkdirTemp("", "apt-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(empty)
	// Where the package is there already, apt would print nothing.
	out, err := run(ctx, empty, "apt-get", "download", "--print-uris", name)
	if err != nil {
		return "", err
	}
	// 'http://…/busybox-static_1.35.0-4+b7_amd64.deb' busybox-static_1%3a1.35.0-4+b7_amd64.deb 965432 SHA256:…
	fields := strings.Fields(strings.TrimSpace(out))
	if len(fields) < 4 {
		return "", fmt.Errorf("apt-get knows no download of %s", name)
	}
	want, ok := strings.CutPrefix(fields[len(fields)-1], "SHA256:")
	if !ok {
		return "", fmt.Errorf("apt-get gives no SHA-256 of %s", name)
	}
	path := filepath.Join(cacheDir, filepath.Base(fields[len(fields)-3]))
	if sum, err := filesum.SHA256(path); err == nil && sum == want {
		return path, nil
	}
	if _, err := run(ctx, cacheDir, "apt-get", "download", name); err != nil {
		return "", err
	}
	switch sum, err := filesum.SHA256(path); {
	case err != nil:
		return "", err
	case sum != want:
		return "", fmt.Errorf("%s has SHA-256 %s, Debian says %s", path, sum, want)
	}
	return path, nil
}

// packageTar streams the files of a package. The caller closes the stream, then calls
// wait.
func packageTar(ctx context.Context, deb string) (stream io.ReadCloser, wait func() error, err error) {
	cmd := exec.CommandContext(ctx, "dpkg-deb", "--fsys-tarfile", deb)
	var msg bytes.Buffer
	cmd.Stderr = &msg
	if stream, err = cmd.StdoutPipe(); err != nil {
		return nil, nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, nil, err
	}
	return stream, func() error {
		if err := cmd.Wait(); err != nil {
			return fmt.Errorf("dpkg-deb: %w: %s", err, msg.String())
		}
		return nil
	}, nil
}

func run(ctx context.Context, dir, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	var out, msg bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &msg
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), errors.Join(err, ctx.Err()), strings.TrimSpace(msg.String()))
	}
	return out.String(), nil
}
