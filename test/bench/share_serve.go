package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync"

	"github.com/porthole-run/porthole/test/registry/debimage"
)

// serveShare serves a folder to whoever connects, each with a session of its own, and
// returns the TCP port.
func serveShare(ctx context.Context, folder string, u *undo) (int, error) {
	l, err := net.Listen("tcp", ":0")
	if err != nil {
		return 0, err
	}
	ctx, cancel := context.WithCancel(ctx)
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			serving.Go(func() {
				if err := serveOne(ctx, folder, c); err != nil {
					say("share over TCP: %v", err)
				}
			})
		}
	})
	u.add(func() error {
		err := l.Close()
		cancel()
		serving.Wait()
		return err
	})
	return l.Addr().(*net.TCPAddr).Port, nil
}

// diod is the package of Debian's 9P server.
const diod = "diod"

// serve9P runs diod, Debian's 9P server, in a root of its own below dir, whose /export
// it serves, and returns the TCP port.
func serve9P(ctx context.Context, cache, dir string, u *undo) (int, error) {
	archive, err := debimage.OpenArchive(ctx, cache, "bookworm")
	if err != nil {
		return 0, err
	}
	packages, err := archive.Resolve(ctx, []string{diod}, nil)
	if err != nil {
		return 0, err
	}
	root := filepath.Join(dir, "diod")
	if err := errors.Join(os.Mkdir(root, 0o755), os.Mkdir(filepath.Join(root, "export"), 0o777)); err != nil {
		return 0, err
	}
	for _, p := range packages {
		if err := command(ctx, "dpkg-deb", "--extract", p.Path, root); err != nil {
			return 0, err
		}
	}
	if err := errors.Join(os.MkdirAll(filepath.Join(root, "dev"), 0o755),
		command(ctx, "mknod", "-m", "666", filepath.Join(root, "dev", "null"), "c", "1", "3"),
		os.MkdirAll(filepath.Join(root, "etc"), 0o755),
		os.WriteFile(filepath.Join(root, "etc", "passwd"), []byte("root:x:0:0:root:/root:/bin/sh\n"), 0o644),
		os.WriteFile(filepath.Join(root, "etc", "nsswitch.conf"), []byte("hosts: files\n"), 0o644),
		os.WriteFile(filepath.Join(root, "etc", "group"), []byte("root:x:0:\n"), 0o644)); err != nil {
		return 0, err
	}
	// A port that was free a moment ago, in a network that is this run's own.
	l, err := net.Listen("tcp", ":0")
	if err != nil {
		return 0, err
	}
	port := l.Addr().(*net.TCPAddr).Port
	if err := l.Close(); err != nil {
		return 0, err
	}
	cmd := exec.CommandContext(ctx, "chroot", root, "/usr/sbin/diod", "--foreground", "--no-auth", "--no-userdb", "--runas-uid", "0",
		"--listen", fmt.Sprintf("0.0.0.0:%d", port), "--export", "/export", "--logdest", "stderr", "--config-file", "/dev/null")
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	u.add(func() error {
		err := cmd.Process.Kill()
		cmd.Wait()
		return err
	})
	return port, nil
}
