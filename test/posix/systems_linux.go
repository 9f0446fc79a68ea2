package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/porthole-run/porthole/share"
	"github.com/porthole-run/porthole/share/card"
	"github.com/porthole-run/porthole/share/client"
	"github.com/porthole-run/porthole/share/hostfs"
	"github.com/porthole-run/porthole/share/lock"
	"github.com/porthole-run/porthole/share/ntfs"
	"github.com/porthole-run/porthole/share/ntfs/ntfake"
	"github.com/porthole-run/porthole/share/sharetest"
	"github.com/porthole-run/porthole/share/sharetest/memfs"
)

// system is one line of the card.
type system struct {
	name  string
	check func(ctx context.Context, name, base string, o options) error
}

// backend makes a new, empty backend in a folder.
type backend func(dir string) (share.Backend, error)

func openHost(dir string) (share.Backend, error) { return hostfs.Open(dir, hostfs.Options{}) }

func openNTFS(string) (share.Backend, error) {
	return ntfs.New(ntfake.New(ntfake.Config{}).Root(), ntfs.Options{Path: `C:\share`})
}

// openMemory is what porthole share selftest compares with where there is no ext4.
func openMemory(string) (share.Backend, error) {
	return memfs.New(memfs.Options{}), nil
}

func all() []system {
	return []system{
		{"host", checkHost},
		{"hostfs over share/client", overClient(openHost)},
		{"hostfs over FUSE", overFUSE(openHost)},
		{"ntfs over share/client", overClient(openNTFS)},
		{"ntfs over FUSE", overFUSE(openNTFS)},
		{"memory over share/client", overClient(openMemory)},
	}
}

// folder makes a folder below base for a part of a system's run.
func folder(base, name, part string) (string, error) {
	dir := filepath.Join(base, strings.NewReplacer(" ", "-", "/", "-").Replace(name)+"-"+part)
	return dir, os.Mkdir(dir, 0o755)
}

// oracle is the host's own file system.
func oracle(base, name string) (*card.Real, error) {
	dir, err := folder(base, name, "oracle")
	if err != nil {
		return nil, err
	}
	return card.NewReal(dir)
}

func checkHost(ctx context.Context, name, base string, o options) error {
	dir, err := folder(base, name, "files")
	if err != nil {
		return err
	}
	sys, err := card.NewReal(dir)
	if err != nil {
		return err
	}
	return errors.Join(report(ctx, name, sys, nil, o), sys.Close())
}

func config(b share.Backend) share.Config {
	return share.Config{Backend: b, Locker: lock.New(lock.Limits{}).Session("posix")}
}

func overClient(open backend) func(context.Context, string, string, options) error {
	return func(ctx context.Context, name, base string, o options) (err error) {
		dir, err := folder(base, name, "files")
		if err != nil {
			return err
		}
		b, err := open(dir)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, b.Close()) }()
		s, err := share.NewSession(config(b))
		if err != nil {
			return err
		}
		k, err := client.Mount(ctx, s)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, k.Close()) }()
		host, err := oracle(base, name)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, host.Close()) }()
		return report(ctx, name, k, host, o)
	}
}

// overFUSE mounts the backend on this host and runs the checks in a process of their
// own: one that serves a mount and has a page of it mapped can wait for itself.
func overFUSE(open backend) func(context.Context, string, string, options) error {
	return func(ctx context.Context, name, base string, o options) (err error) {
		dir, err := folder(base, name, "files")
		if err != nil {
			return err
		}
		if err := os.Chmod(dir, 0o777); err != nil {
			return err
		}
		b, err := open(dir)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, b.Close()) }()
		mnt := filepath.Join(base, filepath.Base(dir)+"-mount")
		unmount, err := sharetest.MountDir(ctx, config(b), mnt)
		if err != nil {
			return fmt.Errorf("mount: %w", err)
		}
		defer func() { err = errors.Join(err, unmount()) }()
		oracleDir, err := folder(base, name, "oracle")
		if err != nil {
			return err
		}
		self, err := os.Executable()
		if err != nil {
			return err
		}
		cmd := exec.CommandContext(ctx, self, "-run", name, "-dir", mnt, "-only", strings.Join(o.only, ","),
			"-seeds", strconv.Itoa(o.seeds), "-steps", strconv.Itoa(o.steps))
		cmd.Env = append(os.Environ(), oracleVar+"="+oracleDir)
		cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
		var exit *exec.ExitError
		if err := cmd.Run(); errors.As(err, &exit) {
			return errFailed
		} else if err != nil {
			return err
		}
		return nil
	}
}

// oracleVar names the oracle's folder to a process that checks another.
const oracleVar = "POSIX_ORACLE"

// runFolder checks one folder with real calls.
func runFolder(ctx context.Context, o options) (err error) {
	sys, err := card.NewReal(o.dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, sys.Close()) }()
	var host card.System
	if dir := os.Getenv(oracleVar); dir != "" {
		real, err := card.NewReal(dir)
		if err != nil {
			return err
		}
		defer real.Close()
		host = real
	}
	return report(ctx, o.run, sys, host, o)
}
